"""DISJOINTNESS: Alice and Bob hold sets, and Bob must say whether they have no element in common."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kvfloor.reductions.problems.strings import Questions, Strings, Symbols


@dataclass(frozen=True, slots=True)
class Disjointness(Strings):
    """Alice's string says of each of N elements whether her set has it; a question is Bob's set.

    Sets of one element give the string back, so the one-way bound is that of INDEX: N bits.

    Parameters
    ----------
    length : int
        Number N of elements, at least 1.
    largest : int, optional
        Most elements of Bob's set, in 1..N; N if not given.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> problem = Disjointness(4)
    >>> problem.answer(np.array([0, 1, 1, 0]), np.array([[1, 0, 0, 1], [1, 1, 0, 0]], bool)).tolist()
    [1, 0]
    """

    alphabet: int = field(default=2, init=False)
    largest: int | None = None

    def __post_init__(self) -> None:
        super(Disjointness, self).__post_init__()
        if self.largest is not None and not 1 <= self.largest <= self.length:
            raise ValueError(f"largest must be in 1..{self.length}, got {self.largest}")

    def answer(self, x: Symbols, questions: Questions) -> Symbols:
        """Return for each of Bob's sets, shape (k, N) of bool, 1 if it is disjoint from Alice's, else 0."""
        common = self.check_questions(questions) @ self.check_string(x).astype(np.int64)
        disjoint: Symbols = (common == 0).astype(np.uint8)
        return disjoint

    def reconstruction(self, indices: Symbols) -> Questions:
        """Return the sets of one element each, shape (k, N) of bool."""
        sets: Questions = self.check_indices(indices)[:, np.newaxis] == np.arange(self.length)
        return sets

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return which of the elements Alice has: those whose sets are not disjoint from hers."""
        return 1 - answers

    def check_questions(self, questions: Questions) -> Questions:
        """Return `questions` if they are sets that Bob may hold, else raise ValueError.

        Parameters
        ----------
        questions : ndarray of bool, shape (k, N)
            Candidate sets.

        Returns
        -------
        ndarray of bool, shape (k, N)
            The same array.

        Raises
        ------
        ValueError
            If the shape or the type differs, or a set is empty or too large.
        """
        sets = np.asarray(questions)
        if sets.ndim != 2 or sets.shape[1] != self.length or sets.dtype != np.bool_:
            raise ValueError(
                f"sets must be a boolean matrix with {self.length} columns, got shape {sets.shape} of {sets.dtype}"
            )
        sizes, largest = sets.sum(axis=1), self.largest or self.length
        if len(sizes) == 0 or sizes.min() < 1 or sizes.max() > largest:
            found = f"{sizes.min()}..{sizes.max()}" if len(sizes) else "no set"
            raise ValueError(f"Bob's sets must have 1..{largest} elements, got {found}")
        return sets
