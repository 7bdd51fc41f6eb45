"""Explicit lower bounds for given sizes, from the theorems alone: the atlas, for a model's heads together."""

import math
from dataclasses import dataclass

from kvfloor.experiments.audits.models import model_named
from kvfloor.reductions.atlas.graph import Floor, floors_of
from kvfloor.reductions.atlas.nodes import TRANSFORMER
from kvfloor.reductions.atlas.reduction import Parts, Shape

__all__ = ["Bound", "Floors", "floors"]

DEFAULT_DIM = 64
LARGEST = 1 << 53  # the arithmetic is in doubles


@dataclass(frozen=True, slots=True)
class Bound:
    """One lower bound.

    Parameters
    ----------
    name : str
        What it bounds.
    bits : int
        Every cache that answers the instance within eta needs more bits than this; rounded down.
    query_norm : float
        The norm of the queries that the bound needs.
    reason : str
        The theorem and its numbers.
    """

    name: str
    bits: int
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
    """Return explicit lower bounds on the bits of a cache, along every path of the atlas that applies.

    Separate caches are bounded each on its own and added up: the instance draws their symbols
    independently, and Gaussian keys have the incoherence that they exceed with probability 1e-9.

    Parameters
    ----------
    tokens : int
        n, in 2..2^53.
    dim : int, optional
        d = d_v of one head, in 3..2^53; 64 by default. Not together with `model`.
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
    shape = model_named(model) if model is not None else None
    dim = shape.head_dim if shape else DEFAULT_DIM if dim is None else dim
    for name, size, least in (("tokens", tokens, 2), ("dim", dim, 3)):
        if not least <= size <= LARGEST:
            given = f"{size}" if abs(size) < 1 << 64 else f"over 2^{size.bit_length() - 1}"
            raise ValueError(f"{name} must be in {least}..2^53; got {given}")
    caches = shape.caches if shape else 1
    subject = f"n = {tokens:,}, d = d_v = {dim}, η = {eta:g}"
    if shape:
        subject += f"; {shape.name}: {shape.layers} layers x {shape.kv_heads} KV heads"
    found = floors_of(TRANSFORMER, Shape(tokens, dim, dim, eta, Parts(caches)))
    bounds = tuple(map(_bound, found))
    return Floors(subject, tokens, dim, caches, eta, 32 * tokens * dim * caches, bounds)


def _bound(floor: Floor) -> Bound:
    """Return a floor as a line of the table."""
    posed, instance = floor.path[0].about, floor.instance
    numbers = [f"keys of incoherence {instance.incoherence:.3f}", f"C = {instance.query_norm:.0f}"]
    if instance.problem.alphabet > 2:
        numbers.insert(0, f"L = {instance.problem.alphabet:,}")
    reason = f"{posed.statement}; {', '.join(numbers)} (theory {posed.theory})"
    return Bound(posed.name, math.floor(floor.bits), instance.query_norm, reason)
