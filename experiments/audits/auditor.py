"""Audit one cache against the floor: one play between fresh processes, one certificate, one verdict."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kvfloor.attention.caches import CACHES, resolve
from kvfloor.attention.caches.installed import announced
from kvfloor.experiments.audits.instances import MODELS, Instance, Model, Sides, instance
from kvfloor.experiments.game.processes import FreshProcesses
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.reading import fitting_readers
from kvfloor.reductions.bounds.frontier import rate_distortion
from kvfloor.reductions.encodings.protocol import Encoding

__all__ = ["Audit", "Sides", "audit"]

ALL_POSITIONS_TOKENS = 8192  # up to this many tokens every symbol is asked
SAMPLED_POSITIONS = 4096
ALL_POSITIONS_PAIRS = 1 << 20  # the same for pairs of tokens, of which each query scores all
SAMPLED_PAIRS = 1 << 32


@dataclass(frozen=True, slots=True)
class Audit:
    """Where a cache stands between the floor and the full cache.

    Parameters
    ----------
    cache : str
        The cache as it was named.
    model : str
        Input model: "attention", "tensor4", "tensor2" or "visual".
    tokens, dim, value_dim, alphabet : int
        n, d, d_v and q of the instance; see `kvfloor.experiments.audits.instances.Instance`.
    sides : str
        Where the instance hides its symbols: "values", "keys" or "both".
    seed : int
        Root seed; the same seed repeats the audit.
    asked : int
        Symbols asked: all of them, or a uniform sample drawn after the message was fixed.
    capacity_bits : float
        N log2 q, what the instance holds.
    full_cache_bits : int
        What an uncompressed float16 cache of the stream takes.
    wire_bits : int
        8 x the bytes that crossed from Alice's process to Bob's.
    reader : str
        Who read best, of `kvfloor.experiments.game.reading.READERS`.
    readers : tuple of str
        Who was to read; the certificate pays log2 of their number.
    errors : int
        Wrong symbols among those asked, of the best reader.
    accuracy : float
        1 - errors / asked.
    certified_bits : float
        The cache carries more than this, wrong with probability at most 2^significance_log2.
    significance_log2 : float
        log2 of the certificate's error probability.
    frontier_bits : float
        N R(1 - accuracy): the fewest bits that any cache needs for this accuracy (Shannon).
    verdict : str
        "impossible" if certified_bits > 0 and wire_bits <= certified_bits, else "consistent".
    seconds : float
        Wall time.
    """

    cache: str
    model: Model
    tokens: int
    dim: int
    value_dim: int
    alphabet: int
    sides: Sides
    seed: int
    asked: int
    capacity_bits: float
    full_cache_bits: int
    wire_bits: int
    reader: str
    readers: tuple[str, ...]
    errors: int
    accuracy: float
    certified_bits: float
    significance_log2: float
    frontier_bits: float
    verdict: Literal["consistent", "impossible"]
    seconds: float


def audit(
    cache: str | Callable[..., Any],
    *,
    model: Model = "attention",
    tokens: int | None = None,
    dim: int = 64,
    value_dim: int | None = None,
    levels: int = 2,
    sides: Sides = "values",
    seed: int | None = None,
    positions: int | None = None,
    readers: Sequence[str] | None = None,
) -> Audit:
    """Audit a cache: hide random symbols in a stream, count the bytes, decode, certify.

    Alice and Bob run in fresh processes (`kvfloor.experiments.game.processes`).

    Parameters
    ----------
    cache : str or callable
        A name with optional parameters (``"uniform:bits=2"``), ``"package.module:factory"``, or
        a factory that can be imported under its module and name. For "tensor4" it reads two sides, or is
        the cache of either side, or two of them joined by ``+``.
    model : {"attention", "tensor4", "tensor2", "visual"}
        Input model (theory 3, 7 and 8): ordinary attention, tensor attention over four caches or over two
        of opaque rows, or visual autoregressive attention.
    tokens, dim, value_dim : int
        Size of the stream, see `kvfloor.experiments.audits.instances.Instance`; `tokens` is that of
        `kvfloor.experiments.audits.instances.MODELS` and `value_dim` is `dim` if not given.
    levels : int
        Alphabet of the values: 2, or that many geometric levels (theory 3).
    sides : {"values", "keys", "both"}
        Where the symbols are hidden. In "values" the keys are public coins; in the others they are data.
    seed : int, optional
        Root seed; drawn from the operating system if not given, so that no cache can foresee it.
    positions : int, optional
        Symbols to ask; all of them up to 8192 tokens, else 4096, and fewer where tensor attention over
        pairs would take minutes.
    readers : sequence of str, optional
        Who reads, of `kvfloor.experiments.game.reading.READERS`; all that apply and take seconds if not given: those that
        solve for the values up to 1024 tokens, the search for the likeliest string up to 64.

    Returns
    -------
    Audit
        The accounts and the verdict.

    Raises
    ------
    ValueError
        If a size is out of range, or the cache is unknown or fails.
    """
    start = time.perf_counter()
    seed = secrets.randbits(64) if seed is None else seed
    value_dim = dim if value_dim is None else value_dim
    tokens = MODELS.get(model, 1) if tokens is None else tokens
    asked = Instance(model, tokens, dim, value_dim, levels, sides)
    name = _fitting(_named(cache), model)
    randomness = Randomness(seed, "audit")
    encoding = instance(asked, randomness)
    if positions is None:
        positions = _positions(asked)
    if readers is None:
        readers = fitting_readers(encoding, positions is None or positions >= encoding.problem.length)
    transcript = play(
        encoding, name, randomness, channel=FreshProcesses(), positions=positions, readers=readers
    )
    certificate = transcript.certificate()
    problem = encoding.problem
    return Audit(
        cache=name,
        model=model,
        tokens=tokens,
        dim=encoding.dim,
        value_dim=encoding.value_dim,
        alphabet=problem.alphabet,
        sides=sides,
        seed=seed,
        asked=transcript.asked,
        capacity_bits=problem.capacity_bits,
        full_cache_bits=_full_cache_bits(encoding),
        wire_bits=transcript.wire_bits,
        reader=transcript.reader,
        readers=tuple(readers),
        errors=transcript.errors,
        accuracy=transcript.accuracy,
        certified_bits=certificate.certified_bits,
        significance_log2=certificate.significance_log2,
        frontier_bits=problem.length * rate_distortion(1.0 - transcript.accuracy, problem.alphabet),
        verdict="impossible" if transcript.impossible() else "consistent",
        seconds=time.perf_counter() - start,
    )


def _named(cache: str | Callable[..., Any]) -> str:
    """Return the name under which fresh processes find the cache; a wrong name of ours is told at once."""
    if not isinstance(cache, str):
        module, name = getattr(cache, "__module__", None), getattr(cache, "__qualname__", "<unnamed>")
        if module in (None, "__main__") or "<" in name or "." in name:
            raise ValueError(
                f"a cache must be importable by fresh processes, and {name} of {module} is not; "
                "define it at the top of a module"
            )
        return f"{module}:{name}"
    for side in cache.split("+"):
        head, _, rest = side.partition(":")
        if head in CACHES or not (rest or head in announced()):
            resolve(side)
    return cache


def _fitting(cache: str, model: Model) -> str:
    """Return the cache that reads as many sides as the model has: one of ours keeps either side if need be."""
    head = cache.partition(":")[0]
    ours = getattr(CACHES[head].factory, "sides", None) if head in CACHES else None
    two_sided = "+" in cache or ours == 2  # somebody else's says in a process of its own what it reads
    if two_sided and model != "tensor4":
        raise ValueError(f"{cache!r} reads two sides, which only --model tensor4 has; got {model}")
    return f"{cache}+{cache}" if model == "tensor4" and ours == 1 and not two_sided else cache


def _positions(asked: Instance) -> int | None:
    """Return how many symbols to ask, or None for all."""
    if asked.model == "tensor4":
        pairs = asked.tokens**2
        return max(64, SAMPLED_PAIRS // pairs) if pairs > ALL_POSITIONS_PAIRS else None
    return SAMPLED_POSITIONS if asked.written > ALL_POSITIONS_TOKENS else None


def _full_cache_bits(encoding: Encoding) -> int:
    """Return what a float16 cache of all that Alice writes takes."""
    stream = encoding.encode(np.zeros(encoding.problem.length, encoding.problem.dtype))
    return sum(16 * array.size for array in stream.arrays)
