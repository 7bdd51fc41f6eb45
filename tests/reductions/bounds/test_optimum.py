"""The exact optimum against brute force: every protocol of tiny families, every code of tiny cubes."""

from itertools import combinations, product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.reductions.bounds.coverings import best_success, covering_errors, sphere_packing_success
from kvfloor.reductions.bounds.frontier import frontier_accuracy
from kvfloor.reductions.bounds.optimum import (
    common_answer,
    distinguishability_graph,
    least_messages,
    messages_needed,
)


def fewest_by_force(outputs, eta):
    """Try every protocol: an assignment of messages and, for each, an answer in all of its intervals."""
    low, high = (1 - eta) * outputs, (1 + eta) * outputs

    def works(assignment):
        groups = [[s for s, m in enumerate(assignment) if m == message] for message in set(assignment)]
        return all((low[g].max(axis=0) <= high[g].min(axis=0) * (1 + 1e-11)).all() for g in groups)

    streams = len(outputs)
    return min(len(set(a)) for a in product(range(streams), repeat=streams) if works(a))


families = st.tuples(st.integers(1, 5), st.integers(1, 2), st.integers(1, 2)).flatmap(
    lambda shape: st.lists(
        st.integers(0, 12), min_size=shape[0] * shape[1] * shape[2], max_size=shape[0] * shape[1] * shape[2]
    ).map(lambda numbers: np.reshape(numbers, shape) / 12)
)


@settings(max_examples=60, deadline=None)
@given(families, st.sampled_from([0.0, 0.07, 0.17, 0.3, 0.52, 0.9]))
def test_no_protocol_beats_the_colouring(outputs, eta):
    graph = distinguishability_graph(outputs, eta)
    found = least_messages(graph)
    assert found.closed
    assert found.upper_messages == fewest_by_force(outputs, eta)
    assert messages_needed(graph, found.weights) == found.lower_messages
    colours = np.array(found.colours)
    assert set(found.colours) == set(range(found.upper_messages))
    for colour in range(found.upper_messages):
        same = outputs[colours == colour]
        answer = common_answer(same, eta)
        assert (np.abs(answer - same) <= (eta + 1e-11) * same).all()


@settings(max_examples=60, deadline=None)
@given(families, st.sampled_from([0.0, 0.17, 0.52]))
def test_pairs_decide_for_sets(outputs, eta):
    graph = distinguishability_graph(outputs, eta)
    for size in range(1, len(outputs) + 1):
        for chosen in combinations(range(len(outputs)), size):
            pairwise = graph.subgraph(chosen).number_of_edges() == 0
            assert (common_answer(outputs[list(chosen)], eta) is not None) == pairwise


def chromatic_number(graph):
    """Return the least k for which some assignment of k colours is proper."""
    for k in range(1, len(graph) + 1):
        if any(all(c[a] != c[b] for a, b in graph.edges) for c in product(range(k), repeat=len(graph))):
            return k
    raise AssertionError


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**15 - 1))
def test_any_graph_of_six_is_bracketed_rightly(edges):
    graph = nx.empty_graph(6)
    graph.add_edges_from(pair for bit, pair in enumerate(combinations(range(6), 2)) if edges >> bit & 1)
    found = least_messages(graph)
    assert found.lower_messages <= chromatic_number(graph) == found.upper_messages
    assert messages_needed(graph, found.weights) == found.lower_messages


def test_weights_close_what_no_clique_closes():
    # The cycle of 5: largest clique 2, fractional bound 5/2, chromatic number 3.
    found = least_messages(nx.cycle_graph(5))
    assert (found.lower_messages, found.upper_messages) == (3, 3)
    assert messages_needed(nx.cycle_graph(5), [1, 1, 0, 0, 0]) == 2


def test_what_stays_open_is_reported():
    # Groetzsch's graph: fractional chromatic number 29/10, so weights prove 3, and 4 colours are needed.
    found = least_messages(nx.mycielski_graph(4))
    assert (found.lower_messages, found.upper_messages, found.closed) == (3, 4, False)
    assert (found.lower_bits, found.upper_bits) == (np.log2(3), 2.0)


def test_a_colouring_better_than_greedy_is_found():
    graph = nx.complete_bipartite_graph(4, 4)
    graph.remove_edges_from((i, 4 + i) for i in range(4))
    assert least_messages(graph).upper_messages == 2


def test_too_many_sets_leave_the_clique_and_the_greedy_colouring(monkeypatch):
    monkeypatch.setattr("kvfloor.reductions.bounds.optimum._MOST_SETS", 2)
    found = least_messages(nx.cycle_graph(5))
    assert (found.lower_messages, found.upper_messages) == (2, 3)


def test_ends_that_touch_can_share():
    # eta = 1/3: [2/3, 4/3] and [4/3, 8/3] touch; a little less, and they do not.
    outputs = np.array([1.0, 2.0]).reshape(2, 1, 1)
    assert least_messages(distinguishability_graph(outputs, 1 / 3)).upper_messages == 1
    assert least_messages(distinguishability_graph(outputs, 1 / 3 - 1e-9)).lower_messages == 2


@pytest.mark.parametrize(("outputs", "eta", "sentence"), [
    (np.ones((2, 2)), 0.1, r"got \(2, 2\)"),
    (np.ones((0, 1, 1)), 0.1, "streams"),
    (-np.ones((2, 1, 1)), 0.1, "at least 0"),
    (np.full((2, 1, 1), np.nan), 0.1, "finite"),
    (np.ones((2, 1, 1)), 1.0, "eta"),
])  # fmt: skip
def test_wrong_families_are_one_sentence(outputs, eta, sentence):
    with pytest.raises(ValueError, match=sentence):
        distinguishability_graph(outputs, eta)


def test_wrong_weights_and_empty_families_are_one_sentence():
    for weights in ([1], [1, -1]):
        with pytest.raises(ValueError, match="weights must be 2 numbers"):
            messages_needed(nx.empty_graph(2), weights)
    assert messages_needed(nx.empty_graph(2), [0, 0]) == 1
    with pytest.raises(ValueError, match="at least 1 stream"):
        least_messages(nx.empty_graph(0))


def errors_by_force(length, words):
    """Return the fewest errors of any code of so many words, which may be taken to hold 0."""
    codes = combinations(range(1, 1 << length), words - 1)
    return min(
        sum(min((x ^ w).bit_count() for w in (0, *code)) for x in range(1 << length)) for code in codes
    )


@pytest.mark.parametrize(("length", "bits"), [(n, b) for n in (1, 2, 3, 4) for b in range(n + 1)] + [(5, 2)])
def test_no_code_beats_the_best(length, bits):
    found = best_success(length, bits)
    assert found.closed
    assert found.upper_errors == errors_by_force(length, 1 << bits)


@pytest.mark.parametrize("length", range(1, 9))
def test_codes_are_what_they_say(length):
    for bits in range(length + 1):
        found = best_success(length, bits)
        assert len(set(found.words)) == 1 << bits
        assert covering_errors(found.words, length) == found.upper_errors
        assert found.success <= found.bound <= sphere_packing_success(length, bits)
        assert sphere_packing_success(length, bits) <= frontier_accuracy(bits / length) + 1e-12
        assert found.closed == ((length, bits) != (8, 3))


def test_the_known_optima():
    assert best_success(2, 1).success == best_success(3, 1).success == 3 / 4
    assert best_success(7, 4).success == 7 / 8
    assert best_success(7, 2).success < sphere_packing_success(7, 2)
    assert 1 - sphere_packing_success(23, 12) == (23 + 2 * 253 + 3 * 1771) / (2048 * 23)
    assert sphere_packing_success(200, 0) == 0.5


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: best_success(0, 0), "length must be at least 1, got 0"),
    (lambda: best_success(3, 4), r"bits must be in 0\.\.3, got 4"),
    (lambda: best_success(13, 1), "at most 12"),
    (lambda: best_success(12, 6), "too many codes"),
    (lambda: sphere_packing_success(3, -1), "bits"),
    (lambda: covering_errors((8,), 3), "3 binary digits"),
    (lambda: covering_errors((), 3), "at least one"),
])  # fmt: skip
def test_wrong_codes_are_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
