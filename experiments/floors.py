"""Explicit lower bounds for given sizes, from the theorems alone (theory 1 to 3)."""

from dataclasses import dataclass
from math import log

from experiments.models import model_named
from reductions.certificates import one_shot_certificate
from reductions.keys import incoherence_bound
from reductions.keyside import keys_guarantee, required_bit_norm
from reductions.values import level_count, values_guarantee

__all__ = ["Bound", "Floors", "floors"]

FAILURE_PROBABILITY = 1e-6  # that randomly drawn keys are more coherent than assumed
LOWEST = 1e-6  # the least value of the precision floor, relative to the largest
FINEST_ETA = 1e-6  # a finer accuracy is counted as this one
DEFAULT_DIM = 64


@dataclass(frozen=True, slots=True)
class Bound:
    """One lower bound.

    Parameters
    ----------
    name : str
        What it bounds.
    bits : float
        Every cache that answers the instance within eta needs more bits than this.
    query_norm : float
        The norm of the queries that the bound needs.
    reason : str
        The theorem and its numbers.
    """

    name: str
    bits: float
    query_norm: float
    reason: str


@dataclass(frozen=True, slots=True)
class Floors:
    """All bounds for one size.

    Parameters
    ----------
    subject : str
        What they are for.
    tokens, dim, caches : int
        n, d = d_v, and how many separate caches (layers times key-value heads).
    eta : float
        Relative accuracy asked of the cache.
    full_cache_bits : int
        What the same keys and values take in float16.
    bounds : tuple of Bound
        The bounds, for all caches together.
    """

    subject: str
    tokens: int
    dim: int
    caches: int
    eta: float
    full_cache_bits: int
    bounds: tuple[Bound, ...]


def floors(*, tokens: int, dim: int | None = None, eta: float = 0.0, model: str | None = None) -> Floors:
    """Return explicit lower bounds on the bits of a cache.

    Separate caches are bounded each on its own and added up: the instance draws their symbols
    independently, and its keys are Gaussian, with the incoherence that they exceed with probability 1e-6.

    Parameters
    ----------
    tokens : int
        n, at least 2.
    dim : int, optional
        d = d_v of one head, at least 3; 64 by default. Not together with `model`.
    eta : float
        Relative accuracy asked of the cache, in [0, 1).
    model : str, optional
        Take layers, heads and head dimension from this model.

    Returns
    -------
    Floors

    Raises
    ------
    ValueError
        If a number is out of range, the model is unknown, or both `dim` and `model` are given.
    """
    if model is not None and dim is not None:
        raise ValueError("a model has its own dimension: give --dim or --model, not both")
    if tokens < 2:
        raise ValueError(f"tokens must be at least 2; got {tokens}")
    shape = model_named(model) if model is not None else None
    dim = shape.head_dim if shape else DEFAULT_DIM if dim is None else dim
    if dim < 3:
        raise ValueError(f"dim must be at least 3; got {dim}")
    caches = shape.caches if shape else 1
    subject = f"n = {tokens:,}, d = d_v = {dim}, η = {eta:g}"
    if shape:
        subject += f"; {shape.name}: {shape.layers} layers x {shape.kv_heads} KV heads"
    bounds = (
        _values(tokens, dim, eta, caches),
        _precision(tokens, dim, eta, caches),
        _both(tokens, dim, eta, caches),
    )
    return Floors(subject, tokens, dim, caches, eta, 32 * tokens * dim * caches, bounds)


def _certified(symbols: int, alphabet: int) -> float:
    """Return what an error-free play proves."""
    return one_shot_certificate(symbols, 0, alphabet).certified_bits


def _values(tokens: int, dim: int, eta: float, caches: int) -> Bound:
    """Return Theorem B's bound: every value is a bit."""
    incoherence = incoherence_bound("gaussian", tokens, dim, FAILURE_PROBABILITY)
    guarantee = values_guarantee(tokens, incoherence, eta)
    assert guarantee is not None
    reason = f"Theorem B: n d_v bits in the values, keys of incoherence {incoherence:.3f}, C = {guarantee.query_norm:.0f}"
    return Bound("values", _certified(tokens * dim * caches, 2), guarantee.query_norm, reason)


def _precision(tokens: int, dim: int, eta: float, caches: int) -> Bound:
    """Return the precision bound: every value is one of L(eta) geometric levels."""
    incoherence = incoherence_bound("gaussian", tokens, dim, FAILURE_PROBABILITY)
    norm = log(tokens / LOWEST**2) / (
        1 - incoherence
    )  # kappa = lowest^2: neighbours cost a level in a million
    told = max(eta, FINEST_ETA)
    levels = level_count(told, norm, tokens, incoherence, LOWEST)
    reason = f"theory 3, precision at η = {told:g}: {levels:,} levels from {LOWEST:g} to 1, C = {norm:.0f}"
    bits = _certified(tokens * dim * caches, levels) if levels > 1 else 0.0
    return Bound("values, precision", bits, norm, reason)


def _both(tokens: int, dim: int, eta: float, caches: int) -> Bound:
    """Return the bound on keys and values: half of a key addresses its token, the rest is bits."""
    address_dim = dim // 2
    bit_dim = dim - 1 - address_dim
    incoherence = incoherence_bound("gaussian", tokens, address_dim, FAILURE_PROBABILITY)
    lowest = (1 - eta) / (2 * (1 + eta))
    guarantee = keys_guarantee(tokens, incoherence, eta, required_bit_norm(eta, lowest) + 1.0, lowest)
    norm = guarantee.query_norm if guarantee else float("inf")
    bits = _certified(tokens * (bit_dim + dim) * caches, 2) if guarantee else 0.0
    reason = f"theory 3, keys: n (d2 + d_v) bits, d2 = {bit_dim} of a key's {dim} numbers, C = {norm:.0f}"
    return Bound("keys and values", bits, norm, reason)
