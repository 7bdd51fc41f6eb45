"""POINTER CHASING: Alice holds a function of n nodes, Bob a node, and must say where k steps from it lead."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lgamma, log

import numpy as np

from kvfloor.reductions.checks import check_count
from kvfloor.reductions.problems.strings import Questions, Symbols


@dataclass(frozen=True, slots=True)
class PointerChasing:
    """f is one cycle through all n nodes, uniform among them; a question is a node i, the answer f^k(i).

    With k coprime to n the k-th power is as good as f: f = (f^k)^j for k j = 1 mod n. So all answers together give
    log2 (n-1)! bits back, whatever k is, and Theorem A counts cycles (theory 19).

    Parameters
    ----------
    length : int
        Number n of nodes, at least 3.
    hops : int
        k, at least 1 and coprime to n.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> PointerChasing(5, hops=3).answer(np.array([1, 2, 3, 4, 0]), np.array([0, 4])).tolist()
    [3, 2]
    """

    length: int
    hops: int = 1

    def __post_init__(self) -> None:
        check_count("length", self.length, 3)
        check_count("hops", self.hops)
        if gcd(self.hops, self.length) != 1:
            raise ValueError(f"hops must be coprime to length {self.length}, got {self.hops}")

    @property
    def alphabet(self) -> int:
        """An answer is one of n nodes."""
        return self.length

    @property
    def capacity_bits(self) -> float:
        """The entropy log2 (n-1)! of a uniform cycle, in bits."""
        return lgamma(self.length) / log(2)

    def sample(self, rng: np.random.Generator) -> Symbols:
        """Draw f uniformly among the cycles through all nodes, shape (n,)."""
        order = rng.permutation(self.length)
        f = np.empty(self.length, np.int64)
        f[order] = np.roll(order, -1)
        return f

    def answer(self, x: Symbols, questions: Questions) -> Symbols:
        """Return f^k of each node asked for, shape (k,)."""
        f, at = self.check_function(x), np.asarray(questions)
        for _ in range(self.hops % self.length):
            at = f[at]
        return at

    def reconstruction(self, indices: Symbols) -> Questions:
        """Return all nodes, whatever is asked for: f hangs on every power."""
        return np.arange(self.length)

    def reconstruct(self, answers: Symbols, indices: Symbols) -> Symbols:
        """Return f of the nodes at these places, from f^k of all nodes; anything where the answers are no cycle."""
        inverse, at = pow(self.hops, -1, self.length), np.asarray(indices)
        for _ in range(inverse):
            at = np.asarray(answers)[at]
        return at

    def check_function(self, x: Symbols) -> Symbols:
        """Return `x` if it maps nodes to nodes, else raise ValueError.

        Parameters
        ----------
        x : ndarray of int
            Candidate function.

        Returns
        -------
        ndarray, shape (n,)
            The same array.

        Raises
        ------
        ValueError
            If the shape, the type or an entry differs.
        """
        f = np.asarray(x)
        if f.shape != (self.length,) or not np.issubdtype(f.dtype, np.integer):
            raise ValueError(
                f"a function of {self.length} nodes is as many integers, got shape {f.shape} of {f.dtype}"
            )
        if f.min() < 0 or f.max() >= self.length:
            raise ValueError(f"nodes lie in 0..{self.length - 1}, got {f.min()}..{f.max()}")
        return f
