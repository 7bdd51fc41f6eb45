"""Block-causal attention: a map at a time against the whole masked matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention import softmax_attention, softmax_tolerance
from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.visual import (
    TokenPyramid,
    attend_map_by_map,
    block_causal_attention,
    block_causal_attention_reference,
)


@st.composite
def pyramids(draw):
    """Draw maps that grow, and tokens."""
    sizes, height, width = [], 0, 0
    for _ in range(draw(st.integers(1, 4))):
        more_height, more_width = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        if not sizes or more_height + more_width:
            height, width = max(1, height + more_height), max(1, width + more_width)
            if (height, width) not in sizes:
                sizes.append((height, width))
    pyramid = TokenPyramid(tuple(sizes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = [rng.normal(size=(pyramid.tokens, columns)) for columns in (5, 5, 3)]
    return pyramid, arrays


def allowed(queries, keys, values):
    bound = float(np.linalg.norm(queries, axis=1).max() * np.linalg.norm(keys, axis=1).max())
    return 2 * softmax_tolerance(*keys.shape, bound, np.float64) * float(np.abs(values).max())


@given(pyramids())
@settings(max_examples=100, deadline=None)
def test_whole_and_by_map_agree_with_the_reference(drawn):
    pyramid, arrays = drawn
    expected = block_causal_attention_reference(*arrays, pyramid)
    assert np.abs(block_causal_attention(*arrays, pyramid) - expected).max() <= allowed(*arrays)
    cache = resolve("dense:dtype=float64").make(5, 3, Coins(0))
    maps = [tuple(array[m] for array in arrays) for m in pyramid.maps]
    streamed = np.concatenate(list(attend_map_by_map(cache, maps)))
    assert np.abs(streamed - expected).max() <= allowed(*arrays)


def test_a_token_sees_its_whole_map_and_nothing_after_it():
    pyramid = TokenPyramid(((1, 1), (2, 2), (3, 3)))
    rng = np.random.default_rng(0)
    queries, keys, values = (rng.normal(size=(14, 4)) for _ in range(3))
    outputs = block_causal_attention(queries, keys, values, pyramid)
    assert np.allclose(outputs[0], values[0])
    assert np.allclose(outputs[1:5], softmax_attention(queries[1:5], keys[:5], values[:5]))
    later = values.copy()
    later[5:] += 1
    assert np.array_equal(block_causal_attention(queries, keys, later, pyramid)[:5], outputs[:5])
    causal = np.concatenate(
        [softmax_attention(queries[i : i + 1], keys[: i + 1], values[: i + 1]) for i in range(14)]
    )
    assert not np.allclose(causal, outputs)  # token by token would be something else


@pytest.mark.parametrize(("sizes", "sentence"), [
    ((), "at least one map"),
    (((2, 2), (1, 3)), "maps must grow: 1 x 3 comes after 2 x 2"),
    (((2, 2), (2, 2)), "maps must grow"),
    (((0, 1),), "a side of a map"),
    (((1, 1.5),), "a side of a map"),
])  # fmt: skip
def test_maps_that_shrink_are_one_sentence(sizes, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        TokenPyramid(sizes)
    assert "\n" not in str(caught.value)


def test_tokens_must_be_those_of_the_maps():
    pyramid = TokenPyramid(((1, 1), (2, 2)))
    with pytest.raises(ValueError, match="4 queries and 5 keys, but the maps have 5 tokens"):
        block_causal_attention(np.ones((4, 2)), np.ones((5, 2)), np.ones((5, 2)), pyramid)
