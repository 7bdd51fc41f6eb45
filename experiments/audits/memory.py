"""Whether an audit fits into memory: told before anything is drawn."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvfloor.experiments.audits.instances import Instance

__all__ = ["available_bytes", "must_fit", "numpy_bytes", "transformer_bytes"]

COPIES = 3
"""Of the stream there are at least so many: with the judge, with a party, and in its cache and payload together."""

FLOAT_BYTES, INDEX_BYTES = 4, 8
QUESTIONS = 8192  # where there are more, a sample is asked
CGROUP = Path("/sys/fs/cgroup")


def must_fit(needed: int, **sizes: int) -> None:
    """Refuse an audit that no memory here holds.

    Parameters
    ----------
    needed : int
        Bytes that it takes at least.
    **sizes : int
        What was asked for, by name, for the message.

    Raises
    ------
    ValueError
        If there is less memory than that.
    """
    available = available_bytes()
    if available is not None and needed > available:
        asked = ", ".join(f"{name} {_told(size)}" for name, size in sizes.items())
        raise ValueError(
            f"an audit with {asked} needs {_told(needed >> 20)} MiB of memory, and {_told(available >> 20)} are free"
        )


def numpy_bytes(asked: "Instance") -> int:
    """Return what an audit of a cache in NumPy takes at least, all its processes together.

    Nothing is computed but this number, so that any size may be asked about.

    Parameters
    ----------
    asked : Instance
        What is to be hidden, and where.

    Returns
    -------
    int
        Bytes.
    """
    rows = asked.tokens**2 if asked.model == "tensor2" else asked.tokens
    rows *= 2 if asked.model == "tensor4" else 1
    width = asked.dim + asked.value_dim
    of_token = 1 if asked.sides == "values" else 1 + asked.dim // 2
    questions = min(rows, QUESTIONS) * of_token
    numbers = COPIES * rows * width + questions * width
    return FLOAT_BYTES * numbers + INDEX_BYTES * (questions * asked.value_dim + 2 * asked.levels)


def transformer_bytes(tokens: int, dim: int, caches: int) -> int:
    """Return what an audit inside of a transformer takes at least.

    Parameters
    ----------
    tokens, dim : int
        Facts n and dimension d of a head.
    caches : int
        Layers times heads of keys and values.

    Returns
    -------
    int
        Bytes.
    """
    return FLOAT_BYTES * COPIES * tokens * 2 * dim * caches


def available_bytes() -> int | None:
    """Return how much memory this process and its children may still take, in bytes; None if nobody knows."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):  # Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # a container; its limit may be the word "max"
        limit = int((CGROUP / "memory.max").read_text())
        found.append(max(0, limit - int((CGROUP / "memory.current").read_text())))
    if not found:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # any other Unix
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)


def _told(number: int) -> str:
    """Return a number as a reader wants it, however large it is."""
    return f"{number:,}" if number < 10**15 else f"over 2^{number.bit_length() - 1}"
