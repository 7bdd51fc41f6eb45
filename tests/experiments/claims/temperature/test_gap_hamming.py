"""What the claim judges by: correlations and Cantelli's bound."""

import math

import pytest

from kvfloor.experiments.claims.temperature.gap_hamming import THRESHOLD, cantelli, correlation
from kvfloor.experiments.claims.temperature.noisy import answered
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.encodings.beyond_index.gap_hamming import GapHammingEncoding
from kvfloor.reductions.keys.known import Keys


def test_votes_turn_against_at_two_log_two():
    assert correlation(THRESHOLD) == pytest.approx(0)
    assert correlation(0.0) == pytest.approx(math.sqrt(2 / math.pi))
    assert correlation(2 * THRESHOLD) < 0
    assert cantelli(4096, 2 * THRESHOLD) == 1.0


def test_the_bound_tends_to_that_of_normal_overlaps():
    for share in (0.0, 0.1545, 0.5):
        c = correlation(share) ** 2
        assert cantelli(4096, share) == pytest.approx((1 - c) / (1 + 3 * c), abs=0.02)


def test_a_cache_is_asked_what_attention_is_asked():
    import numpy as np

    encoding = GapHammingEncoding(Keys(np.eye(8)), 1.0, rounds=1)
    exact = answered(encoding, "exact", Randomness(0, "x"))
    assert exact.largest_error == 0
    lossy = answered(encoding, "window:kept_tokens=4", Randomness(0, "x"))
    assert lossy.largest_error > 0
    assert (lossy.x == exact.x).all()
    assert lossy.wire_bits < exact.wire_bits
