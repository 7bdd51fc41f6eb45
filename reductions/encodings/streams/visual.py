"""INDEX in the earlier maps of a visual autoregressive model (theory 8).

Maps of h_k x w_k tokens are generated one after the other; every token of map k attends to all tokens of the
maps 1..k. The tokens of all maps but the last hold the bits: keys are public, token l is (k_l, x_l). Bob
appends the last map, whose h_K w_K tokens are (0, 0), and the queries C k_i are asked from within it, so that
they attend to every token. This is INDEX in the values with r = h_K w_K tokens of Bob's:
`kvfloor.reductions.encodings.values.ValuesEncoding` proves decoding for kappa = (n - 1 + r) e^{-C (1 - eps)}.

If sides double, 1, 2, 4, ..., s, the maps before the last hold n = (s^2 - 1)/3 tokens: every cache holds
d_v (s^2 - 1)/3 bits, quadratic in the side s of the last map. The same bits are d_v a token: linear in the
number of tokens, which is what section 3 says of any stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kvfloor.reductions.accuracy import EXACT, Accuracy
from kvfloor.reductions.checks import check_count
from kvfloor.reductions.encodings.levels import BINARY
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys


def map_tokens(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Return the number of tokens h w of every map.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Heights and widths, in the order of generation: neither ever shrinks, and every map is larger than
        the one before.

    Raises
    ------
    ValueError
        If there are fewer than two maps, a size is not positive, or a map shrinks or does not grow.

    Examples
    --------
    >>> map_tokens([(1, 1), (2, 2), (4, 4)])
    [1, 4, 16]
    """
    if len(sizes) < 2:
        raise ValueError(f"a pyramid needs an earlier map and a last one, got {len(sizes)} maps")
    if min(side for size in sizes for side in size) < 1:
        raise ValueError(f"maps must have positive heights and widths, got {list(sizes)}")
    for (h, w), (height, width) in pairwise(sizes):
        if height < h or width < w or (height, width) == (h, w):
            raise ValueError(f"maps must grow: {height} x {width} comes after {h} x {w}")
    return [height * width for height, width in sizes]


def halving_pyramid(side: int) -> list[tuple[int, int]]:
    """Return square maps whose sides halve, rounded down, from a last one of at least 2 to 1; in order of generation.

    Examples
    --------
    >>> halving_pyramid(10)
    [(1, 1), (2, 2), (5, 5), (10, 10)]
    """
    if side < 2:
        raise ValueError(f"the last map must have a side of at least 2, got {side}")
    sides = [side]
    while sides[-1] > 1:
        sides.append(sides[-1] // 2)
    return [(each, each) for each in reversed(sides)]


def largest_pyramid(tokens: int) -> list[tuple[int, int]]:
    """Return the largest halving pyramid, with an even last side, whose earlier maps have so few tokens, at least 1.

    Examples
    --------
    >>> largest_pyramid(21)
    [(1, 1), (2, 2), (4, 4), (8, 8)]
    """
    check_count("tokens", tokens)
    half = 1
    while sum(map_tokens(halving_pyramid(2 * (half + 1)))[:-1]) <= tokens:
        half += 1
    return halving_pyramid(2 * half)


def visual_encoding(
    sizes: Sequence[tuple[int, int]],
    keys: Keys,
    value_dim: int,
    accuracy: Accuracy = EXACT,
    query_norm: float | None = None,
) -> ValuesEncoding:
    """Write bits into the values of all maps but the last, which Bob appends.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Heights and widths of the maps.
    keys : Keys
        One for each token of the earlier maps.
    value_dim, accuracy, query_norm
        Those of `kvfloor.reductions.encodings.values.ValuesEncoding.build`.

    Returns
    -------
    ValuesEncoding
        Alphabet 2, n d_v bits.

    Raises
    ------
    ValueError
        If the maps do not grow, the number of keys is not theirs, or an option is not as described there.
    """
    *earlier, last = map_tokens(sizes)
    if len(keys) != sum(earlier):
        raise ValueError(f"the earlier maps have {sum(earlier)} tokens, got {len(keys)} keys")
    return ValuesEncoding.build(keys, value_dim, BINARY, accuracy, query_norm, reader_tokens=last)
