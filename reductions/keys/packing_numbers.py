"""How many keys fit into d dimensions: explicit bounds on the packing number P(d, eps) (theory 4)."""

from __future__ import annotations

from math import ceil, comb, exp, floor, inf, log, log1p

from scipy.special import betainc, eval_jacobi, roots_jacobi

from kvfloor.reductions.checks import check_count, check_within

__all__ = ["cap_area", "greedy_attempts", "packing_bound", "packing_growth", "packing_limit"]

_LARGEST_DEGREE = 128


def cap_area(dim: int, cosine: float) -> float:
    """Return the fraction of the unit sphere in d >= 2 dimensions whose points have at least this product with a given one.

    It is I_{1-c^2}((d-1)/2, 1/2) / 2 for a cosine c >= 0, and the complement of the opposite cap for c < 0.
    """
    check_count("dim", dim, 2)
    check_within("cosine", cosine, "[-1, 1]")
    area = float(betainc((dim - 1) / 2, 0.5, (1 - cosine) * (1 + cosine))) / 2
    return area if cosine >= 0 else 1 - area


def packing_bound(dim: int, incoherence: float) -> float:
    """Return a lower bound on P(d, eps), the most unit keys with no inner product above eps.

    Where no key can be added, the caps of products above eps round the keys cover the sphere: P >= 1 / area.

    Parameters
    ----------
    dim : int
        d >= 2.
    incoherence : float
        eps in [-1, 1).

    Returns
    -------
    float
        1 / `cap_area`, at least 1. P is an integer: rounding up keeps the bound.

    References
    ----------
    E. N. Gilbert (1952), R. R. Varshamov (1957), and on the sphere C. E. Shannon. Probability of error for
    optimal codes in a Gaussian channel. Bell Syst. Tech. J. 38 (1959).
    """
    check_within("incoherence", incoherence, "[-1, 1)")
    area = cap_area(dim, incoherence)
    return 1 / area if area > 0 else inf


def packing_growth(dim: int, incoherence: float) -> float:
    """Return the exponential function of d that P(d, eps) is at least, for eps >= 0: 2 (1 - eps^2)^(-(d-1)/2).

    I_x(a, 1/2) / x^a grows with x and is 1 at x = 1, so `cap_area` is at most (1 - eps^2)^((d-1)/2) / 2, and this
    at most `packing_bound`.
    """
    check_count("dim", dim, 2)
    check_within("incoherence", incoherence, "[0, 1)")
    return 2 * exp(-(dim - 1) / 2 * log1p(-(incoherence**2)))


def packing_limit(dim: int, incoherence: float) -> float:
    """Return Levenshtein's upper bound on P(d, eps): no packing has more keys, up to the rounding of the number itself.

    It is the size itself of the simplex, the orthoplex, the hexagon, E8's and Leech's configurations. With
    P_k Gegenbauer's polynomials, P_k(1) = 1, and t_k^{a,b} the largest root of the Jacobi polynomial of degree
    k with exponents a + (d-3)/2 and b + (d-3)/2, it has one form on [t_{k-1}^{1,1}, t_k^{1,0}] and another on
    [t_k^{1,0}, t_k^{1,1}]. The nearer eps is to 1, the higher the degree k.

    Raises
    ------
    ValueError
        If eps is so near to 1 that the degree is above 128.

    References
    ----------
    V. I. Levenshtein. On bounds for packings in n-dimensional Euclidean space. Soviet Math. Dokl. 20 (1979).
    """
    check_count("dim", dim, 2)
    check_within("incoherence", incoherence, "[-1, 1)")
    if incoherence == -1:
        return 2.0
    base, s = (dim - 3) / 2, incoherence

    def largest_root(degree: int, extra: int) -> float:
        return float(roots_jacobi(degree, base + 1, base + extra)[0].max())

    def gegenbauer(degree: int) -> float:
        return float(eval_jacobi(degree, base, base, s) / eval_jacobi(degree, base, base, 1.0))

    for k in range(1, _LARGEST_DEGREE + 1):
        here, after = gegenbauer(k), gegenbauer(k + 1)
        if s <= largest_root(k, 0):
            ratio = (gegenbauer(k - 1) - here) / ((1 - s) * here)
            return comb(k + dim - 3, k - 1) * ((2 * k + dim - 3) / (dim - 1) - ratio)
        if s <= largest_root(k, 1):
            ratio = (1 + s) * (here - after) / ((1 - s) * (here + after))
            return comb(k + dim - 2, k) * ((2 * k + dim - 1) / (dim - 1) - ratio)
    raise ValueError(f"incoherence {incoherence} in {dim} dimensions needs a degree above {_LARGEST_DEGREE}")


def greedy_attempts(dim: int, incoherence: float, failure_probability: float) -> float:
    """Return how many uniform points make a random greedy packing as large as `packing_bound`, rounded down.

    While m keys are kept, a point is rejected with probability at most m times the area of a cap: no more
    often than by a collector of K = floor(1/area) coupons who has m of them. He is done after
    K (ln K + ln 1/p) draws, but for a probability p in (0, 1). Infinite if the bound is.
    """
    check_within("failure_probability", failure_probability, "(0, 1)")
    bound = packing_bound(dim, incoherence)
    if bound == inf:
        return inf
    coupons = floor(bound)
    return ceil(coupons * (log(coupons) - log(failure_probability)))
