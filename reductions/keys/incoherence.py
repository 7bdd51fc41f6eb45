"""How incoherent unit keys are: measured, and bounded for those that a projection draws (theory 2)."""

from __future__ import annotations

from math import ceil, log, sqrt
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import betainccinv

from kvfloor.reductions.checks import Floats, check_count, check_within
from kvfloor.reductions.keys.projections import BLOCK_ROWS, check_projection, hadamard_order, row_norms

ORTHOGONAL = 1e-5
"""How far inner products of float32 keys may be off that were orthonormal before they were rounded."""


def incoherence(keys: Floats) -> float:
    """Return the largest inner product between two distinct keys.

    Works on blocks of rows: the n x n matrix is never whole in memory. Costs n^2 d multiplications.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Unit rows, n >= 2, dimensionless.

    Returns
    -------
    float
        max over i != l of <k_i, k_l>, in [-1, 1]. Exactly 1 when two keys agree to within the rounding of
        their norms, for then nothing tells them apart.

    Raises
    ------
    ValueError
        If there are fewer than two keys or one is not of unit norm (see `check_unit_rows`).

    Examples
    --------
    >>> incoherence(np.eye(3))
    0.0
    """
    check_unit_rows(keys)
    tokens, dim = keys.shape
    if tokens < 2:
        raise ValueError(f"incoherence needs at least 2 keys, got {tokens}")
    largest = -1.0
    side = min(tokens, BLOCK_ROWS)
    buffer = np.empty((side, side), dtype=keys.dtype)
    for top in range(0, tokens, side):
        rows = keys[top : top + side]
        for left in range(top, tokens, side):  # the Gram matrix is symmetric
            columns = keys[left : left + side]
            products = np.matmul(rows, columns.T, out=buffer[: len(rows), : len(columns)])
            if left == top:
                np.fill_diagonal(products, -1.0)
            largest = max(largest, float(products.max()))
    return largest if largest < 1 - unit_tolerance(keys.dtype, dim) else 1.0


def check_orthonormal(keys: Floats) -> Floats:
    """Return `keys`, shape (n, d), if every inner product of rows is right to 1e-5, else raise ValueError."""
    wrong = float(np.abs(keys @ keys.T - np.eye(len(keys), dtype=keys.dtype)).max())
    if wrong > ORTHOGONAL:
        raise ValueError(f"keys must be orthonormal to {ORTHOGONAL:g}, got a product that is {wrong:.3g} off")
    return keys


def unit_tolerance(dtype: np.dtype[np.floating[Any]], dim: int) -> float:
    """Return how far from 1 the norm of a key of that type and dimension may be.

    A row normalised in its own precision, with unit roundoff u, carries the error of its squared norm (at
    most d u, of which the root keeps half) and that of the root and the division: (d/2 + 2) u. For small d
    the constants 1e-6 (float32) and 1e-12 (float64) are wider and are used instead.
    """
    roundoff = float(np.finfo(dtype).eps) / 2
    return max(1e-6 if dtype == np.float32 else 1e-12, (dim / 2 + 2) * roundoff)


def check_unit_rows(keys: Floats) -> Floats:
    """Return `keys`, shape (n, d), if every row is a unit vector, else raise ValueError.

    They must be a non-empty matrix of float32 or float64, and no norm (NaN included) off by more than
    `unit_tolerance`.
    """
    keys = np.asarray(keys)
    if keys.ndim != 2 or keys.size == 0 or keys.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"keys must be a non-empty float32 or float64 matrix, got shape {keys.shape} of {keys.dtype}"
        )
    norms = row_norms(keys)
    off = np.flatnonzero(~(np.abs(norms - 1) <= unit_tolerance(keys.dtype, keys.shape[1])))
    if off.size:
        raise ValueError(f"keys must be unit vectors, got norm {norms[off[0]]} in row {off[0]}")
    return keys


def incoherence_bound(kind: str, tokens: int, dim: int, failure_probability: float) -> float:
    """Return an incoherence that the keys of a projection exceed with at most the given probability.

    All four bounds sum the tail P(<k_i, k_l> >= eps) over pairs:

    - gaussian: the exact area I_{1-eps^2}((d-1)/2, 1/2)/2 of the spherical cap;
    - rademacher: Hoeffding, e^{-d eps^2/2};
    - hadamard: an inner product is a sign times a function of i xor l, a mean of d draws without replacement
      from a balanced population of 2^p signs. Serfling's form of Hoeffding's bound gives
      e^{-d eps^2 / (2 (1 - (d-1)/2^p))} for each; the union runs over the fewer of the pairs and, with both
      tails, the xors;
    - sparse: with S = <s_i, s_l> and a_i, a_l nonzero entries in the raw rows, the product is
      S/sqrt(a_i a_l), so that it reaches eps only if S - eps a_i >= 0 or S - eps a_l >= 0. Both are sums of d
      independent terms; Chernoff bounds each by min over lambda of
      (2/3 + e^{-lambda eps} (2/3 + cosh(lambda)/3)/3)^d, and dividing by P(neither row is zero) pays for the
      redrawn rows.

    Parameters
    ----------
    kind : str
        A name in `kvfloor.reductions.keys.projections.PROJECTIONS`.
    tokens : int
        Number n of keys, at least 2.
    dim : int
        Their dimension d, at least 1.
    failure_probability : float
        In (0, 1).

    Returns
    -------
    float
        eps in [0, 1]; 1 means that nothing is guaranteed.

    Raises
    ------
    ValueError
        If the name is unknown or a number is out of its range.

    References
    ----------
    W. Hoeffding. Probability inequalities for sums of bounded random variables. JASA 58 (1963).
    R. Serfling. Probability inequalities for the sum in sampling without replacement. Ann. Stat. 2 (1974).
    """
    check_projection(kind)
    if tokens < 2 or dim < 1:
        raise ValueError(f"a bound needs tokens >= 2 and dim >= 1, got {tokens} and {dim}")
    check_within("failure_probability", failure_probability, "(0, 1)")
    # ln(pairs / p) > 0 or nearly
    log_odds = log(tokens) + log(tokens - 1) - log(2) - log(failure_probability)
    if kind == "gaussian":
        bound = _cap_incoherence(dim, log_odds)
    elif kind == "rademacher":
        bound = sqrt(2 * max(log_odds, 0.0) / dim)
    elif kind == "hadamard":
        order = hadamard_order(tokens, dim)
        xors = hadamard_order(tokens, 1) - 1
        log_odds = min(log_odds, log(2 * xors / failure_probability))
        bound = sqrt(2 * (1 - (dim - 1) / order) * max(log_odds, 0.0) / dim)
    else:
        bound = _sparse_incoherence(dim, log_odds)
    return min(bound, 1.0)


def dim_needed(tokens: int, incoherence: float, failure_probability: float) -> int:
    """Return a dimension in which Gaussian and Rademacher keys are as incoherent as asked (theory 2).

    It is the least d >= (2/eps^2) ln(n^2/(2p)), for n >= 2 tokens, eps in (0, 1) and failure probability p in (0, 1).
    """
    check_count("tokens", tokens, 2)
    check_within("incoherence", incoherence, "(0, 1)")
    check_within("failure_probability", failure_probability, "(0, 1)")
    return ceil(2 / incoherence**2 * (2 * log(tokens) - log(2) - log(failure_probability)))


def _cap_incoherence(dim: int, log_odds: float) -> float:
    """Return eps with cap area e^{-log_odds}; the complement of the beta function keeps tiny areas exact."""
    if dim == 1:
        return 1.0
    return sqrt(float(betainccinv(0.5, (dim - 1) / 2, min(1.0, 2 * np.exp(-log_odds)))))


def _sparse_incoherence(dim: int, log_odds: float) -> float:
    """Return the least eps over lambda of the Chernoff bound in `incoherence_bound`, solved for eps."""
    log_both_nonzero = 2 * np.log1p(-((2 / 3) ** dim))
    room = 3 * np.exp((log_both_nonzero - log_odds - log(2)) / dim) - 2
    if room <= 0:  # two rows may well share a single nonzero entry
        return 1.0

    def solved(rate: float) -> float:
        return float(np.log((2 + np.cosh(rate)) / (3 * room)) / rate)

    return float(minimize_scalar(solved, bounds=(1e-3, 50.0), method="bounded").fun)  # any lambda is valid
