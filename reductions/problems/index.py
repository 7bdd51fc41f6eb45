"""INDEX: Alice holds a string x, Bob holds a position i and must say x_i after one message."""

from __future__ import annotations

from dataclasses import dataclass

from kvfloor.reductions.problems.strings import Strings, Symbols


@dataclass(frozen=True, slots=True)
class Index(Strings):
    """INDEX over the strings of `Strings`; a question is a position, and each is its own reconstruction.

    Examples
    --------
    >>> import numpy as np
    >>> Index(length=8, alphabet=4).answer(np.array([3, 1, 0, 2, 3, 1, 0, 2]), np.array([4, 1])).tolist()
    [3, 1]
    """

    def answer(self, x: Symbols, questions: Symbols) -> Symbols:
        """Return the right answers x[questions].

        Parameters
        ----------
        x : ndarray, shape (N,)
            Alice's string.
        questions : ndarray of int, shape (k,)
            Bob's positions, each in 0..N-1.

        Returns
        -------
        ndarray, shape (k,)
            The symbols asked for, in the order of `questions`.

        Raises
        ------
        ValueError
            If `x` is not a string of this problem or a position lies outside of it.
        """
        return self.check_string(x)[self.check_indices(questions)]

    def reconstruction(self, indices: Symbols) -> Symbols:
        """Return the positions themselves, shape (k,)."""
        return self.check_indices(indices)

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return the answers themselves, shape (k,)."""
        return answers
