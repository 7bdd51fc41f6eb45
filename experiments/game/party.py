"""A party's side of a fresh process: it reads its parcel, does its part under limits, and leaves a reply.

Until `main` calls what it was told to call, all code is ours; from then on it may be anybody's.
"""

import contextlib
import ctypes
import importlib
import os
import platform
import resource
import sys
import traceback
from pathlib import Path
from typing import IO

from kvfloor.experiments.engine.worker import die_with
from kvfloor.experiments.game.parcels import Parcel

__all__ = ["main"]

OURS = Path(__file__).parents[2]
KEYCTL = {"x86_64": 250, "aarch64": 219}  # the system call's number
JOIN_SESSION_KEYRING = 1


def main(name: str, files: tuple[int, int], parent: int | None, memory_bytes: int, at_most: int) -> None:
    """Do one party's work and end.

    Parameters
    ----------
    name : str
        ``module:function`` of a function from a parcel to a parcel.
    files : tuple of int
        Descriptors of the given parcel and of the reply.
    parent : int or None
        Process with which this one ends, if nothing else sees to that.
    memory_bytes, at_most : int
        Limits on memory of one's own, and on the size of a file that is written.
    """
    if parent is not None:
        die_with(parent)
    for kind, limit in (
        (resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_FSIZE, at_most), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        with contextlib.suppress(ValueError):  # a stricter limit is there already
            resource.setrlimit(kind, (limit, limit))
    if sys.platform == "linux" and platform.machine() in KEYCTL:
        ctypes.CDLL(None).syscall(KEYCTL[platform.machine()], JOIN_SESSION_KEYRING, None)
    with open(files[0], "rb") as given, open(files[1], "wb") as reply:
        status = _work(name, given, reply)
    sys.stderr.flush()
    os._exit(status)  # the interpreter's own shutdown would wait for threads that a cache left behind


def _work(name: str, given: IO[bytes], reply: IO[bytes]) -> int:
    """Leave what a function returned, or one sentence on what went wrong; return the exit status."""
    module, _, function = name.partition(":")
    try:
        parcel = Parcel.read(given, sys.maxsize, mapped=True)
        found: Parcel = getattr(importlib.import_module(module), function)(parcel)
        found.write(reply)
    except Exception as error:  # somebody else's code
        with contextlib.suppress(OSError):
            reply.seek(0)
            reply.truncate()
            Parcel({"error": _sentence(error)}).write(reply)
        return 1
    return 0


def _sentence(error: Exception) -> str:
    """Return an error in one sentence; with the place where it was raised, unless that is a sentence of ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, ValueError) and Path(frame.filename).is_relative_to(OURS):
        return text
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{kind}{text} ({Path(frame.filename).name}, line {frame.lineno})"
