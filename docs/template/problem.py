"""A template for a problem of your own: SUMS OF TWO. Copy it to reductions/problems/, and change every line that says why.

Alice holds N bits. Bob holds two positions and must say how many of the two bits are 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kvfloor.reductions.problems.strings import Questions, Strings, Symbols


@dataclass(frozen=True, slots=True)
class SumsOfTwo(Strings):
    """Bob asks for the sum of two of Alice's bits.

    `Strings` is Alice's half: it draws her string uniformly, which the certificate assumes, and checks strings
    and positions. What a problem adds is Bob's half: his questions, their answers, and the way back.

    Examples
    --------
    >>> problem = SumsOfTwo(3)
    >>> problem.answer(np.array([1, 0, 1]), np.array([[0, 1], [0, 2], [1, 1]])).tolist()
    [1, 2, 0]
    """

    # The alphabet is Alice's, not that of the answers: her symbols are bits, an answer is 0, 1 or 2.
    alphabet: int = field(default=2, init=False)

    def answer(self, x: Symbols, questions: Questions) -> Symbols:
        """Return the sums, shape (k,), for pairs of positions, shape (k, 2)."""
        pairs = self.check_questions(questions)
        sums: Symbols = self.check_string(x).astype(np.int64)[pairs].sum(axis=1)
        return sums

    def reconstruction(self, indices: Symbols) -> Questions:
        """Return the pairs (i, i): twice a bit tells the bit.

        These questions must not depend on x, and their answers must give x back: Theorem A counts strings, so
        this method is what makes an answer worth bits. Without it a problem proves nothing here.
        """
        positions = self.check_indices(indices)
        return np.stack([positions, positions], axis=1)

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return half of each sum; a wrong answer may be 1, which stands for no bit and is read as 0."""
        bits: Symbols = np.asarray(answers) // 2
        return bits

    def check_questions(self, questions: Questions) -> Symbols:
        """Return `questions` if they are pairs of positions, else raise ValueError with what was given."""
        pairs = np.asarray(questions)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"questions must be pairs of positions, got shape {pairs.shape}")
        return self.check_indices(pairs.ravel()).reshape(-1, 2)
