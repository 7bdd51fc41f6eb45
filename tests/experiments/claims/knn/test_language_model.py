"""The language model: its gradient against finite differences, its causality, and that it learns."""

import numpy as np

from kvfloor.attention.gradients import Gradients
from kvfloor.experiments.claims.knn.language_model import Adam, ExactLayer, Weights, loss_and_gradients


def setting(seed=0, count=12, characters=5, dim=4):
    rng = np.random.default_rng(seed)
    return Weights.draw(characters, dim, rng), rng.integers(characters, size=count), rng


def test_the_gradient_is_the_finite_difference():
    weights, text, _ = setting()
    _, found = loss_and_gradients(weights, text, ExactLayer())
    for array, slope in zip(weights.arrays(), found.arrays(), strict=True):
        assert array.shape == slope.shape
        for place in np.ndindex(array.shape):
            centre, ends = array[place], []
            for sign in (1, -1):
                array[place] = centre + sign * 1e-5
                ends.append(loss_and_gradients(weights, text, ExactLayer(), backward=False)[0])
            array[place] = centre
            assert abs((ends[0] - ends[1]) / 2e-5 - slope[place]) < 1e-8


def test_a_prediction_does_not_see_what_comes_after():
    weights, text, _ = setting(1, 30)
    seen = []

    class Watched(ExactLayer):
        def forward(self, inputs):
            seen.append(super().forward(inputs))
            return seen[-1]

    changed = text.copy()
    changed[20:] = (changed[20:] + 1) % 5
    for one in (text, changed):
        loss_and_gradients(weights, one, Watched(), backward=False)
    assert np.array_equal(seen[0][:18], seen[1][:18])  # state i has read text[: i + 3]
    assert not np.array_equal(seen[0][18:], seen[1][18:])


def test_the_gradient_is_that_of_the_layer():
    """What the layer says about attention is what the model learns by."""
    weights, text, _ = setting(2)

    class Deaf(ExactLayer):
        def backward(self, inputs, upstream):
            return Gradients.zeros(inputs)

    _, exact = loss_and_gradients(weights, text, ExactLayer())
    _, deaf = loss_and_gradients(weights, text, Deaf())
    assert exact.queries.any()
    assert not any(array.any() for array in (deaf.queries, deaf.keys, deaf.values))
    assert np.array_equal(exact.outputs, deaf.outputs)


def test_adam_learns_a_text_by_heart():
    weights, text, _ = setting(3, count=60, dim=16)
    adam, losses = Adam(weights, 0.02), []
    for _ in range(100):
        loss, gradients = loss_and_gradients(adam.parameters, text, ExactLayer())
        adam.step(gradients)
        losses.append(loss)
    assert losses[0] > np.log(5) > 4 * losses[-1]
