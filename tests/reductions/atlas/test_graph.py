"""The atlas: floors against the theorems, arrows without an encoding against plain attention."""

import re
from dataclasses import replace
from math import log2
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from kvfloor.reductions.atlas.arrows import REDUCTIONS
from kvfloor.reductions.atlas.graph import atlas, floor_bits, floors_of, paths, push
from kvfloor.reductions.atlas.nodes import (
    INDEX,
    SOFTMAX,
    TENSOR_FOUR,
    TENSOR_TWO,
    TRANSFORMER,
    VISUAL,
    WINDOW,
)
from kvfloor.reductions.atlas.reduction import About, Instance, Parts, Reduction, Shape
from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.keys.packings import equiangular_keys
from kvfloor.reductions.keys.projections import gaussian_keys
from kvfloor.reductions.problems.index import Index

SHAPE = Shape(48, 64, 8, 0.2, Parts(caches=3, window=16, last_map=40))
ARROW = {reduction.name: reduction for reduction in REDUCTIONS}
THEORY = (Path(__file__).parents[3] / "docs" / "theory.md").read_text()


def floor(model, first, shape=SHAPE):
    """Return the floor of a model along the path that starts with the named arrow."""
    (found,) = (f for f in floors_of(model, shape) if f.path[0].name == first)
    return found


@pytest.mark.parametrize(("model", "first", "symbols"), [
    (SOFTMAX, "values", 48 * 8),
    (SOFTMAX, "keys", 48 * 31),
    (SOFTMAX, "keys and values", 48 * (31 + 8)),
    (SOFTMAX, "values, orthoplex keys", 48 * 8),
    (WINDOW, "values in the window", 16 * 8),
    (TENSOR_FOUR, "values of both sides", 2 * 48 * 8),
    (TENSOR_TWO, "values", 48**2 * 8),
    (VISUAL, "values", 48 * 8),
    (TRANSFORMER, "values", 3 * 48 * 8),
    (TRANSFORMER, "keys and values", 3 * 48 * (31 + 8)),
])  # fmt: skip
def test_bits_are_those_of_the_theorems(model, first, symbols):
    found = floor(model, first)
    assert found.instance.problem == Index(symbols)
    assert found.bits == pytest.approx(max(0, symbols - 104))


def test_precision_counts_levels():
    found = floor(TRANSFORMER, "values, precision")
    assert found.instance.problem.length == 3 * 48 * 8
    assert found.bits == pytest.approx(3 * 48 * 8 * log2(found.instance.problem.alphabet) - 104)


def test_low_dimension_is_bounded_whatever_the_stream():
    bits = [floor(SOFTMAX, "values, kissing keys", Shape(n, 8, 4)) for n in (100, 240, 10**6)]
    assert [f.instance.problem.length for f in bits] == [400, 960, 960]
    assert bits[1].instance.query_norm == bits[2].instance.query_norm < 2 * np.log(240) + 0.1
    assert not [f for f in floors_of(SOFTMAX, Shape(100, 9, 4)) if f.path[0].name == "values, kissing keys"]


@pytest.mark.parametrize("reduction", [r for r in REDUCTIONS if r.encoding], ids=lambda r: r.name)
@pytest.mark.parametrize("eta", [0.0, 0.2])
def test_an_encoding_is_the_instance_that_its_arrow_promises(reduction, eta):
    shape = replace(SHAPE, eta=eta, dim=8 if "kissing" in reduction.name else SHAPE.dim)
    found, encoding = push((reduction,), shape), reduction.encoding(shape, np.random.default_rng(1))
    assert encoding.problem == found.instance.problem
    assert encoding.query_norm == pytest.approx(found.instance.query_norm, rel=1e-12)
    assert (encoding.dim, encoding.value_dim) == (shape.dim, shape.value_dim)


def softmax(scores):
    """Return weights, a row for each query."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def decodes(outputs, bits, eta):
    """Return whether the worst outputs of the bits are apart at this eta."""
    return (1 - eta) * outputs[bits == 1].min() > (1 + eta) * outputs[bits == 0].max()


def crowded(shape, model, name, keys):
    """Return the query norm of a path at the true incoherence of the keys in the place of the bound."""
    found = floor(model, name, shape).instance
    return found.query_norm * (1 - found.incoherence) / (1 - max(0.0, incoherence(keys)))


@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])
def test_tensor_attention_decodes_at_its_norm(eta):
    shape = replace(SHAPE, eta=eta)
    keys = equiangular_keys(49, 0.4).rows
    norm = crowded(shape, TENSOR_FOUR, "values of both sides", keys)
    # The worst channels: a lone 0 among ones on both sides, a lone 1 whose only help is the sentinel.
    one, other = (
        np.hstack([1 - np.eye(48), np.eye(48)]),
        np.repeat([[1.0, 0.0]], 48, axis=1).repeat(48, axis=0),
    )
    token, channel = np.tile(np.arange(48), 2), np.arange(96)

    def apart(norm):
        weights = softmax(norm * keys @ keys.T)
        read, help_ = (weights @ np.vstack([side, np.ones((1, 96))]) for side in (one, other))
        # Scores of a pair add up, so the output is a product of one factor a side; the sentinel is row 48.
        outputs = read[token, channel] * help_[48, channel]
        return decodes(outputs, one[token, channel], eta)

    assert apart(norm)
    assert not apart(norm - 0.05 / 0.6)  # the guarantee adds 0.01/(1 - eps), a missing neighbour up to 1/48


@pytest.mark.parametrize("last_map", [1, 40, 4000])
def test_the_last_map_is_drowned(last_map):
    shape = replace(SHAPE, eta=0.5, parts=Parts(last_map=last_map))
    keys = equiangular_keys(48, 0.4).rows
    norm = crowded(shape, VISUAL, "values", keys)
    bits = np.random.default_rng(4).integers(0, 2, (48, 200))
    scores = np.hstack([norm * keys @ keys.T, np.zeros((48, last_map))])
    for later in (0.0, 1.0):
        assert decodes(softmax(scores) @ np.vstack([bits, np.full((last_map, 200), later)]), bits, 0.5)


def test_opaque_pairs_are_a_stream():
    assert (
        floor(TENSOR_TWO, "values").instance
        == floor(SOFTMAX, "values", replace(SHAPE, tokens=48**2)).instance
    )


def test_every_arrow_names_a_section_and_every_model_is_reached():
    sections = set(re.findall(r"^## (\d+)\.", THEORY, re.MULTILINE))
    assert {r.about.theory for r in REDUCTIONS} <= sections
    graph = atlas()
    assert nx.descendants(graph, INDEX) == set(graph) - {INDEX}
    assert all(floor_bits(model, SHAPE) > 0 for model in graph if model != INDEX)


def test_adding_a_reduction_is_adding_an_arrow():
    twice = Reduction(SOFTMAX, "twin streams", About("twins", "1", "ours", "two streams", "N → 2N"),
                      lambda shape: shape,
                      lambda instance, shape: replace(instance, problem=Index(2 * instance.problem.length)))  # fmt: skip
    graph = atlas([*REDUCTIONS, twice])
    bits = [push(path, SHAPE) for path in paths("twin streams", graph)]
    assert bits[0].bits == pytest.approx(2 * 48 * 8 - 104)
    assert len(bits) == len(list(paths(SOFTMAX)))
    with pytest.raises(ValueError, match="'twins' twice"):
        atlas([twice, twice])
    with pytest.raises(ValueError, match="circle"):
        atlas([*REDUCTIONS, replace(twice, source=TRANSFORMER, target=SOFTMAX)])


def test_more_of_everything_needs_more_bits():
    for model in (SOFTMAX, TENSOR_FOUR, TENSOR_TWO, VISUAL, TRANSFORMER):
        assert floor_bits(model, replace(SHAPE, tokens=96)) > floor_bits(model, SHAPE)
        assert floor_bits(model, replace(SHAPE, value_dim=16)) > floor_bits(model, SHAPE)


def test_where_nothing_applies_there_is_no_floor():
    assert floors_of(WINDOW, replace(SHAPE, parts=Parts())) == []
    assert floor_bits(VISUAL, replace(SHAPE, parts=Parts())) == 0
    # Gaussian addresses of one dimension coincide: nothing is left of the keys but the orthoplex.
    assert [f.path[0].name for f in floors_of(SOFTMAX, Shape(4000, 1, 4))] == ["values, orthoplex keys"]
    assert Instance(Index(100)).floor_bits == 0


@pytest.mark.parametrize(("change", "sentence"), [
    ({"tokens": 1}, "tokens must be at least 2, got 1"),
    ({"dim": 0}, "dim must be at least 1, got 0"),
    ({"value_dim": 0}, "value_dim"),
    ({"parts": {"caches": 0}}, "caches"),
    ({"parts": {"last_map": 0}}, "last_map"),
    ({"parts": {"window": 49}}, r"window must be in 2\.\.48, got 49"),
    ({"eta": 1.0}, "eta"),
])  # fmt: skip
def test_wrong_shapes_are_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(SHAPE, **{name: Parts(**new) if name == "parts" else new for name, new in change.items()})


def test_an_unknown_model_is_one_sentence():
    with pytest.raises(ValueError, match=r"softmax attention, .*; got 'INDEX'"):
        floor_bits(INDEX, SHAPE)


def test_gaussian_keys_keep_to_the_bound():
    bound = floor(SOFTMAX, "values").instance.incoherence
    assert incoherence(gaussian_keys(48, 64, np.random.default_rng(5))) < bound
