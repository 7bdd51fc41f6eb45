"""Packings of the sphere as keys: the known configurations, and random greedy ones (theory 2 and 4)."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
from scipy.linalg import helmert

from kvfloor.reductions.checks import Floats, check_count, check_within
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packing_numbers import greedy_attempts
from kvfloor.reductions.keys.projections import FloatType, gaussian_keys

__all__ = ["GREEDY_FAILURE", "equiangular_keys", "greedy_packing", "keys_for", "orthoplex", "simplex"]

GREEDY_FAILURE = 1e-9  # of the default number of attempts to reach `packing_bound`

_LARGEST_ATTEMPTS = 1 << 24
_LARGEST_BATCH = 4096
_BATCH_PRODUCTS = 1 << 22


def orthoplex(dim: int, dtype: FloatType = np.float64) -> Keys:
    """Return the 2d keys +-e_j, d >= 1: no inner product of distinct keys is above 0."""
    axes: Floats = np.eye(check_count("dim", dim), dtype=dtype)
    return Keys(np.concatenate([axes, -1 * axes]), 0.0)


def simplex(dim: int, dtype: FloatType = np.float64) -> Keys:
    """Return d + 1 keys, d >= 1, whose inner products are all -1/d."""
    # Helmert's rows are an orthonormal basis of what is orthogonal to (1, ..., 1).
    rows = helmert(check_count("dim", dim) + 1).T * sqrt((dim + 1) / dim)
    return Keys(rows.astype(dtype), 0.0)


def equiangular_keys(tokens: int, incoherence: float, dtype: FloatType = np.float64) -> Keys:
    """Return keys whose inner products are all the given one: the worst case of a guarantee (theory 3).

    k_l = sqrt(eps) u + sqrt(1 - eps) e_l, with u a unit vector orthogonal to every e_l.

    Parameters
    ----------
    tokens : int
        Number n of keys, at least 1.
    incoherence : float
        eps in [0, 1).
    dtype : {numpy.float64, numpy.float32}
        Precision.

    Returns
    -------
    Keys
        n of n + 1 dimensions.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    check_count("tokens", tokens)
    check_within("incoherence", incoherence, "[0, 1)")
    rows = np.zeros((tokens, tokens + 1), dtype)
    np.fill_diagonal(rows, sqrt(1 - incoherence))
    rows[:, -1] = sqrt(incoherence)
    return Keys(rows, incoherence)


def greedy_packing(
    dim: int,
    incoherence: float,
    rng: np.random.Generator,
    *,
    tokens: int | None = None,
    attempts: int | None = None,
    dtype: FloatType = np.float64,
) -> Keys:
    """Draw uniform points and keep each whose products with those kept so far are at most eps.

    Parameters
    ----------
    dim : int
        d >= 2.
    incoherence : float
        eps in [-1, 1).
    rng : numpy.random.Generator
        Source of randomness.
    tokens : int, optional
        Stop at so many keys, at least 1.
    attempts : int, optional
        Stop after so many points, at least 1. By default enough for `packing_bound` keys, up to a
        probability of 1e-9 (`kvfloor.reductions.keys.packing_numbers.greedy_attempts`).
    dtype : {numpy.float64, numpy.float32}
        Precision of the result; products are compared in float64.

    Returns
    -------
    Keys
        At least one, at most `tokens`; products exceed eps by no more than rounding.

    Raises
    ------
    ValueError
        If a number is out of its range, or neither stop is given where the default is above 2^24 points.
    """
    needed = greedy_attempts(dim, incoherence, GREEDY_FAILURE)
    for name, given in (("tokens", tokens), ("attempts", attempts)):
        if given is not None:
            check_count(name, given)
    if attempts is None and tokens is None and needed > _LARGEST_ATTEMPTS:
        raise ValueError(
            f"dim {dim} and incoherence {incoherence} need {needed:g} points: give tokens or attempts"
        )
    left = needed if attempts is None else attempts
    limit = inf if tokens is None else tokens
    kept: Floats = np.empty((0, dim))
    while left > 0 and len(kept) < limit:
        batch = int(min(left, _LARGEST_BATCH, max(64, _BATCH_PRODUCTS // (len(kept) + 1))))
        kept = _admit(kept, gaussian_keys(batch, dim, rng), incoherence, limit)
        left -= batch
    return Keys(kept.astype(dtype), max(0.0, incoherence))


def _admit(kept: Floats, points: Floats, incoherence: float, limit: float) -> Floats:
    """Return the kept keys and, in their order, the points that are far from them and from each other."""
    free = points[(points @ kept.T).max(axis=1, initial=-1.0) <= incoherence]
    admitted = [kept]
    for _ in range(int(min(limit - len(kept), len(free)))):
        if not len(free):
            break
        admitted.append(free[:1])
        free = free[1:][free[1:] @ free[0] <= incoherence]
    return np.concatenate(admitted)


def keys_for(dim: int, incoherence: float, dtype: FloatType = np.float64) -> Keys:
    """Return the known configuration of this dimension and incoherence.

    Parameters
    ----------
    dim : int
        d >= 1.
    incoherence : float
        Exactly 1/2 (kissing configurations), 0 (orthoplex) or -1/d (simplex).
    dtype : {numpy.float64, numpy.float32}
        Precision.

    Returns
    -------
    Keys
        As many as any configuration can have.

    Raises
    ------
    ValueError
        If there is none.
    """
    check_count("dim", dim)
    if incoherence == 0:
        return orthoplex(dim, dtype)
    if incoherence == -1 / dim:
        return simplex(dim, dtype)
    for kissing in KISSING.values():
        if (dim, incoherence) == (kissing.dim, 0.5):
            return kissing.keys(dtype)
    known = ", ".join(str(kissing.dim) for kissing in KISSING.values())
    raise ValueError(
        f"no configuration is known for dim {dim} and incoherence {incoherence}, only for incoherence 0 and "
        f"-1/dim, and 1/2 in dim {known}; greedy_packing packs any"
    )
