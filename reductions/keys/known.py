"""Unit keys with what is known of their incoherence: measured, bounded, or left to be measured (theory 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from kvfloor.reductions.checks import Floats, check_within
from kvfloor.reductions.keys.incoherence import check_unit_rows, incoherence, incoherence_bound
from kvfloor.reductions.keys.projections import PROJECTIONS, FloatType, check_projection

__all__ = ["Keys"]


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Unit keys, and a bound on the inner products of distinct ones that whoever made them answers for.

    Scores of Bob's token are 0, so that a negative incoherence gives nothing (theory 3): bounds start at 0.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Unit keys, float32 or float64; tokens and queries take their type.
    bound : float, optional
        eps in [0, 1], which no inner product exceeds; 1 says nothing. Without one, it is measured each time it
        is asked for.
    failure_probability : float
        Probability in [0, 1), over the draw of the keys, that the bound does not hold.

    Raises
    ------
    ValueError
        If a row is no unit vector (see `check_unit_rows`) or a number is out of its range.

    Examples
    --------
    >>> Keys(np.eye(3)).incoherence()
    0.0
    """

    rows: Floats
    bound: float | None = None
    failure_probability: float = 0.0

    def __post_init__(self) -> None:
        check_unit_rows(self.rows)
        if self.bound is not None:
            check_within("incoherence", self.bound, "[0, 1]")
        check_within("failure_probability", self.failure_probability, "[0, 1)")

    @classmethod
    def drawn(
        cls,
        kind: str,
        tokens: int,
        dim: int,
        rng: np.random.Generator,
        dtype: FloatType = np.float64,
        failure_probability: float | None = None,
    ) -> Self:
        """Draw keys by a random projection.

        Parameters
        ----------
        kind : str
            A name in `kvfloor.reductions.keys.projections.PROJECTIONS`.
        tokens, dim : int
            n and d, at least 1.
        rng : numpy.random.Generator
            Source of randomness.
        dtype : {numpy.float64, numpy.float32}
            Precision.
        failure_probability : float, optional
            If given, in (0, 1), the incoherence is bounded with this probability (`incoherence_bound`), not
            measured at n^2 d operations.

        Returns
        -------
        Keys
            A single key has nothing to be bounded.

        Raises
        ------
        ValueError
            If the name is unknown or a number is out of its range.
        """
        rows = PROJECTIONS[check_projection(kind)](tokens, dim, rng, dtype)
        if failure_probability is None or tokens == 1:
            return cls(rows)
        return cls(rows, incoherence_bound(kind, tokens, dim, failure_probability), failure_probability)

    def measured(self) -> Self:
        """Return the keys with their incoherence measured, once for all: n^2 d multiplications."""
        return replace(self, bound=replace(self, bound=None).incoherence(), failure_probability=0.0)

    def first(self, count: int) -> Self:
        """Return the first keys, for which the bound holds, too."""
        return replace(self, rows=self.rows[:count])

    def incoherence(self) -> float:
        """Return the bound, or else the largest inner product, at least 0: measured at n^2 d multiplications.

        Returns
        -------
        float
            eps in [0, 1]; 0 for a single key.
        """
        if self.bound is not None:
            return self.bound
        return max(0.0, incoherence(self.rows)) if len(self.rows) > 1 else 0.0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """Their dimension d."""
        return int(self.rows.shape[1])

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Their type."""
        return self.rows.dtype
