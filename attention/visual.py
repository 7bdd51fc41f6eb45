"""Block-causal attention over a pyramid of token maps, whole and a map at a time (theory 8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix, integer, matrix, token_block
from kvfloor.attention.softmax import softmax_attention

__all__ = ["TokenPyramid", "attend_map_by_map", "block_causal_attention", "block_causal_attention_reference"]


@dataclass(frozen=True, slots=True)
class TokenPyramid:
    """Token maps in the order of their generation.

    Parameters
    ----------
    sizes : tuple of (int, int)
        Heights and widths: neither ever shrinks, and every map is larger than the one before.

    Raises
    ------
    ValueError
        If there is no map, a size is not a positive integer, or a map shrinks or does not grow.

    Examples
    --------
    >>> TokenPyramid(((1, 1), (2, 2), (3, 3))).maps
    [slice(0, 1, None), slice(1, 5, None), slice(5, 14, None)]
    """

    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("a pyramid needs at least one map, got none")
        for size in self.sizes:
            for side in size:
                integer("a side of a map", side, 1, 1 << 20)
        for (h, w), (height, width) in pairwise(self.sizes):
            if height < h or width < w or (height, width) == (h, w):
                raise ValueError(f"maps must grow: {height} x {width} comes after {h} x {w}")

    @property
    def tokens(self) -> int:
        """The number of tokens of all maps."""
        return sum(height * width for height, width in self.sizes)

    @property
    def maps(self) -> list[slice]:
        """Where each map lies in the stream."""
        ends = np.cumsum([0] + [height * width for height, width in self.sizes]).tolist()
        return [slice(start, stop) for start, stop in pairwise(ends)]


class MapCache(Protocol):
    """A cache as this module uses it: any of `kvfloor.attention.caches` will do."""

    def append(self, keys: Matrix, values: Matrix) -> None:
        """Read tokens."""

    def attend(self, queries: Matrix) -> Matrix:
        """Answer queries."""


def block_causal_attention(queries: object, keys: object, values: object, pyramid: TokenPyramid) -> Matrix:
    """Attend from every token to all tokens of its own map and of those before.

    Parameters
    ----------
    queries, keys : array_like, shape (n, d)
        One query and one key a token, map by map.
    values : array_like, shape (n, d_v)
        Their values.
    pyramid : TokenPyramid
        The maps, of n tokens together.

    Returns
    -------
    ndarray, shape (n, d_v)
        The outputs, as precise as `kvfloor.attention.softmax_attention`.

    Raises
    ------
    ValueError
        If shapes disagree with each other or with the pyramid, or an entry is not finite.
    """
    q, k, v = _checked(queries, keys, values, pyramid)
    return np.concatenate([softmax_attention(q[m], k[: m.stop], v[: m.stop]) for m in pyramid.maps])


def block_causal_attention_reference(
    queries: object, keys: object, values: object, pyramid: TokenPyramid
) -> NDArray[np.float64]:
    """Attend as `block_causal_attention`, in float64, with the whole masked matrix of scores in memory."""
    q, k, v = (a.astype(np.float64) for a in _checked(queries, keys, values, pyramid))
    number = np.repeat(np.arange(len(pyramid.sizes)), [m.stop - m.start for m in pyramid.maps])
    scores = np.where(number[:, None] >= number[None, :], q @ k.T, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    outputs: NDArray[np.float64] = weights @ v / weights.sum(axis=1, keepdims=True)
    return outputs


def attend_map_by_map(cache: MapCache, maps: Sequence[tuple[Matrix, Matrix, Matrix]]) -> Iterator[Matrix]:
    """Generate a pyramid through a cache: append a map, then attend from all of its tokens.

    Parameters
    ----------
    cache : Cache
        What keeps the tokens.
    maps : sequence of (queries, keys, values)
        The tokens of each map, shapes (h w, d), (h w, d) and (h w, d_v).

    Yields
    ------
    ndarray, shape (h w, d_v)
        The outputs of each map; those of `block_causal_attention` if the cache keeps every token.
    """
    for queries, keys, values in maps:
        cache.append(keys, values)
        yield cache.attend(queries)


def _checked(
    queries: object, keys: object, values: object, pyramid: TokenPyramid
) -> tuple[Matrix, Matrix, Matrix]:
    """Return the arrays as matrices of one row a token of the pyramid."""
    k, v = token_block(keys, values, None, None)
    q = matrix("queries", queries, k.shape[1])
    if not len(q) == len(k) == pyramid.tokens:
        raise ValueError(
            f"there are {len(q)} queries and {len(k)} keys, but the maps have {pyramid.tokens} tokens"
        )
    return q, k, v
