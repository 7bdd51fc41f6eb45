"""INDEX in the earlier maps: its pyramid, and decoding beside all the tokens of the last map."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import TYPICAL, Accuracy
from kvfloor.reductions.encodings.streams.visual import (
    halving_pyramid,
    largest_pyramid,
    map_tokens,
    visual_encoding,
)
from kvfloor.reductions.encodings.values import ValuesEncoding, required_query_norm
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import equiangular_keys


def worst_errors(encoding, x, eta):
    """Symbols that some (1 +- eta)-approximation gets wrong."""
    written, read, everything = encoding.encode(x), encoding.reader_token(), np.arange(len(x))
    keys, values = (np.concatenate(pair) for pair in zip(written.arrays, read.arrays, strict=True))
    scores = encoding.queries(everything) @ keys.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    exact = weights @ values / weights.sum(axis=1, keepdims=True)
    wrong = [encoding.decode(factor * exact, everything) != x for factor in (1 - eta, 1 + eta)]
    return np.flatnonzero(np.logical_or(*wrong)).size


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("sizes", [[(1, 1), (2, 2), (4, 4)], [(2, 3), (2, 4), (30, 30)], halving_pyramid(10)])
def test_every_bit_decodes_beside_the_last_map(sizes, eta):
    rng = np.random.default_rng(0)
    earlier = sum(map_tokens(sizes)[:-1])
    for keys in (Keys.drawn("gaussian", earlier, 24, rng), equiangular_keys(earlier, 0.5)):
        encoding = visual_encoding(sizes, keys, 3, Accuracy(eta))
        assert len(encoding.reader_token()) == map_tokens(sizes)[-1]
        length = encoding.problem.length
        for x in (np.zeros(length, np.uint8), np.ones(length, np.uint8), encoding.problem.sample(rng)):
            assert worst_errors(encoding, x, eta) == 0


def test_the_last_map_costs_query_norm():
    """The norm that is enough beside one token of Bob's is not, beside a large map of his."""
    keys = Keys.drawn("gaussian", 4, 40, np.random.default_rng(0))
    norm = required_query_norm(4, 0.0, 0.0) * 1.01
    orthogonal = Keys(np.eye(4, 40))
    one = ValuesEncoding.build(orthogonal, 3, query_norm=norm)
    many = ValuesEncoding.build(orthogonal, 3, query_norm=norm, reader_tokens=100)
    ones = np.ones(12, np.uint8)
    assert worst_errors(one, ones, 0.0) == 0
    assert many.guarantee.query_norm > one.guarantee.query_norm + np.log(100 / 4)
    typical = ValuesEncoding.build(keys, 3, accuracy=TYPICAL, query_norm=norm, reader_tokens=100)
    assert worst_errors(typical, ones, 0.0) == 12


@given(st.integers(1, 5000))
def test_the_largest_pyramid_fits_and_the_next_does_not(tokens):
    sizes = largest_pyramid(tokens)
    assert sum(map_tokens(sizes)[:-1]) <= tokens
    side = sizes[-1][0]
    assert side % 2 == 0
    assert sum(map_tokens(halving_pyramid(side + 2))[:-1]) > tokens


@given(st.integers(1, 12))
def test_doubling_maps_hold_a_third_of_the_last(power):
    side = 2**power
    assert 3 * sum(map_tokens(halving_pyramid(side))[:-1]) == side**2 - 1


@pytest.mark.parametrize(("sizes", "sentence"), [
    ([(1, 1)], "an earlier map and a last one"),
    ([(0, 1), (1, 1)], "positive"),
    ([(2, 2), (1, 4)], "maps must grow: 1 x 4 comes after 2 x 2"),
    ([(2, 2), (2, 2)], "maps must grow"),
])  # fmt: skip
def test_maps_that_shrink_are_one_sentence(sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        map_tokens(sizes)


def test_wrong_sizes_are_told():
    with pytest.raises(ValueError, match="5 tokens, got 4 keys"):
        visual_encoding(halving_pyramid(4), Keys(np.eye(4)), 2)
    with pytest.raises(ValueError, match="side of at least 2"):
        halving_pyramid(1)
    with pytest.raises(ValueError, match="tokens must be at least 1"):
        largest_pyramid(0)
    with pytest.raises(ValueError, match="reader_tokens"):
        ValuesEncoding.build(Keys(np.eye(4)), 2, reader_tokens=0)
