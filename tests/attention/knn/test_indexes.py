"""Key indexes: neighbours against sorting, ceilings that hold, probes that are counted."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.attention.knn import CellIndex, ExactIndex, FaissIndex, GrowingIndex, recall
from kvfloor.attention.knn.indexes import largest


def grown(keys, make=ExactIndex, cuts=(7, 8, 30)):
    index = GrowingIndex(make)
    for block in np.split(keys, [cut for cut in cuts if cut < len(keys)]):
        index.extend(block)
    return index


def cells(seed=0, **options):
    return lambda keys: CellIndex(keys, np.random.default_rng(seed), **options)


MAKES = {
    "exact": ExactIndex,
    "growing": grown,
    "cells": cells(),
    "many cells": cells(visited=2, rounds=0),
    "growing cells": lambda keys: grown(keys, cells()),
}


@st.composite
def searches(draw):
    """Draw keys, queries and k; some keys equal, some zero, and either type."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tokens, dim, count = draw(st.integers(4, 80)), draw(st.integers(1, 6)), draw(st.integers(1, 12))
    keys = rng.normal(size=(tokens, dim))
    keys[rng.random(tokens) < 0.2] = draw(st.sampled_from([0.0, 1.0]))
    queries = rng.normal(size=(count, dim)) * draw(st.sampled_from([0.0, 1.0, 50.0]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return keys.astype(dtype), queries.astype(dtype), draw(st.integers(1, tokens))


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
@given(searches())
def test_what_is_found_is_scored_rightly_and_the_rest_is_below_the_ceiling(make, search):
    keys, queries, kept = search
    found = make(keys).search(queries, kept)
    scores = queries.astype(float) @ keys.T.astype(float)
    rounding = 16 * np.finfo(keys.dtype).eps * (1 + np.abs(scores).max())
    assert found.positions.shape == found.scores.shape == (len(queries), kept)
    for row, positions in enumerate(found.positions):
        assert len(set(positions)) == kept
        assert np.allclose(found.scores[row], scores[row, positions], rtol=0, atol=rounding)
        rest = np.delete(scores[row], positions)
        assert len(rest) == 0 or rest.max() <= found.ceiling[row] + rounding


@pytest.mark.parametrize("make", [ExactIndex, grown], ids=["exact", "growing"])
@given(searches())
def test_exact_indexes_find_the_largest_scores(make, search):
    keys, queries, kept = search
    scores = np.sort((queries.astype(float) @ keys.T.astype(float)), axis=1)[:, len(keys) - kept :]
    rounding = 16 * np.finfo(keys.dtype).eps * (1 + np.abs(scores).max())
    found = np.sort(make(keys).search(queries, kept).scores, axis=1)
    assert np.allclose(found, scores, rtol=0, atol=rounding)


@pytest.mark.parametrize("order", ["random", "sorted", "periodic", "ties", "infinite"])
@pytest.mark.parametrize("kept", [1, 50, 400])
def test_largest_is_exact_whatever_the_sample_shows(order, kept):
    rng = np.random.default_rng(kept)
    scores = rng.normal(size=(6, 20_000)).astype(np.float32)
    if order == "sorted":
        scores.sort(axis=1)
    elif order == "periodic":  # the sampled columns hold all that is large
        scores[:, ::16] += 10
    elif order == "ties":
        scores = np.round(scores)
    elif order == "infinite":
        scores[:, 100:] = -np.inf
        kept = min(kept, 100)
    columns = largest(scores, kept)
    assert all(len(set(row)) == kept for row in columns)
    expected = np.sort(scores, axis=1)[:, -kept:]
    assert np.array_equal(np.sort(np.take_along_axis(scores, columns, axis=1), axis=1), expected)


def test_a_query_along_a_key_finds_it_in_one_cell():
    """What the adaptive reader of INDEX rests on."""
    rng = np.random.default_rng(3)
    keys = rng.normal(size=(1000, 16))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    index = CellIndex(keys, rng)
    found = index.search(30 * keys, 1)
    assert np.array_equal(found.positions[:, 0], np.arange(1000))
    assert found.probes.mean() < 1000 / 5


def test_clustered_keys_are_recalled_and_random_ones_are_not():
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(40, 32))
    clustered = np.repeat(centres, 50, axis=0) + 0.1 * rng.normal(size=(2000, 32))
    assert recall(CellIndex(clustered, rng, visited=3), clustered[:50], 40) > 0.9
    assert recall(CellIndex(rng.normal(size=(2000, 32)), rng), rng.normal(size=(50, 32)), 40) < 0.5
    assert recall(ExactIndex(clustered), clustered[:50], 40) == 1


def test_probes_are_the_products_that_were_computed():
    rng = np.random.default_rng(5)
    keys, queries = rng.normal(size=(500, 8)), rng.normal(size=(20, 8))
    assert (ExactIndex(keys).search(queries, 3).probes == 500).all()
    assert (grown(keys).search(queries, 3).probes == 500).all()
    index = CellIndex(keys, rng, cells=25, visited=2, rounds=3)
    assert index.build_probes == 4 * 25 * 500
    # Searching as many cells as there are scores every key once, and every direction.
    assert (CellIndex(keys, rng, cells=25, visited=25).search(queries, 3).probes == 525).all()
    found = index.search(queries, 1)
    assert (found.probes > 25).all()
    towards = queries @ index._directions.T
    sizes = index._sizes[np.argsort(-towards, axis=1)[:, :2]].sum(axis=1)
    assert np.array_equal(found.probes[sizes > 0], 25 + sizes[sizes > 0])


def test_a_growing_index_rebuilds_little_and_asks_few_runs():
    built = []

    def make(keys):
        built.append(len(keys))
        return ExactIndex(keys)

    rng, index, tokens = np.random.default_rng(6), GrowingIndex(make), 0
    keys = rng.normal(size=(3000, 2))
    while tokens < len(keys):
        step = int(rng.integers(1, 40))
        index.extend(keys[tokens : tokens + step])
        tokens = min(tokens + step, len(keys))
        assert len(index) == tokens
        assert len(index._runs) <= math.log2(tokens) + 1
    assert np.array_equal(index.keys, keys)
    assert sum(built) <= len(keys) * (math.log(len(keys)) / math.log(1.5) + 1)


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda k: ExactIndex(k).search(k, 11), "kept is 11, expected an integer from 1 to 10"),
    (lambda k: ExactIndex(k).search(k, 0), "kept is 0, expected an integer from 1 to 10"),
    (lambda k: CellIndex(k, np.random.default_rng(0)).search(k, 11), "kept is 11, expected"),
    (lambda k: grown(k).search(k, 11), "kept is 11, expected"),
    (lambda k: ExactIndex(k).search(k[:, :1], 1), r"queries have shape \(10, 1\), expected \(rows, 2\)"),
    (lambda k: GrowingIndex().search(k, 1), "the index is empty"),
    (lambda k: GrowingIndex().keys, "the index is empty"),
    (lambda k: grown(k).extend(k[:, :1]), "keys have shape"),
    (lambda k: CellIndex(k, np.random.default_rng(0), cells=11), "cells is 11, expected"),
    (lambda k: CellIndex(k, np.random.default_rng(0), cells=2, visited=3), "visited is 3, expected"),
    (lambda k: ExactIndex((k * 1e20).astype(np.float32)).search((k * 1e20).astype(np.float32), 1), "float64"),
])  # fmt: skip
def test_wrong_arguments_are_told_in_a_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as told:
        wrong(np.random.default_rng(0).normal(size=(10, 2)))
    assert "\n" not in str(told.value)


def test_without_faiss_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"pip install 'kvfloor\[faiss\]'"):
        FaissIndex(np.ones((2, 2)))


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_faiss_behind_the_same_interface(kind):
    pytest.importorskip("faiss", reason="FAISS is an optional extra")
    rng = np.random.default_rng(7)
    keys, queries = (rng.normal(size=(count, 16)).astype(np.float32) for count in (2000, 30))
    index = FaissIndex(keys, kind=kind)
    found = index.search(queries, 20)
    scores = queries @ keys.T
    assert np.allclose(np.take_along_axis(scores, found.positions, axis=1), found.scores, atol=1e-4)
    rest = scores.copy()
    np.put_along_axis(rest, found.positions, -np.inf, axis=1)
    assert (rest.max(axis=1) <= found.ceiling + 1e-4).all()
    assert recall(index, queries, 20) >= (1 if kind == "flat" else 0.7)
    assert (found.probes == 2000).all() if kind == "flat" else (found.probes < 2000).all()
    assert (found.probes >= 20).all()
    with pytest.raises(ValueError, match="kept is 2001"):
        index.search(queries, 2001)
