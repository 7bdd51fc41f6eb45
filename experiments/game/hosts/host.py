"""What a host is: it makes a cache, writes the stream into it, hands over bytes and answers from bytes.

A host is a frozen dataclass whose fields are JSON values, so that it can be made again in a process that
shares nothing with this one. To add a kind of cache, write `write` and `ask`:

- `write` makes a new cache, feeds it the stream in its order, and returns the bytes that carry the whole
  state, with the accounts that it can give;
- `ask` makes the cache again from these bytes and the public coins *alone*, feeds it Bob's tokens, and
  returns what it answers to his questions, one row each.

Neither may keep anything for the other: in an audit they run in different processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.solving import Answered, solve
from kvfloor.reductions.encodings.protocol import Stream

__all__ = ["Accounts", "Host", "Written"]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The other ways to count a cache, for a host that can.

    Parameters
    ----------
    nominal_bits : float or None
        What the method says that it keeps.
    allocated_bits : int
        What the cache occupies: storages whole and once, scales, zero points, masks, indices.
    full_cache_bits : int
        Keys and values of all tokens in the model's number format.
    peak_bits : int or None
        The most that was allocated while the stream was written.
    masked_entries : int
        Entries (head, token) that are still there but masked.
    compresses : bool
        Whether the method is there to save anything: a cache that keeps the stream as it is, and says so,
        promises nothing.
    """

    nominal_bits: float | None
    allocated_bits: int
    full_cache_bits: int
    peak_bits: int | None = None
    masked_entries: int = 0
    compresses: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """What Alice leaves behind: her message, and the accounts if her host gives any."""

    payload: bytes
    accounts: Accounts | None = None


class Host(ABC):
    """Holds one kind of cache; a frozen dataclass of JSON values."""

    preload: ClassVar[tuple[str, ...]] = ()
    """Libraries that take long to import and that its parties need."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The cache as it was named."""

    @abstractmethod
    def write(self, stream: Stream, coins: Coins) -> Written:
        """Do Alice's half.

        Parameters
        ----------
        stream : Stream
            Her tokens.
        coins : Coins
            The public randomness, and the public keys where there are some.

        Returns
        -------
        Written
            The message, which carries the whole state of the cache, and the accounts.

        Raises
        ------
        ValueError
            If the cache cannot be made or fails; one sentence.
        """

    @abstractmethod
    def ask(self, payload: bytes, token: Stream, queries: NDArray[Any], coins: Coins) -> NDArray[Any]:
        """Do Bob's half: restore the cache from a message, append his tokens, ask.

        Parameters
        ----------
        payload : bytes
            What Alice wrote.
        token : Stream
            Bob's tokens; there may be none.
        queries : ndarray, shape (m, d)
            His questions, a row each.
        coins : Coins
            As Alice had them.

        Returns
        -------
        ndarray, shape (m, k)
            The answers, finite numbers.

        Raises
        ------
        ValueError
            If the cache cannot be restored or fails; one sentence.
        """

    def solve(self, readers: Sequence[str], answered: Answered, coins: Coins) -> NDArray[np.float64]:
        """Run those who solve for the values; see `kvfloor.experiments.game.solving.solve`."""
        return solve(self, readers, answered, coins)
