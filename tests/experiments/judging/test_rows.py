"""Rows picked, grouped and sorted, and the checks that plays share, each with rows that it must reject."""

import numpy as np
import pytest

from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.judging.plays import (
    CERTIFICATE_BITS,
    accuracy,
    carries,
    certifies,
    decodes,
    transcript,
)
from kvfloor.experiments.judging.rows import grouped, series, where
from kvfloor.experiments.judging.scaling import fitted_exponent
from kvfloor.experiments.judging.unbiased import judge_means, mean_errors


def row(measured, **parameters):
    return Record("t", "0", 0, "c", "m", "claim", parameters, measured, 0.0)


ROWS = [row({"bits": 30, "n": 0}, n=3, kind="a"), row({"bits": 10}, n=1, kind="a"), row({"bits": 20}, n=2)]


def test_rows_are_picked_by_parameters_a_missing_one_being_none():
    assert where(ROWS, kind="a") == ROWS[:2]
    assert where(ROWS, kind=None) == ROWS[2:]
    assert where(ROWS, kind="a", n=2) == []


def test_columns_are_sorted_by_the_first_and_look_at_parameters_first():
    assert series(ROWS, "n", "bits") == [(1, 2, 3), (10, 20, 30)]
    assert series(ROWS, lambda r: -r.parameters["n"], "bits") == [(-3, -2, -1), (30, 20, 10)]
    assert list(grouped(ROWS, lambda r: r.parameters.get("kind"))) == ["a", None]
    assert grouped(ROWS[:2], "kind", "n") == {("a", 3): ROWS[:1], ("a", 1): ROWS[1:2]}


def play(errors=0, symbols=1000, wire_bits=1001, certified_bits=896.0):
    return row(
        {"errors": errors, "symbols": symbols, "wire_bits": wire_bits, "certified_bits": certified_bits}
    )


def test_shared_checks_pass_and_fail():
    good, wrong = play(), play(errors=1)
    assert decodes("d", [good, good], plays="instances").evidence == {
        "instances": 2,
        "bits": 2000,
        "errors": 0,
    }
    assert not decodes("d", [good, wrong]).passed
    assert carries("c", [good]).passed
    assert not carries("c", [good, play(wire_bits=896)]).passed
    assert certifies("f", [good]).passed
    assert not certifies("f", [good, play(certified_bits=1000 - CERTIFICATE_BITS - 0.1)]).passed
    assert not certifies("f", [play(wire_bits=896)]).passed
    assert accuracy(wrong) == transcript(wrong.measured).accuracy == 0.999


def test_the_fitted_exponent_has_the_true_one_in_its_interval():
    rng, sizes = np.random.default_rng(0), np.geomspace(10, 1e4, 30)
    slope, low, high = fitted_exponent(sizes, sizes**1.5 * np.exp(0.1 * rng.normal(size=30)), 1e-6)
    assert low < 1.5 < high
    assert low < slope < high
    assert not low < 1.8 < high


@pytest.mark.parametrize(("bias", "passed"), [(0.0, True), (0.5, False)])
def test_means_of_estimates_pass_only_without_a_bias(bias, passed):
    rng = np.random.default_rng(1)
    draws = rng.random((2, 10_000)) < 0.5
    measured = {
        f"{part}_error": [float(mean) - 0.5 + bias]
        for part, mean in zip(("tau", "z"), draws.mean(axis=1), strict=True)
    }
    for part in ("tau", "z"):
        measured |= {f"{part}_variance": [0.25], f"{part}_largest": [0.5]}
    means = mean_errors([row(measured)], 10_000, 1e-6)
    assert [check.passed for check in judge_means(("tau", "z"), [means], 1e-6)] == [passed, passed]
