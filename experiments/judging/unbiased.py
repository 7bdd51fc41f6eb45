"""Whether means of independent estimates are what they should be, within what chance allows (Bernstein).

A row's ``tau_error``, ``tau_variance`` and ``tau_largest`` are, for each query, the error of a mean, and the
variance and the largest deviation of one of the estimates that it averages; likewise for ``z``.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.subgen.concentration import bernstein_tail
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.judging.claim import Check

__all__ = ["Means", "judge_means", "mean_errors"]

Doubles: TypeAlias = NDArray[np.float64]
Means: TypeAlias = list[tuple[Doubles, Doubles]]
"""Of the denominator and of the numerator: errors of means, and what chance allows them, query by query."""


def mean_errors(rows: Sequence[Record], estimates: int, failure: float) -> Means:
    """Return the errors of the means of both sums, and what chance allows them.

    Parameters
    ----------
    rows : sequence of Record
        Equal cells with coins of their own.
    estimates : int
        Independent estimates in each row's mean.
    failure : float
        Probability with which an error may exceed what is allowed.

    Returns
    -------
    Means
        With one entry for each query.
    """
    found = []
    for part in ("tau", "z"):
        error = np.mean([row.measured[f"{part}_error"] for row in rows], axis=0)
        variance, largest = (
            np.array(rows[0].measured[f"{part}_{name}"]) / (estimates * len(rows))
            for name in ("variance", "largest")
        )
        linear = math.log(2 / failure) * largest / 3
        allowed: Doubles = linear + np.sqrt(linear**2 + 2 * math.log(2 / failure) * variance)
        assert np.allclose(bernstein_tail(allowed, variance, largest), failure, rtol=1e-9, atol=0)
        found.append((error, allowed))
    return found


def judge_means(names: tuple[str, str], means: Sequence[Means], false_alarm: float) -> list[Check]:
    """Check the denominator's means and the numerator's against what chance allows.

    Parameters
    ----------
    names : tuple of str
        Names of the two checks.
    means : sequence of Means
        A series each.
    false_alarm : float
        What all comparisons share.

    Returns
    -------
    list of Check
        Both.
    """
    checks = []
    for part, name in enumerate(names):
        over = max(float(np.max(np.abs(both[part][0]) / both[part][1])) for both in means)
        checks.append(Check(name, over <= 1, {"error_over_threshold": over, "false_alarm": false_alarm}))
    return checks
