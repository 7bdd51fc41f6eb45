"""Where every random draw comes from: independent streams named by what they are for."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

__all__ = ["Randomness"]


@dataclass(frozen=True, slots=True)
class Randomness:
    """The random streams of one play, all derived from one root seed and one name.

    The streams are children of ``SeedSequence(root)`` under distinct spawn keys. They depend on nothing
    else, so a result is the same whatever the number of workers, the order, or an interruption. The keys
    and the cache's coins are public; the secret x and the audited positions come from streams that
    neither Alice's nor Bob's cache is given (theory 1: the coins are independent of x).

    Parameters
    ----------
    root : int
        The user's seed, at least 0.
    name : str
        What the draws are for; hashed into the spawn key.
    block : int
        Which repetition, at least 0.
    """

    root: int
    name: str
    block: int = 0

    def keys(self) -> np.random.Generator:
        """Return the generator of the public keys."""
        return np.random.default_rng(self._sequence(0))

    def coins_seed(self) -> int:
        """Return the public 63-bit integer that both halves of a cache are given."""
        return int(self._sequence(1).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def secret(self) -> np.random.Generator:
        """Return the generator of x, which no cache is given."""
        return np.random.default_rng(self._sequence(2))

    def positions(self) -> np.random.Generator:
        """Return the generator of the positions a sampled certificate asks for."""
        return np.random.default_rng(self._sequence(3))

    def _sequence(self, stream: int) -> np.random.SeedSequence:
        """Return the seed sequence of one stream."""
        digest = sha256(self.name.encode()).digest()
        words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
        return np.random.SeedSequence(self.root, spawn_key=(*words, self.block, stream))
