"""Theorem A's counting on tiny strings, exactly, with messages of several lengths; what is off by one breaks it.

A message m that leaves e errors costs 2^prefix 2^|m| Vol_q(N, e), and at most B strings cost B or less, for every B
(`count_violators` in proofs/certificate.v). 64 bits of prefix hide that from any play; here they are 0, 1, 2 or 3.
"""

from itertools import product
from math import comb

import numpy as np
import pytest

SHAPES = [(3, 2), (2, 3), (4, 2)]
CODES = [(5, 2, 0), (5, 2, 1), (6, 2, 2), (7, 2, 1), (7, 2, 3), (4, 3, 1), (3, 4, 2)]


def volume(length, radius, alphabet):
    """Vol_q(N, e), theory 1."""
    return sum(comb(length, k) * (alphabet - 1) ** k for k in range(radius + 1))


def smaller_radius(length, radius, alphabet):
    """Leave the outermost sphere of a ball out."""
    return volume(length, radius - 1, alphabet)


def one_string_less(length, radius, alphabet):
    """Leave a single string of a ball out."""
    return volume(length, radius, alphabet) - 1


def distances(length, alphabet):
    """Return the Hamming distances between all strings."""
    strings = np.array(list(product(range(alphabet), repeat=length)))
    return (strings[:, None] != strings[None]).sum(axis=2)


def lengths_of(prefix):
    """Return the length of every message that a prefix of so many bits can announce."""
    return [bits for bits in range(2**prefix) for _ in range(2**bits)]


def costs(length, alphabet, bits, *, lengths, ball):
    """Return the cost of a message of so many bits for 0..N errors."""
    return np.array([lengths * 2**bits * ball(length, e, alphabet) for e in range(length + 1)])


def excess(cost):
    """Return by how much the strings that cost at most B exceed B, for the worst B: the k-th costs k or more."""
    return int((np.arange(1, len(cost) + 1) - np.sort(cost)).max())


def worst_of_all_decoders(length, alphabet, ball=volume, lengths=2):
    """Try every decoder of messages of 0 and 1 bits, with the encoder that serves each string cheapest."""
    distance = distances(length, alphabet)
    table = [costs(length, alphabet, bits, lengths=lengths, ball=ball)[distance] for bits in lengths_of(1)]
    return max(
        excess(np.minimum.reduce([row[:, y] for row, y in zip(table, decoded, strict=True)]))
        for decoded in product(range(len(distance)), repeat=3)
    )


def worst_of_greedy_codes(length, alphabet, prefix, ball=volume, lengths=None):
    """For every budget give each message, the shortest first, the string whose ball holds most that is not served."""
    distance = distances(length, alphabet)
    lengths = 2**prefix if lengths is None else lengths
    table = {
        bits: costs(length, alphabet, bits, lengths=lengths, ball=ball) for bits in set(lengths_of(prefix))
    }
    worst = -len(distance)
    for budget in range(len(distance) + 1):
        served = np.zeros(len(distance), dtype=bool)
        for bits in lengths_of(prefix):
            if not (table[bits] <= budget).any() or served.all():
                break  # longer messages cost more
            within = table[bits][distance] <= budget
            served |= within[:, (within & ~served[:, None]).sum(axis=0).argmax()]
        worst = max(worst, int(served.sum()) - budget)
    return worst


@pytest.mark.parametrize(("length", "alphabet"), SHAPES)
def test_at_most_b_strings_cost_b_for_every_decoder(length, alphabet):
    assert worst_of_all_decoders(length, alphabet) <= 0


def test_at_most_b_strings_cost_b_for_every_encoder_and_decoder():
    """Strings of 2 bits, messages of 0 and 1 bits: 3^4 encoders, 4^3 decoders."""
    distance = distances(2, 2)
    table = [costs(2, 2, bits, lengths=2, ball=volume) for bits in lengths_of(1)]
    for message in product(range(3), repeat=4):
        for decoded in product(range(4), repeat=3):
            cost = np.array([table[m][distance[x, decoded[m]]] for x, m in enumerate(message)])
            assert excess(cost) <= 0


@pytest.mark.parametrize(("length", "alphabet", "prefix"), CODES)
def test_at_most_b_strings_cost_b_for_greedy_codes(length, alphabet, prefix):
    assert worst_of_greedy_codes(length, alphabet, prefix) <= 0


@pytest.mark.parametrize("ball", [smaller_radius, one_string_less])
def test_a_ball_that_is_off_by_one_is_seen(ball):
    """A single message and a ball round its string meet the count, so nothing may be missing."""
    assert worst_of_greedy_codes(5, 2, 0) == 0
    assert worst_of_greedy_codes(5, 2, 0, ball=ball) > 0
    assert worst_of_greedy_codes(4, 3, 0, ball=ball) > 0


@pytest.mark.parametrize("ball", [smaller_radius, one_string_less])
def test_a_ball_that_is_off_by_one_is_seen_by_every_decoder_too(ball):
    assert worst_of_all_decoders(3, 2, ball=ball) > 0


def test_a_prefix_that_is_a_bit_short_is_seen():
    """Two lengths need a factor 2: without it both lengths use the budget up."""
    assert worst_of_all_decoders(4, 2, lengths=1) > 0
    assert worst_of_greedy_codes(5, 2, 1, lengths=1) > 0
    assert worst_of_greedy_codes(6, 2, 2, lengths=2) > 0


@pytest.mark.parametrize(("length", "alphabet"), SHAPES)
@pytest.mark.parametrize("readers", [1, 2, 3])
def test_the_best_of_r_readers_costs_a_factor_r(length, alphabet, readers):
    """No message at all and r fixed strings, of which the nearest is believed."""
    distance, cost = distances(length, alphabet), costs(length, alphabet, 0, lengths=1, ball=volume)
    best = [
        cost[distance[:, guesses].min(axis=1)] for guesses in product(range(len(distance)), repeat=readers)
    ]
    assert max(excess(readers * paid) for paid in best) <= 0
    assert (max(excess(unpaid) for unpaid in best) > 0) == (readers > 1)
