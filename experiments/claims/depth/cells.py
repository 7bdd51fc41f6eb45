"""Pointer chasing in cells: a probe a layer, all functions, and how few layers there can be (theory 19)."""

import itertools
from math import ceil, isqrt, lgamma, log, log2

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "answers_all",
    "forced_share",
    "functions",
    "iterates",
    "layers_bound",
    "layers_product",
    "layers_scheduled",
]


def functions(nodes: int) -> NDArray[np.int64]:
    """Return all functions of n nodes to themselves, shape (n^n, n)."""
    return np.array(list(itertools.product(range(nodes), repeat=nodes)), np.int64)


def iterates(nodes: int, hops: int) -> int:
    """Return how many different k-th iterates the functions of n nodes have: what a cache must tell apart."""
    every = functions(nodes)
    power = every
    for _ in range(hops - 1):
        power = np.take_along_axis(every, power, axis=1)
    return len(np.unique(power @ nodes ** np.arange(nodes)))


def layers_bound(nodes: int, hops: int, cells: int, bits: int) -> int:
    """Return the least L that is proved for s cells of b bits a layer: L s b >= log2 iterates, and L b >= log2 n."""
    return max(ceil(log2(iterates(nodes, hops)) / (cells * bits)), digits(nodes, bits))


def layers_product(nodes: int, hops: int, cells: int, bits: int) -> int:
    """Return the product ceil(k/s) ceil(log2 n / b), which is conjectured to be needed up to a constant."""
    return ceil(hops / cells) * digits(nodes, bits)


def layers_scheduled(nodes: int, cells: int, bits: int) -> int:
    """Return the layers of a scheme that keeps f^k itself: digits of n nodes go round the layers' cells."""
    return max(digits(nodes, bits), ceil(nodes * digits(nodes, bits) / cells))


def digits(nodes: int, bits: int) -> int:
    """Return how many digits of b bits name one of n nodes."""
    return ceil(log2(nodes) / bits)


def answers_all(nodes: int, hops: int, cells: int, bits: int) -> bool:
    """Return whether that scheme answers every question to every function, a probe of one cell a layer.

    Digit j of node i is item i c + j, c digits a node, in cell number item div L of layer item mod L: c <= L layers in a row.
    """
    layers, count = layers_scheduled(nodes, cells, bits), digits(nodes, bits)
    every = functions(nodes)
    power = every
    for _ in range(hops - 1):
        power = np.take_along_axis(every, power, axis=1)
    table = np.full((layers, cells, len(every)), -1)
    places = {}
    for digit, node in itertools.product(range(count), range(nodes)):
        item = node * count + digit
        places[node, digit] = item % layers, item // layers
        table[places[node, digit]] = power[:, node] >> digit * bits & (1 << bits) - 1
    read = np.zeros((len(every), nodes), np.int64)
    for node in range(nodes):
        mine = [places[node, digit] for digit in range(count)]
        if len({layer for layer, _ in mine}) < count:  # a layer would be asked twice
            return False
        for digit, place in enumerate(mine):
            read[:, node] |= table[place] << digit * bits
    return bool((read == power).all() and max(cell for _, cell in places.values()) < cells)


def forced_share(nodes: int, most_bits: float) -> float:
    """Return the least share of the product that counting cycles forces, over the conjecture's range of k, s and b.

    Any of n questions may come after the caches are full; a layer holds s tokens with keys and values of b bits each. Then
    2 L s b >= log2 (n-1)!, for every k coprime to n. The range is n >= 4 k, 4 s <= sqrt n, and b up to `most_bits`.
    """
    told = lgamma(nodes) / log(2)
    return min(
        ceil(told / (2 * cells * bits)) / layers_product(nodes, hops, cells, bits)
        for cells in {1, 2, max(1, isqrt(nodes) // 8), isqrt(nodes) // 4}
        if 0 < 4 * cells <= nodes**0.5
        for hops in {1, 2, nodes // 8, nodes // 4}
        for bits in range(1, int(most_bits) + 1)
    )
