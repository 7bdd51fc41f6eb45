"""EQUALITY, many times over: Alice holds words, Bob holds one and must say whether it is the one she has there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kvfloor.reductions.problems.strings import Questions, Strings, Symbols

WIDEST = 16  # a word's reconstruction asks for every word there is


@dataclass(frozen=True, slots=True)
class Equality(Strings):
    """EQUALITY, word by word: a question is a place and a word, and whether that is the word Alice has there.

    One word is EQUALITY itself. Asking a place for each of the 2^w words gives the word back, so whoever
    answers all questions rightly keeps N bits. Shared coins change that: w bits hashed to t say "equal" wrongly
    with probability 2^-t a question, which a reconstruction by 2^w questions does not survive (theory 1).

    Parameters
    ----------
    length : int
        Number N of bits, a multiple of `width`.
    width : int
        Bits w of a word, in 1..16.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> problem = Equality(length=4, width=2)
    >>> problem.answer(np.array([0, 1, 1, 1]), np.array([[0, 0, 1], [1, 1, 0]])).tolist()
    [1, 0]
    """

    alphabet: int = field(default=2, init=False)
    width: int = 4

    def __post_init__(self) -> None:
        super(Equality, self).__post_init__()
        if not 1 <= self.width <= WIDEST:
            raise ValueError(f"width must be in 1..{WIDEST}, got {self.width}")
        if self.length % self.width:
            raise ValueError(f"length must be a multiple of width {self.width}, got {self.length}")

    @property
    def words(self) -> int:
        """The number of words."""
        return self.length // self.width

    def answer(self, x: Symbols, questions: Questions) -> Symbols:
        """Return for each question, shape (k, 1 + w) of place and word, 1 if Alice's word there is that one."""
        places, words = self.check_questions(questions)
        held = self.check_string(x).reshape(self.words, self.width)[places]
        same: Symbols = (held == words).all(axis=1).astype(np.uint8)
        return same

    def reconstruction(self, indices: Symbols) -> Questions:
        """Return every word at every place that a position lies in, shape (p 2^w, 1 + w)."""
        places = np.unique(self.check_indices(indices) // self.width)
        words = _all_words(self.width)
        return np.hstack([np.repeat(places, len(words))[:, np.newaxis], np.tile(words, (len(places), 1))])

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return the bits of the first word at each place that was said to be equal; of zeros if none was."""
        indices = self.check_indices(indices)
        places, of = np.unique(indices // self.width, return_inverse=True)
        found = np.argmax(np.reshape(answers, (len(places), 2**self.width)), axis=1)
        bits: Symbols = _all_words(self.width)[found[of], indices % self.width]
        return bits

    def check_questions(self, questions: Questions) -> tuple[Symbols, Symbols]:
        """Return places, shape (k,), and words, shape (k, w), of questions, else raise ValueError.

        Parameters
        ----------
        questions : ndarray of int, shape (k, 1 + w)
            Candidate questions.

        Returns
        -------
        tuple of ndarray
            Places in 0..N/w-1, and words of bits.

        Raises
        ------
        ValueError
            If the shape, the type, a place or a bit is wrong.
        """
        asked = np.asarray(questions)
        if asked.ndim != 2 or asked.shape[1] != 1 + self.width or not np.issubdtype(asked.dtype, np.integer):
            raise ValueError(
                f"questions must be an integer matrix of a place and {self.width} bits, "
                f"got shape {asked.shape} of {asked.dtype}"
            )
        places, words = asked[:, 0], asked[:, 1:]
        if len(asked) == 0 or places.min() < 0 or places.max() >= self.words:
            raise ValueError(f"places must lie in 0..{self.words - 1}, got {places.tolist()[:8]}")
        if words.min() < 0 or words.max() > 1:
            raise ValueError(f"words must be of bits, got {words.min()}..{words.max()}")
        return places, words


def _all_words(width: int) -> Symbols:
    """Return the 2^w words of w bits, shape (2^w, w)."""
    words: Symbols = (np.arange(2**width)[:, np.newaxis] >> np.arange(width) & 1).astype(np.uint8)
    return words
