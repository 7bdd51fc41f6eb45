"""Number formats: rounding against exact rational arithmetic, and every bit pattern."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches.wire import formats

NARROW = ("float16", "bfloat16")


def every_number(name):
    """Return all finite numbers of a two-byte format, by their codes."""
    codes = np.arange(1 << 16, dtype="<u2")
    with np.errstate(invalid="ignore"):
        numbers = formats.decode(name, codes.tobytes())
    finite = np.isfinite(numbers)
    return codes[finite], numbers[finite]


TABLES = {name: every_number(name) for name in NARROW}


def is_nearest(name, given_number, rounded):
    """Say whether a number of a format is the nearest to a given one, of two equally near the one of even code."""
    codes, numbers = TABLES[name]
    order = np.argsort(numbers, kind="stable")
    codes, numbers = codes[order], numbers[order].astype(np.float64)
    place = np.searchsorted(numbers, given_number)
    candidates = range(max(place - 2, 0), min(place + 3, len(numbers)))
    distances = {i: abs(Fraction(float(numbers[i])) - Fraction(float(given_number))) for i in candidates}
    least = min(distances.values())
    nearest = {float(numbers[i]): int(codes[i]) for i in candidates if distances[i] == least}
    if len(nearest) == 1:
        return rounded in nearest
    return rounded in {number for number, code in nearest.items() if code % 2 == 0}


@pytest.mark.parametrize("name", NARROW)
def test_every_number_is_kept(name):
    codes, numbers = TABLES[name]
    assert formats.encode(name, numbers) == codes.tobytes()
    assert (
        formats.encode(name, formats.round_to(name, numbers.astype(np.float64), "numbers")) == codes.tobytes()
    )
    assert formats.encode(name, formats.round_to(name, numbers, "numbers")) == codes.tobytes()


@pytest.mark.parametrize("name", NARROW)
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_rounds_to_nearest(name, data):
    """Any number, and numbers at, just above and just below the middle between two neighbours."""
    numbers = np.unique(TABLES[name][1].astype(np.float64))
    if data.draw(st.booleans()):
        number = data.draw(st.floats(numbers[0], numbers[-1]))
    else:
        place = data.draw(st.integers(0, len(numbers) - 2))
        middle = numbers[place] / 2 + numbers[place + 1] / 2
        number = data.draw(
            st.sampled_from([middle, np.nextafter(middle, -np.inf), np.nextafter(middle, np.inf)])
        )
    rounded = formats.round_to(name, np.array([number]), "numbers")
    assert is_nearest(name, number, float(rounded[0]))
    single = np.array([number], np.float32)
    if np.abs(single[0]) <= numbers[-1]:
        assert is_nearest(name, float(single[0]), float(formats.round_to(name, single, "numbers")[0]))


def test_the_oracle_rejects_rounding_twice():
    """1 + 2^-8 + 2^-40 is above the middle of two bfloat16; by way of float32 it looks like a tie and goes down."""
    number = 1 + 2.0**-8 + 2.0**-40
    assert not is_nearest("bfloat16", number, 1.0)
    assert is_nearest("bfloat16", number, 1 + 2.0**-7)
    assert formats.round_to("bfloat16", np.array([number]), "numbers")[0] == 1 + 2.0**-7


@pytest.mark.parametrize(
    ("name", "number"),
    [("float16", 1e6), ("float16", 65520.0), ("bfloat16", 3.4e38), ("bfloat16", 1e39), ("float32", -1e39)],
)
def test_numbers_beyond_the_range(name, number):
    with pytest.raises(ValueError, match=f"values hold .* beyond the range of {name}"):
        formats.round_to(name, np.array([[0.0, number]]), "values")


@pytest.mark.parametrize("name", formats.FORMATS)
def test_bytes_are_as_many_as_promised(name):
    numbers = formats.round_to(name, np.linspace(-2, 2, 7), "numbers")
    data = formats.encode(name, numbers)
    assert len(data) == 7 * formats.item_bytes(name)
    assert np.array_equal(formats.decode(name, data), numbers)
    assert numbers.dtype == formats.compute_dtype(name)
