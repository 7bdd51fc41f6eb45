"""Counter-based draws, against SplitMix64 in plain integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches.base.draws import Draws

MASK = (1 << 64) - 1
counters = st.integers(0, 1 << 62)


def splitmix(state, counter):
    """Return the entry of the stream that starts at `state`."""
    mixed = (state + (counter + 1) * 0x9E3779B97F4A7C15) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


def test_the_published_stream():
    """The first entries of SplitMix64 from state 1234567, as its reference implementation prints them."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [splitmix(1234567, counter) for counter in range(3)] == known
    draws = Draws(0)
    draws._start = np.array([1234567], np.uint64)
    assert draws.words(np.arange(3)).tolist() == known


@given(st.integers(0, 2**63), st.lists(counters, min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_an_entry_starts_the_next_stream(seed, path):
    draws = Draws(seed)
    state = int(draws._start[0])
    for counter in path:
        state = splitmix(state, counter)
    assert draws.words(*path).tolist() == [state]
    assert draws.uniforms(*path).tolist() == [((state >> 11) + 1) / 2**53]


def test_counters_broadcast():
    draws = Draws(7)
    table = draws.words(1, np.arange(3)[:, None], np.arange(4))
    assert table.shape == (3, 4)
    assert len(np.unique(table)) == 12
    assert table[2, 3] == draws.words(1, 2, 3)[0]


@pytest.mark.parametrize("seed", [0, 2**63])
def test_uniforms_are_never_zero(seed):
    numbers = Draws(seed).uniforms(np.arange(10_000))
    assert numbers.min() > 0
    assert numbers.max() <= 1
