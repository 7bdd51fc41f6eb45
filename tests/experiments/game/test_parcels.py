"""Parcels: whole when we write them, and never more than an error when anybody else does."""

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kvfloor.experiments.game.parcels import MAGIC, TYPES, Parcel, ParcelError, nameless

FUZZED = 300_000 if os.environ.get("KVFLOOR_THOROUGH") else 3_000
arrays = hnp.arrays(
    st.sampled_from(sorted(TYPES)), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)
facts = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3)


def through(parcel, *, mapped=False):
    """Return a parcel written to a file and read again."""
    with nameless() as file:
        parcel.write(file)
        return Parcel.read(file, sys.maxsize, mapped=mapped)


def read(content, at_most=1 << 20):
    """Return the parcel that bytes hold."""
    with nameless() as file:
        file.write(content)
        file.flush()
        return Parcel.read(file, at_most)


@given(facts, st.dictionaries(st.text(), arrays, max_size=3), st.binary(max_size=50), st.booleans())
def test_a_parcel_comes_back_whole(facts, arrays, payload, mapped):
    back = through(Parcel(facts, arrays, payload), mapped=mapped)
    assert (back.facts, back.payload, back.arrays.keys()) == (facts, payload, arrays.keys())
    for name, array in arrays.items():
        assert (back.arrays[name].dtype, back.arrays[name].shape) == (array.dtype, array.shape)
        assert back.arrays[name].tobytes() == array.tobytes()


def test_other_orders_of_bytes_and_rows_are_the_same_numbers():
    given = {"big": np.arange(6, dtype=">f4").reshape(2, 3), "turned": np.arange(6.0).reshape(2, 3).T}
    back = through(Parcel(arrays=given))
    for name, array in given.items():
        np.testing.assert_array_equal(back.arrays[name], array)


@pytest.mark.parametrize("array", [
    np.array([1j]), np.array(["x"]), np.array([object()]), np.array(["2026-01-01"], "M8[D]"), np.array([b"x"]),
    np.zeros(2, [("a", float)]),
])  # fmt: skip
def test_what_is_no_number_is_not_written(array):
    with pytest.raises(ParcelError, match="expected numbers"):
        through(Parcel(arrays={"a": array}))


def parcel_of(header, rest=b""):
    """Return bytes with some text in the place of the header."""
    return MAGIC + len(header).to_bytes(8, "little") + header + rest


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "nothing"),
    (b"x", "1 bytes, too few"),
    (b"x" * 100, "bytes that are no parcel"),
    (MAGIC + b"\xff" * 8, "bytes that are no parcel"),
    (parcel_of(b"[" * 100_000), r"RecursionError|JSONDecodeError"),
    (parcel_of(b"{}"), "no parcel"),
    (parcel_of(b'[[], [], 0]'), "no parcel"),
    (parcel_of(b'[{}, [], 1]'), "no parcel"),
    (parcel_of(b'[{}, [], 0]', b"x"), "no parcel"),
    (parcel_of(b'[{}, [["a", "<c16", [1]]], 0]', b"x" * 200), "an array of '<c16'"),
    (parcel_of(b'[{}, [["a", "<M8[s]", [1]]], 0]', b"x" * 200), "an array of"),
    (parcel_of(b'[{}, [["a", "|O", [1]]], 0]', b"x" * 200), "an array of"),
    (parcel_of(b'[{}, [["a", "<f8", [-1]]], 0]', b"x" * 200), "an array of"),
    (parcel_of(b'[{}, [["a", "<f8", [1.5]]], 0]', b"x" * 200), "an array of"),
    (parcel_of(b'[{}, [["a", "<f8", [true]]], 0]', b"x" * 200), "an array of"),
    (parcel_of(b'[{}, [["a", "<f8", [4000000000, 4000000000, 4000000000]]], 0]'), "too few bytes"),
    (parcel_of(b'[{}, [["a", "<f8", 3]], 0]'), "TypeError"),
    (parcel_of(b'[{}, [["a", ["<f8"], [1]]], 0]'), "TypeError"),
    (parcel_of(b'[{}, [["a", "<f8"]], 0]'), "ValueError"),
    (parcel_of(b'[{}, [], "0"]'), "no parcel"),
    (parcel_of(b"\xff\xfe"), "no parcel"),
    (b"x" * ((1 << 20) + 1), "1,048,577 bytes, expected at most 1,048,576"),
])  # fmt: skip
def test_what_is_no_parcel_is_one_sentence(content, sentence):
    with pytest.raises(ParcelError, match=sentence) as told:
        read(content)
    assert len(str(told.value)) < 200


def test_a_file_with_a_hole_is_as_large_as_it_says():
    with nameless() as file:
        os.ftruncate(file.fileno(), 1 << 40)
        with pytest.raises(ParcelError, match="1,099,511,627,776 bytes, expected at most 1,000"):
            Parcel.read(file, 1000)


def test_fuzzed_bytes_are_a_parcel_or_one_sentence():
    rng = random.Random(0)
    with nameless() as file:
        arrays = {"a": np.arange(12.0).reshape(3, 4), "b": np.zeros((0, 2), np.float32)}
        Parcel({"x": [1, None]}, arrays, b"payload").write(file)
        file.seek(0)
        whole = file.read()
        refused = 0
        for _ in range(FUZZED):
            content = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(content))
                match rng.randrange(4):
                    case 0:
                        content[place] = rng.randrange(256)
                    case 1:
                        del content[place : place + rng.randint(1, 8)]
                    case 2:
                        content[place:place] = rng.randbytes(rng.randint(1, 8))
                    case 3:
                        content[place] ^= 1 << rng.randrange(8)
                if not content:
                    break
            file.seek(0)
            file.truncate()
            file.write(content)
            file.flush()
            try:
                Parcel.read(file, 1 << 16)
            except ParcelError:
                refused += 1
        assert refused > FUZZED // 3
