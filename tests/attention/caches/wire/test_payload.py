"""The byte format: packing against arithmetic on big integers, and each thing that can be wrong with a payload."""

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches import wire
from kvfloor.attention.caches.wire import Codes, Floats, WireError

FIELDS = (Floats("numbers", (2, 3), "float32"), Codes("codes", (5,), 6))
ARRAYS = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([5, 0, 3, 1, 4]))
PAYLOAD = wire.write(wire.Header("example", ("word", 1, 2.5, None), (2, 3, 5)), FIELDS, ARRAYS)


def framed(header, body=b"", *, magic=b"KVFL", version=1, length=None):
    data = struct.pack("<4sBH", magic, version, len(header) if length is None else length) + header + body
    return data + struct.pack("<I", zlib.crc32(data))


def spelt(*entries):
    return json.dumps(entries, separators=(",", ":")).encode()


def test_what_is_written_is_read():
    header, body = wire.read(PAYLOAD)
    assert header == wire.Header("example", ("word", 1, 2.5, None), (2, 3, 5))
    for found, array in zip(wire.read_arrays(body, FIELDS), ARRAYS, strict=True):
        assert np.array_equal(found, array)


def test_layout_of_bytes():
    header = b'["example",["word",1,2.5,null],[2,3,5]]'
    # 101 000 011 001 100, and a zero bit to fill the byte
    body = np.arange(6, dtype="<f4").tobytes() + bytes([0b10100001, 0b10011000])
    assert framed(header, body) == PAYLOAD


@given(
    st.integers(1, 48).flatmap(lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1))))
)
@settings(max_examples=200, deadline=None)
def test_packing_is_positional_notation(bits_and_codes):
    bits, codes = bits_and_codes
    field = Codes("codes", (len(codes),), 1 << bits)
    data = field.encode(np.array(codes, np.uint64))
    number = 0
    for code in codes:
        number = number << bits | code
    spare = -len(codes) * bits % 8
    assert data == (number << spare).to_bytes((len(codes) * bits + 7) // 8, "big")
    assert field.wire_bytes == len(data)
    assert field.decode(memoryview(data)).tolist() == codes


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8, 12, 16])
def test_packing_many_codes(bits):
    """More codes than are handled at a time."""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, size=(1 << 16) + 13)
    field = Codes("codes", codes.shape, 1 << bits)
    assert np.array_equal(field.decode(memoryview(field.encode(codes))), codes)


@pytest.mark.parametrize(
    ("limit", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (65536, 16), (65537, 17)]
)
def test_bits_for(limit, bits):
    assert wire.bits_for(limit) == bits


def test_a_single_code_takes_no_bytes():
    field = Codes("codes", (9,), 1)
    assert field.encode(np.zeros(9, int)) == b""
    assert field.decode(memoryview(b"")).tolist() == [0] * 9


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("text", "is bytes, not str"),
        (bytearray(PAYLOAD), "is bytes, not bytearray"),
        (b"", "0 bytes is too short"),
        (b"KVFL\x01\x00", "too short"),
        (framed(spelt("a", [], []), magic=b"PK\x03\x04"), "starts with"),
        (framed(spelt("a", [], []), version=2), "version 2, expected 1"),
        (PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 1]), "checksum"),
        (PAYLOAD[:40], "checksum"),
        (PAYLOAD + b"\0", "checksum"),
        (framed(spelt("a", [], []), length=60000), "header of 60000 bytes does not fit"),
        (framed(b"[" * 1000), "not JSON"),
        (framed(b" " * 1100), "does not fit"),
        (framed(b""), "not JSON"),
        (framed(b"\xff\xfe"), "not JSON"),
        (framed(b'["a",[NaN],[]]'), "not JSON"),
        (framed(b'["a",[1e999],[]]'), "not JSON"),
        (framed(b'["a",[' + b"9" * 1000 + b".0],[]]"), "not JSON"),
        (framed(b'["a", [], []]'), "as this format spells it"),
        (framed(b'["a",[1.0e1],[]]'), "as this format spells it"),
        (framed(b'{"a":1,"a":1}'), "as this format spells it"),
        (framed(spelt("a", [])), "as this format spells it"),
        (framed(spelt(1, [], [])), "as this format spells it"),
        (framed(spelt("a", {}, [])), "as this format spells it"),
        (framed(spelt("a", [True], [])), "parameter that is not"),
        (framed(spelt("a", [[1]], [])), "parameter that is not"),
        (framed(spelt("a", [{"b": 1}], [])), "parameter that is not"),
        (framed(spelt("a", [], [True])), "count that is not"),
        (framed(spelt("a", [], [1.0])), "count that is not"),
        (framed(spelt("a", [], [-1])), "count that is not"),
        (framed(spelt("a", [], [2**48 + 1])), "count that is not"),
        (framed(spelt("a", [], [10**900])), "count that is not"),
        (framed(spelt("a", [], ["1"])), "count that is not"),
    ],
)
def test_what_read_rejects(payload, message):
    with pytest.raises(WireError, match=message):
        wire.read(payload)


@pytest.mark.parametrize(
    ("field", "data", "message"),
    [
        (Floats("numbers", (2,), "float32"), b"\0" * 7, "asks for 8 bytes of arrays, but there are 7"),
        (Floats("numbers", (2,), "float32"), b"\0" * 9, "asks for 8 bytes of arrays, but there are 9"),
        (Floats("numbers", (1 << 40, 1 << 40), "float64"), b"", "asks for"),
        (Floats("numbers", (1,), "float32"), struct.pack("<f", float("nan")), "numbers hold a number"),
        (
            Floats("numbers", (1,), "float32"),
            bytes.fromhex("010080 7f"),
            "numbers hold a number",
        ),  # signalling NaN
        (Floats("numbers", (1,), "float16"), struct.pack("<e", float("inf")), "numbers hold a number"),
        (Floats("numbers", (1,), "bfloat16"), b"\x80\xff", "numbers hold a number"),
        (Floats("numbers", (1,), "float64"), struct.pack("<d", 1e101), "numbers hold a number"),
        (Floats("numbers", (1,), "float64", low=0.0), struct.pack("<d", -1.0), "numbers hold a number"),
        (Codes("codes", (2,), 6), bytes([0b11000000]), "codes hold 6, but the largest allowed is 5"),
        (Codes("codes", (2,), 6), bytes([0b10100001]), "codes end in bits that are not zero"),
        (Codes("codes", (1,), 200), bytes([200]), "codes hold 200"),
    ],
)
def test_what_read_arrays_rejects(field, data, message):
    with pytest.raises(WireError, match=message):
        wire.read_arrays(memoryview(data), [field])


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data):
    for payload in (data, framed(data), framed(b'["a",[],' + data)):
        try:
            _, body = wire.read(payload)
        except WireError:
            continue
        assert len(body) < len(payload)
