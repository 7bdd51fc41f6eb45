"""What the claims on sparsity, windows, time and keys compute beside their plays, against plain code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from kvfloor.attention.caches import Coins
from kvfloor.experiments.claims.index.key_barrier import HalfKeys
from kvfloor.experiments.claims.index.unstructured_sparsity import effective_support
from kvfloor.experiments.claims.time.non_adaptive_time import chance_above, chance_below
from kvfloor.experiments.game.protocol import Asking, play, play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.keys.known import Keys


@given(st.integers(1, 12), st.floats(0.01, 0.99), st.sampled_from([0.0, 1.0, 5.0, 500.0]), st.integers(0, 99))
def test_the_support_is_the_fewest_heaviest_tokens(tokens, share, norm, seed):
    scores = norm * np.random.default_rng(seed).normal(size=(3, tokens))
    for row, support in zip(scores, effective_support(scores, share), strict=True):
        weights = sorted(np.exp(np.append(row, 0.0) - max(*row, 0.0)), reverse=True)
        total = sum(weights)
        assert sum(weights[:support]) >= share * total * (1 - 1e-12)
        assert sum(weights[: support - 1]) < share * total * (1 + 1e-12)


def test_even_weights_and_a_single_token():
    assert effective_support(np.zeros((1, 9)), 0.5).tolist() == [5]
    assert effective_support(np.array([[99.0, 0.0, 0.0]]), 0.999).tolist() == [1]


@given(st.integers(1, 60), st.data())
def test_p_values_are_those_of_the_binomial(entries, data):
    probes = data.draw(st.integers(0, entries))
    right = data.draw(st.integers(0, entries))
    row = {"entries": entries, "probes": probes, "right": right}
    law = binom(entries - probes, 0.5)
    assert chance_above(row) == pytest.approx(law.sf(right - probes - 1), abs=1e-12)
    assert chance_below(row) == pytest.approx(law.cdf(right - probes), abs=1e-12)


def test_half_of_the_channels_cross_the_wire():
    keys, values = np.ones((10, 6)), np.full((10, 4), 0.5)
    cache = HalfKeys(6, 4, Coins(0))
    cache.append(keys, values)
    full = len(HalfKeys(6, 4, Coins(0)).to_bytes()) + 1  # "10" is a digit longer than "0"
    assert len(cache.to_bytes()) - full == 10 * (3 + 4) * 2
    stored = HalfKeys.from_bytes(cache.to_bytes(), Coins(0))._tokens()
    assert stored[0].tolist() == [[1, 1, 1, 0, 0, 0]] * 10
    assert np.array_equal(stored[1], values)


def test_errors_by_symbol_add_up_to_those_of_the_play():
    addresses = Keys.drawn("gaussian", 40, 32, np.random.default_rng(0))
    encoding = KeysEncoding.build(addresses, Layout(8, 4, both=True))
    streams = Randomness(3, "by symbol")
    played = play_in_full(encoding, "window:kept_tokens=30", streams, asking=Asking(200))
    indices, wrong = played.indices, played.wrong
    transcript = play(encoding, "window:kept_tokens=30", streams, asking=Asking(200))
    assert transcript == played.transcript
    assert (transcript.errors, transcript.asked) == (wrong.sum(), len(indices)) == (wrong.sum(), 200)
    assert 0 < wrong.sum() < 100
    # Bits of tokens that the window keeps, beside Bob's, are read rightly, and only they are sure to be.
    assert not wrong[indices // 12 >= 11].any()
