"""Keys and what is known of them: measured, stated, or drawn with a bound."""

import numpy as np
import pytest

from kvfloor.reductions.keys.incoherence import incoherence, incoherence_bound
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import PROJECTIONS, gaussian_keys

RNG = np.random.default_rng


def test_what_is_stated_is_taken_at_its_word_and_what_is_not_is_measured():
    rows = gaussian_keys(50, 32, RNG(0))
    keys = Keys(rows, 0.9, 1e-6)
    assert (keys.incoherence(), keys.first(7).incoherence()) == (0.9, 0.9)
    assert Keys(rows).incoherence() == incoherence(rows) == keys.measured().bound
    assert Keys(rows[:7]).incoherence() == Keys(rows).first(7).incoherence() < incoherence(rows)
    assert keys.measured().failure_probability == 0.0
    assert (len(keys), keys.dim, keys.dtype) == (50, 32, np.float64)


def test_incoherence_is_never_negative_and_one_key_has_none():
    assert Keys(np.array([[1.0], [-1.0]])).incoherence() == 0.0
    assert Keys(np.eye(1)).incoherence() == 0.0


@pytest.mark.parametrize("kind", sorted(PROJECTIONS))
def test_drawn_keys_are_those_of_the_projection_with_its_bound(kind):
    keys = Keys.drawn(kind, 40, 64, RNG(5), np.float32, 1e-6)
    assert np.array_equal(keys.rows, PROJECTIONS[kind](40, 64, RNG(5), np.float32))
    assert keys.bound == incoherence_bound(kind, 40, 64, 1e-6)
    assert keys.failure_probability == 1e-6
    assert Keys.drawn(kind, 40, 64, RNG(5)).bound is None
    assert Keys.drawn(kind, 1, 64, RNG(5), failure_probability=1e-6).incoherence() == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Keys(2 * np.eye(3)), "keys must be unit vectors"),
        (lambda: Keys(2 * np.eye(3), 0.5), "keys must be unit vectors"),
        (lambda: Keys(np.empty((0, 3))), "keys must be a non-empty"),
        (lambda: Keys(np.eye(3), 1.01), r"incoherence must be in \[0, 1\], got 1.01"),
        (lambda: Keys(np.eye(3), -0.5), r"incoherence must be in \[0, 1\], got -0.5"),
        (lambda: Keys(np.eye(3), float("nan")), "incoherence must be in"),
        (lambda: Keys(np.eye(3), 0.5, 1.0), r"failure_probability must be in \[0, 1\), got 1.0"),
        (lambda: Keys.drawn("fourier", 3, 4, RNG(0)), "kind must be one of .*, got 'fourier'"),
        (lambda: Keys.drawn("gaussian", 3, 4, RNG(0), failure_probability=0.0), "failure_probability"),
        (lambda: Keys.drawn("gaussian", 0, 4, RNG(0)), "tokens and dim must be at least 1, got 0"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
