"""Attention of multiples of keys: scores are symmetric, so that a block of them serves two strips (theory 13)."""

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix
from kvfloor.attention.kernel.blocks import FULL, Kept, Room
from kvfloor.attention.kernel.strips import each, settled
from kvfloor.attention.kernel.sums import Asked, Sums

__all__ = ["attend_mirrored", "mirrored_edges", "multiples"]

LOOKED_AT = 512  # rows, compared at a time
SMALL = 1 << 23  # multiplications that one thread does as fast as two
HELD = 1 << 22  # kept weights that wait for the other strip
_Doubles: TypeAlias = NDArray[np.float64]


def multiples(queries: Matrix, keys: Matrix, norms: _Doubles) -> tuple[int, float] | None:
    """Find out whether queries are a positive multiple of consecutive keys, up to rounding.

    Nothing but a look at one query and its product with all keys is spent on queries that are not.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        Queries.
    keys : ndarray, shape (n, d)
        Keys.
    norms : ndarray, shape (n,)
        Their norms.

    Returns
    -------
    tuple of int and float, or None
        i and c > 0 such that every entry of `queries` is that of c keys[i:i+m] to within 4 unit roundoffs of it.
    """
    count, last = len(queries), len(keys) - len(queries)
    if last < 0 or queries.dtype != keys.dtype:
        return None
    # By Cauchy-Schwarz no key has a larger cosine than one parallel to the query.
    lengths = np.maximum(norms[: last + 1], np.finfo(keys.dtype).tiny)
    first = int((keys[: last + 1] @ queries[0] / lengths).argmax())
    own = keys[first].astype(np.float64)
    square = float(own @ own)
    scale = float(own @ queries[0]) / square if square else 0.0
    allowed = 2 * float(np.finfo(queries.dtype).eps)
    for low, high in pairwise([0, *range(1, count, LOOKED_AT), count]):
        expected = keys[first + low : first + high] * queries.dtype.type(scale)
        apart = np.abs(queries[low:high] - expected)
        if not (apart <= np.abs(expected, out=expected) * allowed).all():
            return None
    return (first, scale) if scale > 0 else None


def mirrored_edges(tokens: int, start: int, stop: int, block: int) -> list[int]:
    """Return edges of blocks of tokens, two of them at the ends of the keys whose multiples are asked.

    Parameters
    ----------
    tokens : int
        Number of tokens.
    start, stop : int
        The first key whose multiple is asked, and the one after the last.
    block : int
        The most tokens in a block.

    Returns
    -------
    list of int
        Increasing, from 0 to `tokens`.
    """
    even = -(-(stop - start) // -(-(stop - start) // block))
    return [*range(0, start, block), *range(start, stop, even), *range(stop, tokens, block), tokens]


def attend_mirrored(asked: Asked, start: int, own: _Doubles) -> Matrix:
    """Answer queries that are multiples of consecutive keys.

    The strips of queries are blocks of these keys. The block of scores of strip I and tokens J stands on the other
    side of the diagonal for strip J: thinned, it serves both; else J computes its own. What serves the later
    strip waits, so that every strip adds up in the same order whichever thread is first.

    Parameters
    ----------
    asked : Asked
        The queries and the tokens, whose blocks are those of `mirrored_edges`.
    start : int
        The first key whose multiple is asked.
    own : ndarray, shape (m,)
        The score of each query on its own key.

    Returns
    -------
    ndarray, shape (m, d_v)
        The outputs.
    """
    tokens, stop = asked.tokens, start + len(asked.queries)
    strips = [number for number, block in enumerate(tokens.blocks) if start <= block.start < stop]
    others = [number for number in range(len(tokens.blocks)) if not strips[0] <= number <= strips[-1]]
    rows = {n: slice(tokens.blocks[n].start - start, tokens.blocks[n].stop - start) for n in strips}

    cuts = asked.limits.cuts(own, asked.bounds)
    lowest = {number: float(cuts[rows[number]].min()) for number in strips}
    sums = Sums(asked, asked.limits.shifts(own, asked.bounds), cuts)
    waiting: dict[int, dict[int, Kept]] = {}

    def upwards(number: int, room: Room) -> None:
        later = [n for n in strips if n > number]
        caps = {n: lowest[n] for n in later}
        waiting[number] = dict(sums.thinned(rows[number], [number, *later, *others], room, caps))

    def downwards(number: int, room: Room) -> None:
        earlier = [n for n in sorted(waiting) if n < number]
        served = [(n, waiting[n][number].flipped()) for n in earlier if number in waiting[n]]
        sums.add_kept(rows[number], [*served, *waiting.get(number, {}).items()])
        sums.add(rows[number], [n for n in earlier if number not in waiting[n]], room)

    begin, together = 0, max(1, HELD * FULL // (tokens.widest * len(tokens.values)))
    while begin < len(strips):
        waiting.clear()
        each(tokens, strips[begin : begin + together], upwards)
        kept = sum(len(block.rows) for blocks in waiting.values() for block in blocks.values())
        whole = any(n > number and n not in blocks for number, blocks in waiting.items() for n in strips)
        # Where little was kept this is mostly Python, and threads would only wait for each other.
        small = not whole and kept * tokens.values.shape[1] < SMALL
        each(tokens, strips[begin:], downwards, 1 if small else None)
        begin += together
        # As many more as would hold what may be held, if they kept as much.
        together = max(1, min(8 * together, together * HELD // (2 * kept + 1)))
    return settled(asked, sums)
