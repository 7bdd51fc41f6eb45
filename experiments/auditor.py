"""Audit one cache against the floor: one play between fresh processes, one certificate, one verdict."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from attention.caches import CACHES, resolve
from attention.caches.installed import announced
from experiments.processes import FreshProcesses
from experiments.protocol import play
from experiments.randomness import Randomness
from experiments.reading import fitting_readers
from reductions.certificates import rate_distortion
from reductions.encoding import Encoding
from reductions.keys import gaussian_keys, incoherence_bound
from reductions.keyside import KeysEncoding
from reductions.values import ValuesEncoding

__all__ = ["Audit", "Sides", "audit"]

Sides = Literal["values", "keys", "both"]
ALL_POSITIONS_TOKENS = 8192  # up to this many tokens every symbol is asked
SAMPLED_POSITIONS = 4096
KEYS_FAILURE_PROBABILITY = 1e-6
LARGEST_FLOAT32_NORM = 1000.0  # scores of larger queries round by more than the decoder's margin
LARGEST_FLOAT32_ALPHABET = 4096
LOWEST_LEVEL = 1e-6


@dataclass(frozen=True, slots=True)
class Audit:
    """Where a cache stands between the floor and the full cache.

    Parameters
    ----------
    cache : str
        The cache as it was named.
    tokens, dim, value_dim, alphabet : int
        n, d, d_v and q of the instance.
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
        Who read best, of `experiments.reading.READERS`.
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
    tokens: int = 4096,
    dim: int = 64,
    value_dim: int | None = None,
    levels: int = 2,
    sides: Sides = "values",
    seed: int | None = None,
    positions: int | None = None,
    readers: Sequence[str] | None = None,
) -> Audit:
    """Audit a cache: hide random symbols in a stream, count the bytes, decode, certify.

    Alice and Bob run in fresh processes (`experiments.processes`).

    Parameters
    ----------
    cache : str or callable
        A name with optional parameters (``"uniform:bits=2"``), ``"package.module:factory"``, or
        a factory that can be imported under its module and name.
    tokens, dim, value_dim : int
        Size of the stream; `value_dim` is `dim` if not given.
    levels : int
        Alphabet of the values: 2, or that many geometric levels (theory 3).
    sides : {"values", "keys", "both"}
        Where the symbols are hidden. In "values" the keys are public coins; in the others they are data.
    seed : int, optional
        Root seed; drawn from the operating system if not given, so that no cache can foresee it.
    positions : int, optional
        Symbols to ask; all of them up to 8192 tokens, else 4096.
    readers : sequence of str, optional
        Who reads, of `experiments.reading.READERS`; all that apply and take seconds if not given: those that
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
    name = _named(cache)
    seed = secrets.randbits(64) if seed is None else seed
    value_dim = dim if value_dim is None else value_dim
    randomness = Randomness(seed, "audit")
    encoding = _instance(tokens, dim, value_dim, levels, sides, randomness)
    if positions is None and tokens > ALL_POSITIONS_TOKENS:
        positions = SAMPLED_POSITIONS
    if readers is None:
        readers = fitting_readers(encoding, positions is None or positions >= encoding.problem.length)
    transcript = play(
        encoding, name, randomness, channel=FreshProcesses(), positions=positions, readers=readers
    )
    certificate = transcript.certificate()
    problem = encoding.problem
    return Audit(
        cache=name,
        tokens=tokens,
        dim=encoding.dim,
        value_dim=encoding.value_dim,
        alphabet=problem.alphabet,
        sides=sides,
        seed=seed,
        asked=transcript.asked,
        capacity_bits=problem.capacity_bits,
        full_cache_bits=16 * tokens * (encoding.dim + encoding.value_dim),
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
    head, _, rest = cache.partition(":")
    if head in CACHES or not (rest or head in announced()):
        resolve(cache)
    return cache


def _instance(
    tokens: int, dim: int, value_dim: int, levels: int, sides: Sides, randomness: Randomness
) -> Encoding:
    """Return the hard instance: float32, or float64 where its decoding asks for more."""
    if sides not in ("values", "keys", "both"):
        raise ValueError(f"sides must be values, keys or both; got {sides!r}")
    if sides != "values" and levels != 2:
        raise ValueError(f"keys hold bits: --sides {sides} takes 2 levels; got {levels}")

    def drawn(dtype: type[np.float32] | type[np.float64]) -> Encoding:
        rng = randomness.keys()
        if sides != "values":
            return KeysEncoding.draw(
                tokens,
                dim,
                value_dim,
                rng,
                dtype=dtype,
                both=sides == "both",
                failure_probability=KEYS_FAILURE_PROBABILITY,
            )
        keys = gaussian_keys(tokens, dim, rng, dtype=dtype)
        bound = incoherence_bound("gaussian", tokens, dim, KEYS_FAILURE_PROBABILITY)
        lowest = max(2.0 ** (1 - levels), LOWEST_LEVEL)
        return ValuesEncoding.from_levels(
            keys,
            value_dim,
            (0.0, 1.0) if levels == 2 else np.geomspace(lowest, 1.0, levels),
            incoherence=bound,
            failure_probability=KEYS_FAILURE_PROBABILITY,
            decoder="typical",
        )

    narrow = drawn(np.float32)
    if narrow.query_norm <= LARGEST_FLOAT32_NORM and levels <= LARGEST_FLOAT32_ALPHABET:
        return narrow
    return drawn(np.float64)
