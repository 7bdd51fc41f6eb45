"""Several instances side by side: each head decodes its own string, whatever subset is asked."""

import numpy as np
import pytest

from kvfloor.reductions.encodings.streams.heads import MultiHeadEncoding
from kvfloor.reductions.encodings.streams.stretched import StretchedEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys


def heads(rng, tokens=20):
    """Return heads that differ: two whole instances, and a short one that comes round again."""
    whole = [ValuesEncoding.build(Keys.drawn("gaussian", tokens, 32, rng), 3) for _ in range(2)]
    return whole[0], StretchedEncoding.build(Keys.drawn("gaussian", 4, 32, rng), 3, tokens), whole[1]


def attention(encoding, queries, x):
    """Attention head by head, in float64."""
    keys, values = (
        np.concatenate(pair)
        for pair in zip(encoding.encode(x).arrays, encoding.reader_token().arrays, strict=True)
    )
    outputs = []
    for q, k, v in zip(*(np.hsplit(a, 3) for a in (queries, keys, values)), strict=True):
        weights = np.exp(q @ k.T - (q @ k.T).max(axis=1, keepdims=True))
        outputs.append(weights @ v / weights.sum(axis=1, keepdims=True))
    return np.hstack(outputs)


def test_any_subset_decodes():
    rng = np.random.default_rng(0)
    encoding = MultiHeadEncoding(heads(rng))
    assert (encoding.tokens, encoding.dim, encoding.value_dim) == (20, 96, 9)
    assert encoding.problem.length == 60 + 12 + 60
    x = encoding.problem.sample(rng)
    for indices in (np.arange(132), rng.integers(0, 132, 40), np.array([70]), np.array([131, 0])):
        queries = encoding.queries(indices)
        assert len(np.unique(queries, axis=0)) == len(queries)
        assert np.array_equal(encoding.decode(attention(encoding, queries, x), indices), x[indices])


def test_public_keys_are_those_of_the_stream():
    rng = np.random.default_rng(1)
    encoding = MultiHeadEncoding(heads(rng))
    assert np.array_equal(encoding.public_keys, encoding.encode(encoding.problem.sample(rng)).keys)


def test_heads_must_agree():
    rng = np.random.default_rng(2)
    with pytest.raises(ValueError, match="same tokens, dimensions and alphabet"):
        MultiHeadEncoding((*heads(rng), heads(rng, tokens=21)[0]))
    with pytest.raises(ValueError, match="same tokens"):
        MultiHeadEncoding(())
