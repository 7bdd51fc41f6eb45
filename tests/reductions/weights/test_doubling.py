"""The transformer that doubles its reach, run in plain loops over its matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys
from kvfloor.reductions.weights.doubling import Doubling


def attend(head, asking, held):
    """Return what a head adds to the rows that ask."""
    scores = (asking @ head.query.T) @ (held @ head.key.T).T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights @ (held @ head.value.T) @ head.out.T


def run(model, f, starts, layers=None):
    """Return the rows of nodes and questions after so many layers, all by default."""
    nodes, asked = model.table(f), model.questions(starts)
    for layer in range(model.layers if layers is None else layers):
        held = nodes
        if head := model.jump(layer):
            nodes = nodes + attend(head, held, held)
        if head := model.walk(layer):
            asked = asked + attend(head, asked, held)
    return nodes, asked


@given(st.integers(3, 40), st.integers(1, 200), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_every_question_ends_where_k_steps_lead(tokens, hops, seed):
    rng = np.random.default_rng(seed)
    model = Doubling(Keys(gaussian_keys(tokens, 48, rng)), hops)
    f, ends = rng.integers(0, tokens, tokens), np.arange(tokens)  # any function, not cycles alone
    for _ in range(hops):
        ends = f[ends]
    _, asked = run(model, f, np.arange(tokens))
    assert model.layers == int(np.log2(hops)) + 1
    assert model.decode(asked).tolist() == ends.tolist()


def test_pointers_reach_twice_as_far_in_every_layer():
    rng = np.random.default_rng(0)
    model = Doubling(Keys(gaussian_keys(20, 64, rng)), 2**4)
    f = rng.permutation(20)
    power = f
    for layer in range(model.layers):
        nodes, _ = run(model, f, np.arange(2), layers=layer)
        pointers = model.stream.coordinates(nodes, "pointer", layer)
        assert (pointers @ model.addresses.rows.T).argmax(axis=1).tolist() == power.tolist()
        power = power[power]


def test_a_norm_that_is_too_small_loses_its_way():
    rng = np.random.default_rng(1)
    keys = Keys(gaussian_keys(40, 24, rng))
    f = rng.permutation(40)

    class Cold(Doubling):
        query_norm = 2.0

    wrong = [Doubling(keys, 63), Cold(keys, 63)]
    ends = np.arange(40)
    for _ in range(63):
        ends = f[ends]
    errors = [(model.decode(run(model, f, np.arange(40))[1]) != ends).mean() for model in wrong]
    assert errors[0] == 0
    assert errors[1] > 0.5


def test_wrong_input_is_refused():
    keys = Keys(np.eye(3))
    with pytest.raises(ValueError, match="hops must be at least 1, got 0"):
        Doubling(keys, 0)
    with pytest.raises(ValueError, match="addresses must differ"):
        Doubling(Keys(np.array([[1.0, 0.0], [1.0, 0.0]])))
