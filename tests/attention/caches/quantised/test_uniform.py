"""KIVI: against a plain loop, the error of every number, and the bits that are counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.quantised.uniform import Uniform

COINS = Coins(0)


def made(bits, group_size, key_axis, value_axis, keys, values):
    cache = Uniform(
        keys.shape[1],
        values.shape[1],
        COINS,
        bits=bits,
        group_size=group_size,
        key_axis=key_axis,
        value_axis=value_axis,
    )
    cache.append(keys, values)
    return cache


def quantised_by_loops(matrix, bits, group_size, axis):
    """Return what stands for a matrix, and how far each entry may be off; one group at a time."""
    if axis == "channel":
        found, error = quantised_by_loops_of_rows(matrix.T, bits, group_size, keep_last=True)
        return found.T, error.T
    return quantised_by_loops_of_rows(matrix, bits, group_size, keep_last=False)


def quantised_by_loops_of_rows(matrix, bits, group_size, *, keep_last):
    found = matrix.astype(np.float16).astype(np.float64)
    error = np.zeros_like(found)
    levels = 2**bits
    for row in range(len(found)):
        for start in range(0, found.shape[1], group_size):
            group = found[row, start : start + group_size]
            if keep_last and len(group) < group_size:
                continue
            zero = group.min()
            exact = (group.max() - zero) / (levels - 1)
            scale = float(np.float16(exact))
            # Half a step; what the code at the end lacks because the scale was rounded; and a few float32 operations
            # on numbers up to the range of the group (the nearest code may be missed by a rounding error only).
            error[row, start : start + group_size] = (
                scale / 2
                + (levels - 1) * abs(scale - exact)
                + 2**-21 * (abs(zero) + levels * (scale + exact))
            )
            codes = [min(round((x - zero) / scale), levels - 1) if scale else 0 for x in group]
            found[row, start : start + group_size] = [zero + code * scale for code in codes]
    return found, error


@st.composite
def settings_and_matrices(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tokens, dim, value_dim = (draw(st.integers(1, 12)) for _ in range(3))
    size = draw(st.sampled_from([0.0, 1e-7, 1e-3, 1.0, 1e3]))
    offset = draw(st.sampled_from([0.0, 1.0, 1e3]))
    keys = rng.normal(size=(tokens, dim)) * size + offset
    values = rng.integers(0, 2, (tokens, value_dim)) * size
    axes = st.sampled_from(["channel", "token"])
    return draw(st.integers(1, 8)), draw(st.integers(1, 13)), draw(axes), draw(axes), keys, values


@given(settings_and_matrices())
@settings(max_examples=200, deadline=None)
def test_agrees_with_loops_and_errs_by_half_a_step(case):
    bits, group_size, key_axis, value_axis, keys, values = case
    found = made(*case)._tokens()
    for matrix, axis, stands in ((keys, key_axis, found[0]), (values, value_axis, found[1])):
        rounded = matrix.astype(np.float16).astype(np.float64)
        loops, error = quantised_by_loops(matrix, bits, group_size, axis)
        assert (np.abs(stands - rounded) <= error).all()
        # The loops agree, but for numbers half way between two codes, which float32 may see on either side.
        assert (np.abs(stands - loops) <= 2 * error).all()


def test_the_bound_can_fail():
    """One bit fewer does not keep the bound of the bits it claims."""
    keys = np.random.default_rng(0).normal(size=(32, 4))
    _, error = quantised_by_loops(keys, 4, 8, "channel")
    found = made(3, 8, "channel", "token", keys, keys)._tokens()[0]
    assert not (np.abs(found - keys.astype(np.float16)) <= error).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_on_the_wire(bits):
    tokens, dim, value_dim, size = 70, 64, 48, 32
    rng = np.random.default_rng(0)
    cache = made(
        bits, size, "channel", "token", rng.normal(size=(tokens, dim)), rng.normal(size=(tokens, value_dim))
    )
    empty = Uniform(dim, value_dim, COINS, bits=bits, group_size=size)
    key_bits = (
        64 * dim * bits + 2 * dim * 32 + 6 * dim * 16
    )  # two groups of tokens a channel, six tokens left over
    value_bits = tokens * value_dim * bits + tokens * 2 * 32  # the second group of channels has 16
    codes_fill_bytes = 64 * dim * bits % 8 == 0 and tokens * value_dim * bits % 8 == 0
    assert codes_fill_bytes
    header = len(empty.to_bytes()) + 1  # "70" is a digit longer than "0"
    assert 8 * (len(cache.to_bytes()) - header) == key_bits + value_bits


def test_two_levels_per_group_are_exact():
    """Binary values survive one bit: minimum and maximum are codes themselves."""
    values = np.random.default_rng(0).integers(0, 2, (40, 16)).astype(float)
    cache = made(1, 8, "channel", "token", np.ones((40, 2)), values)
    assert np.array_equal(cache._tokens()[1], values)


def test_each_side_can_have_bits_of_its_own():
    """One side in float16, the other as it would be alone; the wire counts each side's own bits."""
    rng = np.random.default_rng(0)
    keys, values = rng.normal(size=(64, 8)), rng.normal(size=(64, 16))
    caches = {}
    for parameters in ("bits=3", "bits=16", "key_bits=3,value_bits=16", "bits=16,value_bits=3"):
        caches[parameters] = resolve(f"uniform:{parameters}").make(8, 16, COINS)
        caches[parameters].append(keys, values)
    tokens = {name: cache._tokens() for name, cache in caches.items()}
    assert np.array_equal(tokens["bits=16"][0], keys.astype(np.float16))
    assert np.array_equal(tokens["bits=16"][1], values.astype(np.float16))
    for mixed, key_side, value_side in (
        ("key_bits=3,value_bits=16", "bits=3", "bits=16"),
        ("bits=16,value_bits=3", "bits=16", "bits=3"),
    ):
        assert np.array_equal(tokens[mixed][0], tokens[key_side][0])
        assert np.array_equal(tokens[mixed][1], tokens[value_side][1])
    wire = {name: cache.to_bytes() for name, cache in caches.items()}
    sides = len(wire["bits=3"]) + len(wire["bits=16"])
    mixed = len(wire["key_bits=3,value_bits=16"]) + len(wire["bits=16,value_bits=3"])
    # The headers differ by "null" and the digits of a few numbers.
    assert abs(sides - mixed) <= 20


def test_last_tokens_are_kept_in_float16():
    keys = np.random.default_rng(0).normal(size=(37, 3)).astype(np.float16)
    cache = made(1, 32, "channel", "token", keys, keys)
    assert np.array_equal(cache._tokens()[0][32:], keys[32:])
    assert not np.array_equal(cache._tokens()[0][:32], keys[:32])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("uniform:bits=0", "bits is 0, expected an integer from 1 to 8"),
        ("uniform:bits=9", "bits is 9, expected an integer from 1 to 8, or 16 for float16"),
        ("uniform:key_bits=0", "key_bits is 0, expected an integer from 1 to 8, or 16"),
        ("uniform:value_bits=12", "value_bits is 12"),
        ("uniform:group_size=0", "group_size is 0"),
        ("uniform:key_axis=row", "key_axis is 'row', expected one of channel, token"),
        ("uniform:value_axis=", "value_axis is ''"),
    ],
)
def test_wrong_parameters(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(spec).make(4, 4, COINS)


def test_what_does_not_fit_is_rejected_and_changes_nothing():
    cache = made(1, 4, "channel", "token", np.ones((3, 2)), np.ones((3, 2)))
    before = cache.to_bytes()
    with pytest.raises(ValueError, match="keys hold 100000, beyond the range of float16"):
        cache.append(np.full((1, 2), 1e5), np.ones((1, 2)))
    with pytest.raises(ValueError, match="scales of values"):
        cache.append(np.ones((1, 2)), np.array([[-6e4, 6e4]]))
    assert cache.to_bytes() == before
