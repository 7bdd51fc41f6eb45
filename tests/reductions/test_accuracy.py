"""Accuracies, and the guarantees that speak of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.accuracy import EXACT, MARGIN_NATS, TYPICAL, Accuracy, Guarantee, accuracy_ratio

NAN = float("nan")


def test_the_named_accuracies_are_free_of_noise():
    assert (EXACT.eta, EXACT.decoder, TYPICAL.eta, TYPICAL.decoder) == (0.0, "guaranteed", 0.0, "typical")


@given(st.floats(0, 0.999), st.floats(0, 0.99), st.floats(0, 1e3))
def test_a_guarantee_leaves_its_margin(eta, eps, required):
    assert accuracy_ratio(eta) == pytest.approx((1 + eta) / (1 - eta), rel=1e-12)
    found = Guarantee.above(required, eps, eta, 0.25)
    assert (found.incoherence, found.eta, found.failure_probability) == (eps, eta, 0.25)
    # The exponent of the interference grows by the margin, up to the rounding of a sum near 1e3 / (1 - eps).
    assert (found.query_norm - required) * (1 - eps) == pytest.approx(MARGIN_NATS, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Accuracy(1.0), r"eta must be in \[0, 1\), got 1.0"),
        (lambda: Accuracy(-0.1), r"eta must be in \[0, 1\)"),
        (lambda: Accuracy(NAN), r"eta must be in \[0, 1\)"),
        (lambda: Accuracy(decoder="best"), "decoder must be 'guaranteed' or 'typical', got 'best'"),
        (lambda: accuracy_ratio(1.0), r"eta must be in \[0, 1\)"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
