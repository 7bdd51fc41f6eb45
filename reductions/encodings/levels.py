"""The values that symbols are written as, and the thresholds by which they are read."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from kvfloor.reductions.accuracy import Accuracy, Guarantee
from kvfloor.reductions.checks import Doubles, check_eta, check_norm, check_within

_MOST_LEVELS = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The value of each symbol.

    Parameters
    ----------
    values : ndarray of float64, shape (q,)
        Non-negative and ascending, q >= 2; `of` takes any sequence.

    Raises
    ------
    ValueError
        If they are not at least two finite, non-negative, strictly ascending numbers.

    Examples
    --------
    >>> Levels.equal(3).values
    array([0. , 0.5, 1. ])
    """

    values: Doubles

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.size < 2:
            raise ValueError(f"levels must be a vector of at least 2 numbers, got shape {self.values.shape}")
        if not (self.values[0] >= 0 and np.all(np.diff(self.values) > 0) and isfinite(self.values[-1])):
            raise ValueError("levels must be finite, non-negative and strictly ascending")

    @classmethod
    def of(cls, values: ArrayLike) -> Self:
        """Return any ascending values as levels."""
        return cls(np.array(values, dtype=np.float64))

    @classmethod
    def equal(cls, alphabet: int) -> Self:
        """Return q equally spaced levels from 0 to 1, q from 2 to 2^24."""
        return cls(np.linspace(0.0, 1.0, _check_alphabet(alphabet)))

    @classmethod
    def geometric(cls, alphabet: int, lowest: float = 1e-6) -> Self:
        """Return q geometric levels from `lowest`, in (0, 1), to 1, q from 2 to 2^24 (theory 3, precision).

        Where they are less than about 1e-3 apart relatively, keys must be float64 for attention to resolve
        them.
        """
        check_within("lowest", lowest, "(0, 1)")
        return cls(np.geomspace(lowest, 1.0, _check_alphabet(alphabet)))

    def __len__(self) -> int:
        return len(self.values)

    def resolution(self, eta: float) -> float:
        """Return the kappa below which all neighbours are told apart, for eta in [0, 1) (see `values.required_query_norm`).

        It is min over neighbours x < y of (y (1 - eta)/(1 + eta) - x) / x_max; none are if it is not positive.
        """
        shrink = (1 - check_eta(eta)) / (1 + eta)
        return float(np.min(shrink * self.values[1:] - self.values[:-1]) / self.values[-1])

    def thresholds(self, accuracy: Accuracy, kappa: float = 0.0) -> Doubles:
        """Return where outputs of one symbol end and those of the next begin: q - 1 numbers (see `ValuesEncoding`).

        The guaranteed decoder takes the middle `between` the worst outputs of neighbours at the `values.interference`
        kappa. The typical one takes the geometric mean of neighbours, and half of the upper where the lower is 0.
        """
        lower, upper = self.values[:-1], self.values[1:]
        if accuracy.decoder == "typical":
            return np.where(lower == 0, upper / 2, np.sqrt(lower * upper))
        most_of_lower = (1 + accuracy.eta) * (lower + kappa * self.values[-1]) / (1 + kappa)
        return between(most_of_lower, (1 - accuracy.eta) * upper / (1 + kappa))


def _check_alphabet(alphabet: int) -> int:
    """Return the number of levels if so many can be told apart at all, else raise ValueError."""
    if not 2 <= alphabet <= _MOST_LEVELS:
        raise ValueError(f"alphabet must be 2 to {_MOST_LEVELS} levels, got {alphabet}")
    return alphabet


BINARY = Levels.equal(2)
"""A bit as 0 or 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How symbols are asked for and read: what is chosen when keys, levels and accuracy are known.

    Parameters
    ----------
    query_norm : float
        C, finite and at least 0.
    thresholds : ndarray
        Where one symbol ends and the next begins, in outputs; which is which, the encoding says.
    guarantee : Guarantee or None
        When decoding with the guaranteed thresholds is proved, or None where no finite C is, or where the
        incoherence was not needed and so not measured.

    Raises
    ------
    ValueError
        If the norm is out of its range.
    """

    query_norm: float
    thresholds: Doubles
    guarantee: Guarantee | None = None

    def __post_init__(self) -> None:
        check_norm("query_norm", self.query_norm)


class ByReading:
    """An encoding whose query norm and guarantee are those of its reading."""

    __slots__: tuple[str, ...] = ()
    reading: Reading

    @property
    def query_norm(self) -> float:
        """The query norm C."""
        return self.reading.query_norm

    @property
    def guarantee(self) -> Guarantee | None:
        """When decoding with the guaranteed thresholds is proved, or None where no finite C is."""
        return self.reading.guarantee


def chosen_norm(query_norm: float | None, guarantee: Guarantee | None, hopeless: str) -> float:
    """Return the query norm that was given, or else the one that the guarantee asks for.

    Raises
    ------
    ValueError
        If neither is there; it says what no query norm does and what to give instead: `hopeless`.
    """
    if query_norm is not None:
        return query_norm
    if guarantee is None:
        raise ValueError(f"no query norm {hopeless}")
    return guarantee.query_norm


def between(most_of_lower: Doubles, least_of_upper: Doubles) -> Doubles:
    """Return the middle between the worst outputs of neighbours, or the upper end where they overlap.

    Theory 3 takes the upper end, (1 - eta)/(1 + kappa) for bits. The middle proves the same and keeps
    rounding away from either end. Where the worst outputs overlap, so that nothing is proved, the upper
    symbol is still read rightly.
    """
    middle: Doubles = (least_of_upper + most_of_lower) / 2
    return np.minimum(middle, least_of_upper)
