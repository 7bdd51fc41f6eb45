"""GAP-HAMMING: Alice and Bob hold strings of signs, and Bob must say whether they agree in more than half of places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.checks import Doubles, Floats, check_count
from kvfloor.reductions.problems.strings import Questions, Strings, Symbols

_RADEMACHER = np.array([-1, 1], np.int8)


@dataclass(frozen=True, slots=True)
class GapHamming(Strings):
    """A question is Bob's string of n signs; the answer whether it agrees with Alice's in more than n/2 places.

    Whoever answers right wherever the two counts differ by a gap of c sqrt(n) keeps a share of n bits: shared
    random signs give them back. A round draws n random signs r and asks all n strings r * h, h a row of
    Hadamard's matrix; each place then gets the votes of the answers, with the signs that stand there (theory 15).

    Parameters
    ----------
    length : int
        Number n of Alice's bits, which stand for signs; a power of two.
    rounds : int
        Rounds of n questions of the reconstruction, at least 1.
    seed : int
        What the random signs are drawn from; public.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> problem = GapHamming(4)
    >>> problem.answer(np.array([1, 0, 1, 1]), np.array([[1, -1, 1, -1], [-1, 1, 1, -1]])).tolist()
    [1, 0]
    """

    alphabet: int = field(default=2, init=False)
    rounds: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        super(GapHamming, self).__post_init__()
        if self.length & (self.length - 1):
            raise ValueError(f"length must be a power of two, got {self.length}")
        check_count("rounds", self.rounds)

    def overlaps(self, x: Symbols, questions: Questions) -> NDArray[np.int64]:
        """Return agreements less disagreements of each of Bob's strings, shape (k,)."""
        signs = 2 * self.check_string(x).astype(np.int64) - 1
        return self.check_questions(questions) @ signs

    def answer(self, x: Symbols, questions: Questions) -> Symbols:
        """Return for each of Bob's strings, shape (k, n) of signs, 1 if most places agree, else 0."""
        return (self.overlaps(x, questions) > 0).astype(np.uint8)

    def reconstruction(self, indices: Symbols) -> Questions:
        """Return the questions of all rounds, shape (rounds n, n) of signs, whatever is asked for."""
        self.check_indices(indices)
        rows = hadamard(np.eye(self.length, dtype=np.int8))
        return np.concatenate([rows * signs for signs in self._signs()])

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return the bits that the majority of votes says; an answer votes for or against its whole string."""
        votes = self.votes(2.0 * np.asarray(answers) - 1.0)
        return (votes > 0).astype(np.uint8)[self.check_indices(indices)]

    def votes(self, weights: Floats) -> Doubles:
        """Return the sum of the questions' strings, each times its weight.

        Parameters
        ----------
        weights : ndarray, shape (rounds n,)
            Signs for answers; overlaps themselves give rounds n times Alice's signs.

        Returns
        -------
        ndarray, shape (n,)
            Votes for each place.
        """
        rounds = weights.reshape(self.rounds, self.length)
        votes: Doubles = (hadamard(rounds) * self._signs()).sum(axis=0)
        return votes

    def check_questions(self, questions: Questions) -> Questions:
        """Return `questions` if they are strings that Bob may hold, else raise ValueError.

        Parameters
        ----------
        questions : ndarray of int, shape (k, n)
            Candidate strings.

        Returns
        -------
        ndarray of int, shape (k, n)
            The same array.

        Raises
        ------
        ValueError
            If the shape or the type differs, or an entry is not a sign.
        """
        asked = np.asarray(questions)
        if (
            asked.ndim != 2
            or asked.shape[1] != self.length
            or not np.issubdtype(asked.dtype, np.signedinteger)
        ):
            raise ValueError(
                f"questions must be a matrix of signs with {self.length} columns, got shape {asked.shape} of {asked.dtype}"
            )
        if len(asked) == 0 or (np.abs(asked) != 1).any():
            raise ValueError("questions must be strings of -1 and 1, at least one")
        return asked

    def _signs(self) -> NDArray[np.int8]:
        """Return the random signs of each round, shape (rounds, n)."""
        return np.random.default_rng(self.seed).choice(_RADEMACHER, (self.rounds, self.length))


def hadamard(rows: NDArray[Any]) -> NDArray[Any]:
    """Return each row times Hadamard's matrix of Sylvester's form, by additions alone.

    Parameters
    ----------
    rows : ndarray, shape (k, n)
        n a power of two.

    Returns
    -------
    ndarray, shape (k, n)
        Of the same type; the matrix is symmetric and its square n times the identity.
    """
    result = rows.copy()
    step = 1
    while step < rows.shape[1]:
        pairs = result.reshape(len(rows), -1, 2, step)
        result = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(
            rows.shape
        )
        step *= 2
    return result
