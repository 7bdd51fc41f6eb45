"""How often the sign of a sum of signs is wrong: what linear attention reads (theory 14)."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["sign_errors"]

_STEP = 0.05  # of the quadrature; sums beyond 2 pi / step - 1, above 120, are mistaken for small ones
_REACH = 9.0  # standard deviations of the frequency; the characteristic function is then below e^-40


def sign_errors(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that 1 + sum_l w_l s_l is negative, for independent uniform signs s_l.

    By inversion of the characteristic function, P = 1/2 - (1/pi) int_0^inf (sin t / t) prod_l cos(w_l t) dt, with
    the trapezoidal rule. For sums of many weights, none of which holds most of the variance.

    Parameters
    ----------
    weights : ndarray, shape (k, n)
        A row of weights for each sum.

    Returns
    -------
    ndarray, shape (k,)
        Probabilities.

    References
    ----------
    J. Gil-Pelaez. Note on the inversion theorem. Biometrika 38, 1951.
    """
    deviations = np.sqrt(np.square(weights).sum(axis=1))
    found = np.empty(len(weights))
    for row, (each, deviation) in enumerate(zip(weights, deviations, strict=True)):
        times = np.arange(1, int(_REACH / deviation / _STEP) + 2) * _STEP
        characteristic = np.cos(times[:, None] * each).prod(axis=1)
        integral = _STEP * (0.5 + (np.sin(times) / times * characteristic).sum())
        found[row] = 0.5 - integral / np.pi
    return found
