"""Caches under public keys: exact packing, and covering codes over all of their blocks."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention import softmax_attention_reference
from kvfloor.attention.caches import Coins, WireError, resolve, wire
from kvfloor.attention.caches.public.bit_packing import BitPack
from kvfloor.attention.caches.public.covering_codes import Golay, Hamming, PerfectCode, Repetition

CODES = {Repetition: (3, 1, 1), Hamming: (7, 4, 1), Golay: (23, 12, 3)}
PUBLIC = ["bitpack", "repetition", "hamming", "golay"]


def filled(spec, keys, values, public=None):
    cache = resolve(spec).make(keys.shape[1], values.shape[1], Coins(0, keys if public is None else public))
    cache.append(keys, values)
    return cache


def tokens(count, value_dim, seed=0, alphabet=2, dim=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)), rng.integers(0, alphabet, (count, value_dim)).astype(float)


# Exact packing


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_packing_is_exact_and_costs_log_q_bits(count, value_dim, alphabet, seed):
    keys, values = tokens(count, value_dim, seed, alphabet)
    values = values / 7 - 1
    cache = filled("bitpack", keys, values)
    assert np.array_equal(cache._tokens()[1], values)
    assert np.array_equal(cache._tokens()[0], keys)
    found = len(np.unique(values))
    bits = max(1, math.ceil(math.log2(found)))
    overhead = len(cache.to_bytes()) - 8 * found - math.ceil(count * value_dim * bits / 8)
    assert 0 < overhead < 60


def test_one_bit_a_bit():
    keys, values = tokens(4096, 64)
    assert 4096 * 64 < 8 * len(filled("bitpack", keys, values).to_bytes()) < 4096 * 64 + 8 * 80


def test_alphabet_may_grow_later():
    keys, values = tokens(30, 4, alphabet=9)
    order = np.argsort(-values.max(axis=1), kind="stable")
    cache = BitPack(5, 4, Coins(0, keys))
    for row, place in enumerate(order):
        cache.append(keys[row : row + 1], values[place : place + 1])
    assert np.array_equal(cache._tokens()[1], values[order])


def test_negative_zero_is_zero():
    keys = np.eye(2)
    payloads = [filled("bitpack", keys, np.array([[zero], [1.0]])).to_bytes() for zero in (0.0, -0.0)]
    assert payloads[0] == payloads[1]


def test_time_sharing_keeps_the_first_values_and_guesses_the_rest():
    keys, values = tokens(40, 8)
    cache = filled("bitpack:kept_tokens=10", keys, values)
    cache.append(np.zeros((1, 5)), np.full((1, 8), 3.0))
    stands = cache._tokens()[1]
    assert np.array_equal(stands[:10], values[:10])
    assert (stands[10:40] == 0.5).all()
    assert (stands[40] == 3.0).all()
    assert len(cache.to_bytes()) < len(filled("bitpack", keys, values).to_bytes()) + 8 * 5 + 8 * 8 + 10 - 30


def test_too_many_distinct_values():
    keys = np.ones((2, 1))
    cache = BitPack(1, 40000, Coins(0, keys))
    cache.append(keys[:1], np.arange(40000.0)[None])
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="80000 distinct values, expected at most 65536"):
        cache.append(keys[:1], -1 - np.arange(40000.0)[None])
    assert cache.to_bytes() == before


# Public keys


@pytest.mark.parametrize("spec", PUBLIC)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tokens_without_public_keys_are_kept_whole(spec, dtype):
    keys, values = tokens(23, 3)
    keys, values = keys.astype(dtype), values.astype(dtype)
    public = keys.copy()
    keys[[0, 7, 22]] += 1
    cache = filled(spec, keys, values, public[:22])
    cache.append(np.zeros((1, 5)), np.full((1, 3), 0.25))
    plain = filled(spec, np.delete(keys, [0, 7, 22], axis=0), np.delete(values, [0, 7, 22], axis=0))
    expected_keys = np.vstack([plain._tokens()[0], keys[[0, 7, 22]], np.zeros((1, 5))])
    expected_values = np.vstack([plain._tokens()[1], values[[0, 7, 22]], np.full((1, 3), 0.25)])
    for one in (cache, type(cache).from_bytes(cache.to_bytes(), cache.coins)):
        assert np.array_equal(one._tokens()[0], expected_keys)
        assert np.array_equal(one._tokens()[1], expected_values)
        assert one._tokens()[0].dtype == dtype


@pytest.mark.parametrize("spec", PUBLIC)
def test_public_keys_are_free(spec):
    """The payload does not grow with the dimension of the keys."""
    sizes = [len(filled(spec, *tokens(50, 3, dim=dim)).to_bytes()) for dim in (4, 8)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("spec", PUBLIC)
def test_public_keys_are_needed(spec):
    with pytest.raises(ValueError, match=f"{spec} needs public keys"):
        resolve(spec).make(4, 4, Coins(0))
    with pytest.raises(ValueError, match=r"coins.keys have shape \(2, 3\)"):
        resolve(spec).make(4, 4, Coins(0, np.ones((2, 3))))


@pytest.mark.parametrize("spec", PUBLIC)
def test_other_coins_are_noticed(spec):
    """A payload that needs more public keys than there are is no state under these coins."""
    keys, values = tokens(10, 3)
    cache = filled(spec, keys, values)
    with pytest.raises(WireError, match="are not public"):
        type(cache).from_bytes(cache.to_bytes(), Coins(0, keys[:9]))


# Covering codes


def distances(code):
    """Return the distance of every block to the codeword that stands for it."""
    blocks = np.arange(1 << code.length, dtype=np.uint32)
    return np.bitwise_count(blocks ^ code.codewords(code.nearest(blocks)))


@pytest.mark.parametrize(("cls", "parameters"), CODES.items(), ids=lambda item: getattr(item, "name", ""))
def test_every_block_goes_to_the_nearest_codeword(cls, parameters):
    code, (length, message_bits, radius) = cls.code, parameters
    assert (code.length, code.message_bits) == (length, message_bits)
    codewords = code.codewords(np.arange(1 << message_bits, dtype=np.uint32))
    # Linear codes: the least distance between two codewords is the least weight of one.
    closed = set(codewords.tolist())
    assert all(a ^ b in closed for a, b in itertools.product(codewords[:64].tolist(), repeat=2))
    assert np.bitwise_count(codewords[1:]).min() == 2 * radius + 1
    # A codeword within the radius is the nearest, since any two are more than twice the radius apart.
    assert distances(code).max() == radius
    assert np.array_equal(code.nearest(codewords), np.arange(1 << message_bits))


@pytest.mark.parametrize(
    ("cls", "distortion"),
    [
        (Repetition, Fraction(1, 4)),
        (Hamming, Fraction(1, 8)),
        (Golay, Fraction(0 + 23 + 2 * 253 + 3 * 1771, 2048 * 23)),
    ],
)
def test_distortion_over_all_blocks(cls, distortion):
    found = distances(cls.code)
    assert Fraction(int(found.sum(dtype=np.int64)), len(found) * cls.code.length) == distortion


def test_codes_that_are_not_perfect_are_noticed():
    """With another polynomial as generator some blocks end up farther away than the radius."""
    assert distances(PerfectCode(7, 0b1111, 1)).max() > 1
    assert distances(PerfectCode(23, 0b1100_0111_0111, 3)).max() > 3


@pytest.mark.parametrize("cls", [Repetition, Hamming])
def test_all_blocks_through_a_cache(cls):
    """The stream of all blocks, in tokens that do not divide it, comes back with the distortion of the code."""
    length = cls.code.length
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=length))).reshape(-1)
    spare = -len(bits) % 5
    values = np.append(bits, np.ones(spare)).reshape(-1, 5)
    keys = np.random.default_rng(0).normal(size=(len(values), 2))
    cache = filled(cls.name, keys, values)
    stands = cache._tokens()[1].reshape(-1)
    wrong = np.count_nonzero(stands[: len(bits)] != bits)
    assert Fraction(wrong, len(bits)) == {3: Fraction(1, 4), 7: Fraction(1, 8)}[length]
    rest = (len(bits) + spare) % length
    assert (stands[len(stands) - rest :] == 1).all()
    blocks = (len(bits) + spare) // length
    empty = len(cls(2, 5, cache.coins).to_bytes()) + len(str(len(values))) - 1
    code_bytes = math.ceil(blocks * cls.code.message_bits / 8) + math.ceil(rest / 8)
    assert len(cache.to_bytes()) == empty + code_bytes


def test_golay_is_below_time_sharing():
    """At 12/23 bit per bit the code errs less than keeping 12/23 of the bits would: theory 1."""
    keys, values = tokens(2300, 10)
    cache = filled("golay", keys, values)
    wrong = np.count_nonzero(cache._tokens()[1] != values) / values.size
    rate = 8 * len(cache.to_bytes()) / values.size
    assert wrong < 0.14 < (1 - rate) / 2
    assert rate < 12 / 23 + 8 * 60 / values.size


@pytest.mark.parametrize("spec", ["repetition", "hamming", "golay"])
def test_values_must_be_bits(spec):
    keys, values = tokens(4, 3)
    cache = filled(spec, keys[:3], values[:3], keys)
    before = cache.to_bytes()
    with pytest.raises(ValueError, match=r"met the value 0.5, expected only 0 and 1"):
        cache.append(keys[3:], np.array([[0, 1, 0.5]]))
    assert cache.to_bytes() == before


@pytest.mark.parametrize("spec", PUBLIC)
def test_answers_are_attention_over_what_stands_for_the_stream(spec):
    keys, values = tokens(30, 3)
    cache = filled(spec, keys, values)
    queries = 3 * keys[:7]
    stands = softmax_attention_reference(queries, *cache._tokens())
    assert (
        np.abs(cache.attend(queries) - stands).max() < 1e-12
    )  # a few hundred float64 roundings of numbers below 1


# States that no cache can have


def forged(counts, arrays, public, parameters=(None,)):
    """Return a well-formed payload of bitpack with these counts and arrays, whatever they mean."""
    writer = BitPack(1, 1, Coins(0, public))
    return wire.write(wire.Header("bitpack", parameters, (1, 1, *counts)), writer._layout(*counts), arrays)


@pytest.mark.parametrize(
    ("counts", "positions", "keys", "alphabet", "codes", "message"),
    [
        ((4, 2, 2), [1, 3], [5, 5], [0, 1], [0, 1], None),
        ((4, 2, 2), [3, 1], [5, 5], [0, 1], [0, 1], "do not increase"),
        ((4, 2, 2), [3, 3], [5, 5], [0, 1], [0, 1], "do not increase"),
        ((4, 2, 2), [0, 1], [5, 5], [0, 1], [0, 1], "neither a public key nor one of its own"),
        ((4, 2, 2), [1, 3], [2, 5], [0, 1], [0, 1], "equals its public key"),
        ((4, 2, 2), [1, 3], [5, 5], [1, 0], [0, 1], "not in order"),
        ((4, 2, 2), [1, 3], [5, 5], [-0.0, 1], [0, 1], "not in order"),
        ((4, 2, 2), [1, 3], [5, 5], [0, 1], [1, 1], "not those of the alphabet"),
        ((4, 2, 1), [1, 3], [5, 5], [0], [0, 1], "not those of the alphabet"),
    ],
)
def test_forged_states(counts, positions, keys, alphabet, codes, message):
    public = np.array([[1.0], [2.0], [3.0]])
    columns = [np.array(part, float)[:, None] for part in (keys, np.ones(counts[1]))]
    arrays = [np.array(positions), *columns, np.array(alphabet, float), np.array(codes)[:, None]]
    payload = forged(counts, arrays, public)
    if message is None:
        assert BitPack.from_bytes(payload, Coins(0, public)).to_bytes() == payload
    else:
        with pytest.raises(WireError, match=message):
            BitPack.from_bytes(payload, Coins(0, public))


@pytest.mark.parametrize("counts", [(4, 0, 1), (4, 5, 1), (2, 0, 3), (2, 0, 0), (2, 2, 1)])
def test_counts_that_contradict_each_other(counts):
    cache = BitPack(1, 1, Coins(0, np.array([[1.0], [2.0], [3.0]])))
    with pytest.raises(WireError):
        cache._layout(*counts)
