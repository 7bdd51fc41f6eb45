"""Random numbers that are looked up, not consumed: the same whatever was drawn before, in whatever order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draws"]


class Draws:
    """A SplitMix64 stream of the public coins, with an entry at every tuple of counters.

    A cache that draws by what it draws for (a token's position, a slot) needs no generator state on the
    wire, and its draws depend neither on the blocks in which tokens come nor on a restore in between.

    Parameters
    ----------
    seed : int
        The coins' seed, at least 0.

    References
    ----------
    G. Steele, D. Lea, C. Flood. Fast Splittable Pseudorandom Number Generators. OOPSLA 2014.
    """

    def __init__(self, seed: int) -> None:
        self._start = np.random.SeedSequence(seed).generate_state(1, np.uint64)

    def words(self, *counters: Any) -> NDArray[np.uint64]:
        """Return 64 random bits for every tuple of counters.

        Parameters
        ----------
        *counters : int or ndarray of int
            Counters that broadcast together, each at least 0. An entry of the stream of one counter starts
            the stream of the next.

        Returns
        -------
        ndarray of uint64
            Of the broadcast shape, at least one-dimensional.
        """
        mixed: NDArray[Any] = self._start
        for counter in counters:
            steps = np.atleast_1d(counter).astype(np.uint64) + np.uint64(1)
            mixed = mixed + steps * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> 27)) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> 31
        return mixed

    def uniforms(self, *counters: Any) -> NDArray[np.float64]:
        """Return a uniform number in (0, 1] for every tuple of counters, a multiple of 2^-53.

        Parameters
        ----------
        *counters : int or ndarray of int
            As for `words`.

        Returns
        -------
        ndarray of float64
            Of the broadcast shape, at least one-dimensional.
        """
        numerators = (self.words(*counters) >> 11) + np.uint64(1)
        numbers: NDArray[np.float64] = numerators.astype(np.float64) * 2.0**-53
        return numbers
