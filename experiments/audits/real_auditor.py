"""Audit one compressor as it ships: one play between fresh processes, four ways to count, one verdict."""

import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal

from kvfloor.attention.engines.transformers.compressors import LIBRARIES
from kvfloor.attention.engines.transformers.library import EXTRA, INSTALL, NotInstalledError, missing, offline
from kvfloor.experiments.game.fresh import in_fresh_process
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.real import Party, Setting, play
from kvfloor.reductions.bounds.frontier import rate_distortion

__all__ = ["RealAudit", "audit", "is_real"]


@dataclass(frozen=True, slots=True)
class RealAudit:
    """Where a shipped compressor stands; the fields of `kvfloor.experiments.audits.auditor.Audit`, and three more.

    Parameters
    ----------
    cache : str
        The compressor as it was named.
    model : str
        The transformer.
    feed, readout : str
        As in `Setting`.
    tokens, dim, value_dim, alphabet : int
        n, d, the R bits of a token, and 2.
    sides : str
        "values".
    seed : int
        Root seed; the same seed repeats the audit.
    asked : int
        Bits asked: all of them.
    capacity_bits : float
        N, what the instance holds.
    full_cache_bits : int
        Keys and values of all tokens in the model's number format.
    nominal_bits : float or None
        What the method says that it keeps.
    allocated_bits : int
        What the tensors of the cache occupy.
    wire_bits : int
        8 x the bytes that crossed from Alice's process to Bob's.
    errors : int
        Wrong bits.
    accuracy : float
        1 - errors / asked.
    certified_bits : float
        The cache carries more than this, wrong with probability at most 2^significance_log2.
    significance_log2 : float
        log2 of the certificate's error probability.
    frontier_bits : float
        The fewest bits that any cache needs for this accuracy.
    verdict : str
        "impossible" if more is certified than crossed; else "saves nothing" if the tensors take no less
        than the full cache although the nominal size is smaller; else "consistent".
    seconds : float
        Wall time.
    """

    cache: str
    model: str
    feed: str
    readout: str
    tokens: int
    dim: int
    value_dim: int
    alphabet: int
    sides: Literal["values"]
    seed: int
    asked: int
    capacity_bits: float
    full_cache_bits: int
    nominal_bits: float | None
    allocated_bits: int
    wire_bits: int
    errors: int
    accuracy: float
    certified_bits: float
    significance_log2: float
    frontier_bits: float
    verdict: Literal["consistent", "saves nothing", "impossible"]
    seconds: float


def is_real(cache: str) -> bool:
    """Return whether a cache's name means a compressor of kvpress or transformers."""
    return cache.partition(":")[0] in LIBRARIES


def audit(setting: Setting, *, seed: int | None = None) -> RealAudit:
    """Audit a shipped compressor; Alice and Bob run in fresh processes.

    Parameters
    ----------
    setting : Setting
        What is audited, and how.
    seed : int, optional
        Root seed; drawn from the operating system if not given.

    Returns
    -------
    RealAudit
        The accounts and the verdict.

    Raises
    ------
    ValueError
        If the libraries are not installed, a parameter is wrong, or the compressor fails.
    """
    start = time.perf_counter()
    if lacking := missing(EXTRA):
        raise NotInstalledError(f"{', '.join(lacking)} not installed; {INSTALL}")
    seed = secrets.randbits(64) if seed is None else seed
    offline()
    played = play(setting, Randomness(seed, "audit"), runner=_fresh)
    transcript, accounts, model = played.transcript, played.accounts, setting.model
    certificate = transcript.certificate()
    heads = f"{model.heads} heads ({model.kv_heads} of keys and values)"
    return RealAudit(
        cache=setting.compressor,
        model=f"{model.architecture}, {model.layers} layers of {heads}, {model.dtype}",
        feed=setting.feed,
        readout=setting.readout,
        tokens=setting.tokens,
        dim=setting.dim,
        value_dim=transcript.symbols // setting.tokens,
        alphabet=2,
        sides="values",
        seed=seed,
        asked=transcript.asked,
        capacity_bits=float(transcript.symbols),
        full_cache_bits=accounts.full_cache_bits,
        nominal_bits=accounts.nominal_bits,
        allocated_bits=accounts.allocated_bits,
        wire_bits=transcript.wire_bits,
        errors=transcript.errors,
        accuracy=transcript.accuracy,
        certified_bits=certificate.certified_bits,
        significance_log2=certificate.significance_log2,
        frontier_bits=transcript.symbols * rate_distortion(1.0 - transcript.accuracy),
        verdict=played.verdict,
        seconds=time.perf_counter() - start,
    )


def _fresh(party: Party, *arguments: Any) -> tuple[dict[str, Any], bytes]:
    """Call a party in a process of its own."""
    return in_fresh_process(party, *arguments, preload=("torch", "transformers", "kvpress", play.__module__))
