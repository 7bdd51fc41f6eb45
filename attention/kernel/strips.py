"""Answer queries strip by strip: find how much can be left out, and do again what was left uncertain."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from kvfloor.attention.checks import Matrix
from kvfloor.attention.kernel.blocks import Room, Tokens
from kvfloor.attention.kernel.sums import Asked, Sums
from kvfloor.attention.kernel.threads import allowed_threads, share

__all__ = ["attend", "each", "settled", "strips"]

Item = TypeVar("Item")

NARROWEST = 32  # a product with fewer queries is slower than its share
SAMPLED = 16  # queries whose largest score is looked up beforehand
SAMPLED_FROM = 256  # among so many or more


def strips(queries: int, longest: int) -> list[slice]:
    """Cut queries into strips of about one length, as many as all threads can share evenly.

    Parameters
    ----------
    queries : int
        How many there are, at least 1.
    longest : int
        The most in a strip.

    Returns
    -------
    list of slice
        In order.
    """
    threads = allowed_threads()
    count = -(-queries // longest)
    if queries >= NARROWEST * threads:
        count = -(-count // threads) * threads
    length = -(-queries // count)
    return [slice(start, min(start + length, queries)) for start in range(0, queries, length)]


def each(
    tokens: Tokens, items: Sequence[Item], work: Callable[[Item, Room], object], most: int | None = None
) -> None:
    """Let threads work on items, each thread with room of its own.

    Parameters
    ----------
    tokens : Tokens
        What is asked.
    items : sequence
        Strips of queries, or what stands for them.
    work : callable
        Is given an item and the room, and must write what it finds where no other item does.
    most : int, optional
        The most threads that are worth it.
    """

    def take(queue: Iterator[Item]) -> None:
        with Room(tokens) as room:
            for item in queue:
                work(item, room)

    share(items, take, most)


def attend(asked: Asked) -> Matrix:
    """Answer queries.

    Parameters
    ----------
    asked : Asked
        The queries and the tokens.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs.
    """
    limits = asked.limits
    likely = asked.bounds - _gap(asked)
    sums = Sums(asked, limits.shifts(likely, asked.bounds), limits.cuts(likely, asked.bounds))
    every = range(len(asked.tokens.blocks))
    each(
        asked.tokens,
        strips(len(asked.queries), asked.tokens.strip),
        lambda strip, room: sums.add(strip, every, room),
    )
    return settled(asked, sums)


def settled(asked: Asked, sums: Sums) -> Matrix:
    """Return the outputs, after queries that are uncertain were asked again with nothing left out.

    Parameters
    ----------
    asked : Asked
        The queries and the tokens.
    sums : Sums
        Their sums over all tokens.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs.
    """
    uncertain = sums.uncertain()
    if len(uncertain):
        again = asked.some(uncertain)
        rows, every = strips(len(uncertain), asked.tokens.strip), range(len(asked.tokens.blocks))
        maxima = np.empty(len(uncertain))

        def look(strip: slice, room: Room) -> None:
            maxima[strip] = again.maxima(strip, room)

        each(asked.tokens, rows, look)
        whole = Sums(again, maxima - again.limits.highest, np.full(len(uncertain), -np.inf))
        each(asked.tokens, rows, lambda strip, room: whole.add(strip, every, room))
        sums.numerators[uncertain], sums.denominators[uncertain] = whole.numerators, whole.denominators
    return sums.outputs()


def _gap(asked: Asked) -> float:
    """Guess how far below its bound a query's largest score lies, from a sample; infinite if that is too dear."""
    count = len(asked.queries)
    if count < SAMPLED_FROM:
        return np.inf
    sample = asked.some(np.linspace(0, count - 1, SAMPLED).astype(np.intp))
    gaps = np.empty(SAMPLED)

    def look(strip: slice, room: Room) -> None:
        gaps[strip] = sample.bounds[strip] - sample.maxima(strip, room)

    each(asked.tokens, strips(SAMPLED, asked.tokens.strip), look)
    # A third of those seen beyond the largest of them: of many more queries hardly one lies beyond that.
    return float(gaps.max() + np.ptp(gaps) / 3)
