"""Shortlists: the tokens that a query scores exactly, and what is known of the rest (theory 9)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from kvfloor.attention.checks import Matrix, integer
from kvfloor.attention.inputs import demand_causal
from kvfloor.attention.knn.indexes import ExactIndex, GrowingIndex, KeyIndex, Positions

__all__ = ["Near", "Shortlist", "gathered", "shortlists"]

QUERY_BLOCK = 256
_LEAST_BESIDE = 32
_ENTRIES_AT_ONCE = 1 << 22  # entries of gathered rows in memory at a time


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """Which tokens a query scores exactly: those that an index finds near.

    Parameters
    ----------
    kept : int
        k, tokens asked of the index, in 1..n.
    index : KeyIndex, optional
        Built for the keys, or with `causal` an empty `GrowingIndex`; exact by default.
    causal : bool
        Whether query i sees tokens 0..i only.
    """

    kept: int
    index: KeyIndex | None = None
    causal: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Shortlist:
    """What every estimator starts from, for m queries over the same indexed tokens.

    The first `kept` columns come from the index, whose tokens are 0 .. indexed - 1; further columns are
    tokens scored beside it, which start at `indexed`. The rest are the indexed - kept tokens that the index
    did not return: nothing is known of them but the ceiling.

    Parameters
    ----------
    positions : ndarray of int64, shape (m, s)
        Distinct tokens.
    scores : ndarray, shape (m, s)
        Their scores; -inf for a token that the query may not see.
    ceiling : ndarray, shape (m,)
        A bound on the score of every token of the rest.
    kept, indexed : int
        Columns from the index, and tokens in it.
    probes : ndarray of int64, shape (m,)
        Score evaluations so far.
    """

    positions: Positions
    scores: Matrix
    ceiling: Matrix
    kept: int
    indexed: int
    probes: Positions

    @property
    def rest(self) -> int:
        """The number of visible tokens that are not listed."""
        return self.indexed - self.kept

    def outside(self, rows: Positions, ranks: Positions) -> Positions:
        """Return tokens of the rest by their rank among it.

        Parameters
        ----------
        rows : ndarray of int, shape (p,)
            Which query each is asked for.
        ranks : ndarray of int, shape (p,)
            Ranks in 0 .. rest - 1, in the order of the stream.

        Returns
        -------
        ndarray of int64, shape (p,)
            The tokens: rank r is r plus the number of listed tokens that come before.
        """
        # The j-th listed token, ascending, has (position - j) tokens of the rest before it.
        before = np.sort(self.positions[:, : self.kept], axis=1) - np.arange(self.kept)
        stride = self.indexed + 1
        flat = (before + stride * np.arange(len(before))[:, None]).reshape(-1)
        listed = np.searchsorted(flat, ranks + stride * rows, side="right") - self.kept * rows
        return ranks + listed


def shortlists(
    queries: Matrix, keys: Matrix, near: Near, rows: Positions | None = None
) -> Iterator[tuple[Positions, Shortlist]]:
    """Yield blocks of queries with their shortlists.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        Queries; with `near.causal` one for every token.
    keys : ndarray, shape (n, d)
        Keys.
    near : Near
        Which tokens are listed.
    rows : ndarray of int, optional
        The queries wanted, ascending, repeats allowed; all by default.

    Yields
    ------
    rows : ndarray of int64, shape (b,)
        Which queries.
    shortlist : Shortlist
        Theirs.

    Raises
    ------
    ValueError
        If k is out of its range, or the index is for other keys or of the wrong kind.
    """
    integer("kept", near.kept, 1, len(keys))
    wanted = np.arange(len(queries)) if rows is None else np.asarray(rows, np.int64)
    yield from (_causal if near.causal else _bidirectional)(queries, keys, near, wanted)


def gathered(rows: Matrix, positions: Positions) -> Iterator[tuple[slice, Matrix]]:
    """Yield the rows at positions, for a few queries at a time.

    Parameters
    ----------
    rows : ndarray, shape (n, c)
        Keys or values of all tokens.
    positions : ndarray of int64, shape (m, s)
        Tokens of every query.

    Yields
    ------
    block : slice
        Which queries.
    rows : ndarray, shape (b, s, c)
        The rows of their tokens.
    """
    step = max(1, _ENTRIES_AT_ONCE // (positions.shape[1] * rows.shape[1]))
    for start in range(0, len(positions), step):
        block = slice(start, start + step)
        yield block, rows[positions[block]]


def _bidirectional(
    queries: Matrix, keys: Matrix, near: Near, wanted: Positions
) -> Iterator[tuple[Positions, Shortlist]]:
    """Yield the shortlists of queries that see all tokens, through one index."""
    index = ExactIndex(keys) if near.index is None else near.index
    if (isinstance(index, GrowingIndex) and not len(index)) or not np.array_equal(index.keys, keys):
        raise ValueError(
            "the index was built for other keys; build one for these, or leave index out to search exactly"
        )
    for start in range(0, len(wanted), QUERY_BLOCK):
        block = wanted[start : start + QUERY_BLOCK]
        found = index.search(queries[block], near.kept)
        parts = found.positions, found.scores, found.ceiling
        yield block, Shortlist(*parts, near.kept, len(keys), found.probes)


def _causal(
    queries: Matrix, keys: Matrix, near: Near, wanted: Positions
) -> Iterator[tuple[Positions, Shortlist]]:
    """Yield the shortlists of queries that see no later token.

    An index grows block by block, and a block's own tokens are scored exactly beside it.
    """
    index = GrowingIndex() if near.index is None else near.index
    if not isinstance(index, GrowingIndex) or len(index):
        raise ValueError("causal attention grows its index token by token; give an empty GrowingIndex")
    demand_causal(queries, keys)
    step = max(_LEAST_BESIDE, ceil(sqrt(len(keys))))  # so that a query scores about sqrt(n) tokens beside
    for start in range(0, len(keys), step):
        stop = min(start + step, len(keys))
        block = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
        if len(block):
            yield block, _beside(queries[block], keys[start:stop], block - start, near.kept, index, start)
        index.extend(keys[start:stop])


def _beside(
    queries: Matrix, keys: Matrix, places: Positions, kept: int, index: KeyIndex, indexed: int
) -> Shortlist:
    """Return the shortlist of an index of earlier tokens, with the visible ones of a block beside it."""
    scores = queries @ keys.T
    scores[np.arange(len(keys)) > places[:, None]] = -np.inf
    positions = np.broadcast_to(indexed + np.arange(len(keys)), scores.shape)
    ceiling: Matrix = np.full(len(queries), -np.inf, scores.dtype)
    probes = np.full(len(queries), len(keys))
    kept = min(kept, indexed)
    if kept:
        found = index.search(queries, kept)
        positions = np.hstack([found.positions, positions])
        scores = np.hstack([found.scores, scores])
        ceiling, probes = found.ceiling, probes + found.probes
    return Shortlist(positions, scores, ceiling, kept, indexed, probes)
