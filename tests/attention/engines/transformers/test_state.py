"""What a cache holds: counted once, back from bytes as it was, and refused when damaged."""

import struct
import zlib

import pytest

from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.engines.transformers.compressors import Compressor
from kvfloor.attention.engines.transformers.library import quiet
from kvfloor.attention.engines.transformers.state import (
    allocated_bits,
    from_bytes,
    load_state,
    state_of,
    tensors,
    to_bytes,
)

SPECS = (
    "transformers:DynamicCache", "transformers:StaticCache",
    "transformers:DynamicCache,sliding_window=8", "transformers:StaticCache,sliding_window=8",
    "transformers:QuantizedCache,backend=quanto,nbits=2", "transformers:QuantizedCache,backend=quanto,nbits=4",
    "transformers:QuantizedCache,backend=hqq,nbits=1", "transformers:QuantizedCache,backend=hqq,nbits=4",
)  # fmt: skip


def filled(torch, spec, dtype):
    """Return a compressor's cache after sixteen tokens, and a new one."""
    from transformers import MistralConfig

    compressor = Compressor.parse(spec)
    config = MistralConfig(num_hidden_layers=2, sliding_window=compressor.sliding_window)
    cache, fresh = (compressor.cache(config, 16) for _ in range(2))
    torch.manual_seed(0)
    with quiet():
        for layer in range(2):
            keys, values = torch.randn(2, 1, 3, 16, 64).to(dtype)
            cache.update(keys, values, layer, {"cache_position": torch.arange(16)})
    return cache, fresh


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_cache_comes_back_and_goes_on_as_it_was(torch, spec, dtype):
    kind = getattr(torch, dtype)
    cache, fresh = filled(torch, spec, kind)
    payload = to_bytes(state_of(cache))
    restored = load_state(fresh, from_bytes(payload))
    assert to_bytes(state_of(restored)) == payload
    held = sum(t.numel() * t.element_size() for t in tensors(state_of(cache)))
    assert held < len(payload) < held + 4000
    with quiet():
        new = torch.randn(1, 3, 1, 64).to(kind)
        for layer in range(2):
            place = {"cache_position": torch.tensor([15])}
            one, other = (c.update(new, new, layer, place) for c in (cache, restored))
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_storage_counts_once_and_whole(torch):
    whole = torch.zeros(10, 4)
    assert allocated_bits([whole]) == 8 * 160
    assert allocated_bits([whole, whole.view(4, 10), whole[:1]]) == 8 * 160
    assert allocated_bits({"a": whole[:1]}) == 8 * 160
    assert allocated_bits({"a": whole[:1].clone(), "b": (torch.zeros(2, dtype=torch.int64), None)}) == 8 * 32
    assert len(to_bytes([whole[:1]])) < 160


def test_scales_and_zero_points_are_counted(torch):
    cache, _ = filled(torch, "transformers:QuantizedCache,backend=quanto,nbits=2", torch.float32)
    numbers = 2 * 2 * 3 * 16 * 64
    # Groups of 64 numbers with a float32 scale and a float32 shift: one bit more a number.
    assert allocated_bits(state_of(cache)) == (2 + 1) * numbers


def test_nothing_is_left_out_silently(torch):
    cache, _ = filled(torch, "transformers:DynamicCache", torch.float32)
    cache.layers[0].extra = object()
    with pytest.raises(ValueError, match="holds a object, which this format does not know"):
        to_bytes(state_of(cache))


def test_every_kind_of_node_comes_back(torch):
    tree = {"a": [1, 2.5, "x", None, True], "b": (torch.float16, torch.device("cpu")), "c": torch.Size([2, 3]),
            "d": {"e": torch.arange(3), "f": torch.tensor([]), "g": torch.tensor(4)}}  # fmt: skip
    back = from_bytes(to_bytes(tree))
    assert back["a"] == tree["a"]
    assert back["b"] == tree["b"]
    assert isinstance(back["b"], tuple)
    assert isinstance(back["c"], torch.Size)
    assert [t.tolist() for t in back["d"].values()] == [[0, 1, 2], [], 4]


def framed(header, body=b""):
    """Return a payload with a right checksum."""
    data = struct.pack("<4sBI", b"KVFT", 1, len(header)) + header + body
    return data + struct.pack("<I", zlib.crc32(data))


@pytest.mark.parametrize(("payload", "sentence"), [
    (b"", "too short"),
    (b"x" * 40, "starts with"),
    (framed(b"[]")[:-1] + b"!", "checksum"),
    (framed(b"null", b"1234"), "4 bytes follow the last tensor"),
    (framed(b"{"), "no tree"),
    (framed(b'{"tensor":["float32",[2]]}', b"1234"), "does not fit"),
    (framed(b'{"tensor":["float32",[-1]]}'), "is no shape"),
    (framed(b'{"tensor":["Tensor",[1]]}'), "no dtype 'Tensor'"),
    (framed(b'{"quanto":["QTensor",{},{}]}'), "no tensor of kind 'QTensor'"),
    (framed(b'{"object":["os.system"]}'), "no node of kind 'object'"),
    (framed(b'{"list":[1],"tuple":[1]}'), "no tree"),
])  # fmt: skip
def test_a_wrong_payload_is_refused(torch, payload, sentence):
    with pytest.raises(WireError, match=sentence):
        from_bytes(payload)


def test_any_flipped_byte_is_seen(torch):
    payload = to_bytes({"keys": torch.arange(12.0)})
    for place in range(len(payload)):
        damaged = bytearray(payload)
        damaged[place] ^= 1
        with pytest.raises(WireError):
            from_bytes(bytes(damaged))
