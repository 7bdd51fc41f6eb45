"""What the claims about kNN attention judge by: their own checks must be able to fail."""

import numpy as np
import pytest

from kvfloor.experiments.claims.knn import knn_forward, knn_training, lazy_gumbel
from kvfloor.experiments.claims.knn.lazy_gumbel import _chi_square
from kvfloor.experiments.claims.time import time_barrier_circumvented
from kvfloor.experiments.game.randomness import Randomness


def test_chi_square_pools_what_is_rare_and_tells_a_shift():
    probabilities = np.array([0.5, 0.4999, 0.0001])
    rng = np.random.default_rng(0)
    counts = rng.multinomial(10_000, probabilities)
    assert _chi_square(probabilities, counts) > 1e-6
    assert _chi_square(probabilities, [5400, 4600, 0]) < 1e-6
    assert _chi_square(np.ones(1), [10]) == 1


@pytest.mark.parametrize(("mean", "terms", "fits"), [
    (0.05, 10, True), (0.0, 10, True), (0.06, 100, True), (0.5, 100, False), (1.0, 100, False), (1.0, 3, True),
])  # fmt: skip
def test_a_share_of_failures_is_too_large_only_beyond_chance(mean, terms, fits):
    assert knn_forward._at_most(mean, terms, 0.05, 1e-6) == fits


def test_the_text_ships_with_the_package_and_marks_its_rows():
    assert 4000 < len(knn_training.TEXT) < 10_000
    assert knn_training.TEXT.startswith("This is the cache that Alice filled.")
    assert {cell["text"] for cell in knn_training.grid("quick")} == {knn_training._digest()}


def test_every_method_starts_from_the_same_weights_and_sees_the_same_text():
    cell = {"task": "train", "start": 0, "steps": 20, "text": knn_training._digest()}
    first = [
        knn_training.measure({**cell, "method": method}, Randomness(0, method))["held_out_losses"][0]
        for method in ("exact", "walk", "cut off")
    ]
    assert first[0] == first[1] == first[2]


def test_the_adaptive_reader_reads_what_it_was_sent_and_nothing_else():
    cell = {"reader": "adaptive", "tokens": 256}
    found = time_barrier_circumvented.measure(cell, Randomness(0, "x"))
    assert found["errors"] == 0
    assert found["wire_bits"] >= found["symbols"]
    assert found["most_probes"] < 256 / 2
    leak = time_barrier_circumvented.measure({**cell, "fault": "leak"}, Randomness(0, "x"))
    assert leak["errors"] == 0
    assert leak["wire_bits"] < leak["symbols"] / 10


def test_without_a_fault_a_control_of_the_sampler_would_pass():
    (control, *_) = lazy_gumbel.CLAIM.controls
    assert control.name == "tail tokens with replacement"
    for cell in control.cells:
        sound = {key: value for key, value in cell.items() if key != "fault"}
        found = lazy_gumbel.measure(sound, Randomness(0, "sound"))
        assert _chi_square(found["probabilities"], found["counts"]) > 1e-6
