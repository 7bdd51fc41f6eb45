"""Probes are counted and guarded; readers answer what they read; the line, by brute force on tiny cases."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.experiments.claims.time.probes import ProbedStore, UndeclaredReadError
from kvfloor.experiments.claims.time.probing_readers import READERS, HashIndex, Shape
from kvfloor.reductions.keys.projections import gaussian_keys

ENTRIES = np.arange(100) * 7


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 4)), max_size=60), st.integers(1, 7))
def test_a_probe_is_a_distinct_entry_of_a_query(reads, size):
    store = ProbedStore(ENTRIES)
    for start in range(0, len(reads), size):
        positions, queries = np.array(reads[start : start + size]).T
        assert np.array_equal(store.read(positions, queries), ENTRIES[positions])
    expected = [len({p for p, q in reads if q == query}) for query in range(5)]
    assert store.probes(5).tolist() == expected


def test_what_was_not_declared_is_refused():
    store = ProbedStore(ENTRIES)
    assert store.declare(np.array([3, 5, 3])) == 2
    assert store.read(np.array([5])).tolist() == [35]
    with pytest.raises(UndeclaredReadError, match="entry 4 was not declared before the query was seen"):
        store.read(np.array([3, 4]))
    assert store.probes().tolist() == [1]


def test_declarations_come_once_and_first():
    store = ProbedStore(ENTRIES)
    store.read(np.array([1]))
    with pytest.raises(ValueError, match="declared once, before the first read"):
        store.declare(np.array([1]))
    declared = ProbedStore(ENTRIES)
    declared.declare(np.array([], int))
    with pytest.raises(ValueError, match="declared once"):
        declared.declare(np.array([1]))


@pytest.mark.parametrize("positions", [[-1], [100], [[1]]])
def test_wrong_positions(positions):
    with pytest.raises(ValueError, match=r"positions must be a vector of numbers in 0\.\.99"):
        ProbedStore(ENTRIES).read(np.array(positions))
    with pytest.raises(ValueError, match="queries must be numbers from 0 on, got -2"):
        ProbedStore(ENTRIES).read(np.array([1]), -2)


@pytest.mark.parametrize(("entries", "probes"), [(2, 1), (3, 0), (3, 1), (3, 2), (3, 3), (4, 2)])
def test_no_reader_at_all_is_above_the_line(entries, probes):
    """All sets of entries and, for each position, all functions of what is read: the best is 1/2 + T/(2N)."""
    strings = np.array(list(product((0, 1), repeat=entries)))
    functions = np.array(list(product((0, 1), repeat=2**probes)))
    best = 0.0
    for chosen in combinations(range(entries), probes):
        seen = strings[:, chosen] @ (1 << np.arange(probes)) if probes else np.zeros(len(strings), int)
        right = [(functions[:, seen] == strings[:, k]).mean(axis=1).max() for k in range(entries)]
        best = max(best, float(np.mean(right)))
    assert best == pytest.approx(0.5 + probes / (2 * entries), rel=1e-15)


def shape(tokens=24, dim=32, value_dim=4):
    return Shape(gaussian_keys(tokens, dim, np.random.default_rng(0)), value_dim, 60.0)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("probes", [0, 4, 48, 96])
def test_readers_read_what_they_plan_and_know_what_they_read(name, probes):
    reader, public = READERS[name], shape()
    bits = np.random.default_rng(1).integers(0, 2, public.entries, dtype=np.uint8)
    positions = reader.plan(public, probes, np.random.default_rng(2))
    assert len(set(positions.tolist())) == len(positions) == probes
    answers = reader.answer(public, positions, bits[positions], np.random.default_rng(3))
    assert answers.shape == bits.shape
    assert np.array_equal(answers[positions], bits[positions])


def test_the_index_finds_the_token_with_few_probes():
    public = shape(tokens=500)
    bits = np.random.default_rng(1).integers(0, 2, public.entries, dtype=np.uint8)
    index = HashIndex(public, bits, np.random.default_rng(2))
    asked = np.arange(public.entries)
    queries = public.query_norm * public.keys[asked // 4]
    assert np.array_equal(index.answer(queries, asked % 4), bits)
    probes = index.probes(len(asked)).reshape(-1, 4)
    assert (probes == probes[:, :1]).all()  # all entries of a token are found in the same way
    # Two places of the table and, for each key in the bucket, its number and 32 coordinates; one value.
    assert ((probes - 3) % 33 == 0).all()
    assert (probes.min(), probes.max() < 500) == (3 + 33, True)


def test_an_empty_bucket_is_answered_without_reading_a_value():
    public = shape(tokens=1)
    index = HashIndex(public, np.ones(4, np.uint8), np.random.default_rng(2))
    queries = np.random.default_rng(0).normal(size=(50, 32))
    answers, probes = index.answer(queries, np.zeros(50, int)), index.probes(50)
    assert set(probes[answers == 0]) == {2}
    assert set(probes[answers == 1]) == {3 + 33}
