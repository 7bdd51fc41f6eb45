"""Small cases of pointer chasing by brute force, and windows by hand."""

from math import factorial

import numpy as np
import pytest

from kvfloor.experiments.claims.depth.cells import (
    answers_all,
    digits,
    forced_share,
    functions,
    iterates,
    layers_bound,
    layers_product,
    layers_scheduled,
)
from kvfloor.experiments.claims.depth.windows import last_output, reach


def test_iterates_are_counted():
    assert [iterates(2, k) for k in (1, 2, 3)] == [4, 3, 4]
    for nodes in (2, 3, 4):
        assert iterates(nodes, 1) == nodes**nodes
        every = [tuple(f) for f in functions(nodes).tolist()]
        squares = {tuple(f[f[i]] for i in range(nodes)) for f in every}
        assert iterates(nodes, 2) == len(squares)
        assert iterates(nodes, factorial(nodes) + 1) >= factorial(nodes)  # every permutation is one


@pytest.mark.parametrize("nodes", [2, 3, 4, 5])
def test_the_scheme_answers_all_functions_and_stands_above_the_bound(nodes):
    for cells in range(1, nodes + 1):
        for bits in (1, 2, 3):
            for hops in (1, 2, nodes):
                assert answers_all(nodes, hops, cells, bits)
                scheduled = layers_scheduled(nodes, cells, bits)
                assert scheduled >= layers_bound(nodes, hops, cells, bits)
                assert layers_product(nodes, hops, cells, bits) < 2 * scheduled


def test_the_product_as_it_stands_is_refuted_by_a_small_case():
    # Three nodes, two digits of a bit each, two cells a layer: 6 digits fit into 3 layers, the product asks for 4.
    assert (layers_scheduled(3, 2, 1), layers_product(3, 3, 2, 1), digits(3, 1)) == (3, 4, 2)
    assert answers_all(3, 3, 2, 1)


def test_windows_reach_as_far_as_light_goes():
    rng = np.random.default_rng(0)
    for window, layers in ((1, 3), (2, 1), (2, 4), (5, 2)):
        assert reach(layers * (window - 1) + 3, window, layers, rng) == layers * (window - 1)


def test_a_window_of_one_token_is_that_token():
    rows = np.random.default_rng(1).standard_normal((3, 4))
    alone = last_output(rows[-1:], 1, 2, np.random.default_rng(2))
    assert (last_output(rows, 1, 2, np.random.default_rng(2)) == alone).all()


def test_counting_forces_the_product_while_tokens_are_narrow():
    assert forced_share(1024, 10) >= 7 / 8
    assert forced_share(1024, 60) < 1 / 2
