"""Any keys, asked by any queries: decoding is plain attention's, sharpening only sharpens, and shuffled keys tell nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.encodings.addressed import AddressedEncoding, attention_to, sharpest_queries


def clustered(rng, tokens=60, dim=32):
    """Return keys like a trained model's: around one direction, of unequal lengths."""
    keys = rng.standard_normal((tokens, dim)) + 3 * np.eye(dim)[0]
    return keys * rng.uniform(0.8, 1.2, (tokens, 1))


@given(seed=st.integers(0, 2**32), norm=st.floats(0.1, 4.0))
def test_sharpening_keeps_the_norm_and_sharpens(seed, norm):
    keys = clustered(np.random.default_rng(seed))
    norms = np.full(len(keys), norm)
    shares = []
    for steps in (0, 20):
        queries = sharpest_queries(keys, norms, steps)
        assert np.allclose(np.linalg.norm(queries, axis=1), norm)
        shares.append(np.diagonal(attention_to(queries, keys)))
    assert (shares[1] >= shares[0] * (1 - 1e-9)).all()
    assert shares[1].sum() > shares[0].sum()


def test_the_sharpest_is_as_good_as_any_that_a_search_finds():
    rng = np.random.default_rng(1)
    keys = clustered(rng, 12, 3)
    best = np.log(np.diagonal(attention_to(sharpest_queries(keys, np.full(12, 2.0), 200), keys)))
    around = rng.standard_normal((20000, 3))
    around *= 2 / np.linalg.norm(around, axis=1, keepdims=True)
    found = np.log(attention_to(around, keys)).max(axis=0)
    # Random directions on the sphere come within about 0.03 of any; the share is Lipschitz by |k| times that.
    assert (best > found - 0.05).all()
    assert (best < found + 0.3).all()


@pytest.mark.parametrize("alphabet", [2, 5])
def test_it_decodes_from_plain_attention(alphabet):
    rng = np.random.default_rng(2)
    encoding = AddressedEncoding.sharpest(clustered(rng), np.full(60, 12.0), 7, alphabet)
    x, indices = encoding.problem.sample(rng), rng.permutation(420)[:200]

    def read(keys):
        outputs = attention_to(encoding.queries(indices), keys) @ encoding.encode(x).values
        return encoding.decode(outputs, indices)

    assert (read(encoding.keys) != x[indices]).mean() < 0.02
    assert (read(encoding.keys[rng.permutation(60)]) != x[indices]).mean() > 0.35
    assert not len(encoding.reader_token())
    assert encoding.query_norm == pytest.approx(12)


def test_flat_queries_read_little():
    rng = np.random.default_rng(3)
    encoding = AddressedEncoding.sharpest(clustered(rng), np.full(60, 1e-3), 64)
    x, indices = encoding.problem.sample(rng), np.arange(60 * 64)
    outputs = attention_to(encoding.addresses, encoding.keys) @ encoding.encode(x).values
    assert (encoding.decode(outputs, indices) != x).mean() > 0.4


def test_wrong_arguments_are_one_sentence():
    keys = np.eye(3)
    with pytest.raises(ValueError, match="matrices of one shape"):
        AddressedEncoding(keys, keys[:2], 4)
    with pytest.raises(ValueError, match="alphabet must be at least 2, got 1"):
        AddressedEncoding(keys, keys, 4, 1)
    with pytest.raises(ValueError, match="norms must be 3 positive numbers"):
        sharpest_queries(keys, np.zeros(3))
