"""Caps of spheres against their exact areas, and the certificate against codes that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc

from kvfloor.reductions.bounds.distortion import distortion_bits, log2_cap


@given(st.integers(2, 200), st.floats(0.05, 0.999))
def test_the_bound_is_above_the_area_and_near_it(numbers, distortion):
    exact = np.log2(betainc((numbers - 1) / 2, 0.5, distortion) / 2)
    bound = log2_cap(numbers, distortion)
    assert bound >= exact - 1e-9
    assert bound <= exact - 0.5 * np.log2(1 - distortion) + 1e-9


@given(st.integers(2, 60), st.floats(0.05, 0.9), st.integers(0, 2**32 - 1))
def test_no_point_is_near_more_of_the_sphere_than_the_cap(numbers, distortion, seed):
    """A ball of any centre meets the sphere in at most such a cap: its points are within an angle of the centre."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((500, numbers))
    points *= np.sqrt(numbers) / np.linalg.norm(points, axis=1, keepdims=True)
    centre = rng.uniform(0.1, 1.5) * points[0]
    near = np.square(points - centre).mean(axis=1) <= distortion
    angles = points @ centre / (np.linalg.norm(points, axis=1) * np.linalg.norm(centre))
    assert (angles[near] >= np.sqrt(1 - distortion) - 1e-12).all()


def test_the_certificate_is_shannons_bound_up_to_what_theorem_a_takes_off():
    for distortion in (0.5, 0.01, 1e-6):
        shannon = 5000 * np.log2(1 / distortion)
        assert shannon - 112 <= distortion_bits(10_000, distortion) <= shannon
    assert distortion_bits(10_000, 1.0) == 0
    assert distortion_bits(10_000, 0.0) == pytest.approx(5_000_000, rel=0.01)


def test_a_message_of_so_many_signs_is_never_accused():
    """One bit a number, sent honestly: x comes back as its signs times sqrt(2/pi), with D = 1 - 2/pi."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = rng.standard_normal(2048)
        x *= np.sqrt(2048) / np.linalg.norm(x)
        distortion = np.square(x - np.sqrt(2 / np.pi) * np.sign(x)).mean()
        assert distortion == pytest.approx(1 - 2 / np.pi, abs=0.05)
        assert 0 < distortion_bits(2048, distortion) < 2048


@pytest.mark.parametrize(("arguments", "sentence"), [
    ((1, 0.5), "numbers must be at least 2, got 1"),
    ((8, -0.1), r"distortion must be in \[0, inf\), got -0.1"),
    ((8, float("nan")), r"distortion must be in \[0, inf\), got nan"),
])  # fmt: skip
def test_wrong_numbers_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        log2_cap(*arguments)
