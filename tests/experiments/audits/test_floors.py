"""Explicit floors: against the theorems, and against a float16 cache."""

import math

import pytest

from kvfloor.experiments.audits.floors import floors
from kvfloor.experiments.audits.models import MODELS
from kvfloor.reductions.atlas.graph import floor_bits, floors_of
from kvfloor.reductions.atlas.nodes import TRANSFORMER
from kvfloor.reductions.atlas.reduction import Shape
from kvfloor.reductions.encodings.values import required_query_norm


def bits(**arguments):
    """Return the bounds by name."""
    return {bound.name: bound for bound in floors(**arguments).bounds}


def below(found, expected):
    """Return whether whole bits are what is expected, rounded down: Theorem A leaves out a fraction of a bit."""
    return isinstance(found, int) and expected - 1 <= found < expected


def test_theorem_b_gives_a_bit_a_value():
    found = bits(tokens=4096, dim=64)
    assert below(found["values"].bits, 4096 * 64 - 104)
    assert below(found["keys and values"].bits, 4096 * (31 + 64) - 104)


def test_the_query_norm_is_the_guaranteed_one():
    assert bits(tokens=4096, dim=64, eta=0.5)["values"].query_norm > required_query_norm(4096, 0.5, 0.5)


def test_accuracy_has_its_price():
    found = [bits(tokens=1024, dim=64, eta=eta)["values, precision"].bits for eta in (0.5, 0.1, 0.01, 0.001)]
    assert found == sorted(found)
    # theory 3 gives 3.70, 6.11, 9.43 and 12.75 bits a value; here kappa is smaller still.
    assert [b / (1024 * 64) for b in found] == pytest.approx([3.70, 6.11, 9.43, 12.75], abs=0.02)


def test_floors_are_those_of_the_atlas():
    shape = Shape(4096, 64, 64, eta=0.1)
    found = bits(tokens=4096, dim=64, eta=0.1)
    assert max(bound.bits for bound in found.values()) == math.floor(floor_bits(TRANSFORMER, shape))
    assert [bound.bits for bound in found.values()] == [
        math.floor(f.bits) for f in floors_of(TRANSFORMER, shape)
    ]
    assert "Theorem B" in found["values"].reason


def test_few_keys_need_no_sharp_queries():
    # The orthoplex has 16 keys of incoherence 0 in d = 8, E8 has 240 of 1/2, whatever the stream.
    found = bits(tokens=100_000, dim=8)
    assert below(found["values, orthoplex keys"].bits, 16 * 8 - 104)
    assert below(found["values, kissing keys"].bits, 240 * 8 - 104)
    norms = [found[name].query_norm for name in ("values, orthoplex keys", "values, kissing keys", "values")]
    assert norms == sorted(norms)


def test_where_a_reduction_does_not_apply_there_is_no_line():
    # Addresses of one dimension coincide: no bits in the keys.
    found = bits(tokens=4096, dim=3)
    assert "keys" not in found
    assert all(math.isfinite(bound.query_norm) for bound in found.values())


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_a_model_is_the_sum_of_its_heads(model):
    found = floors(tokens=1000, model=model.name.upper())
    assert found.full_cache_bits == 2 * 16 * 1000 * model.layers * model.kv_heads * model.head_dim
    assert below(found.bounds[0].bits, found.full_cache_bits / 32 - 104)


@pytest.mark.parametrize("sizes", [
    {"tokens": 1}, {"tokens": 10**400}, {"tokens": 2**53 + 1}, {"tokens": 2, "dim": 2}, {"tokens": 2, "dim": 10**400},
])  # fmt: skip
def test_sizes_that_no_stream_has_are_told(sizes):
    with pytest.raises(ValueError, match=r"must be in \d..2\^53; got (over 2\^13\d\d|\d+)$"):
        floors(**sizes)


def test_the_longest_stream_has_finite_floors():
    assert all(bound.bits < 1 << 130 for bound in floors(tokens=1 << 53, dim=1 << 53).bounds)


def test_llama_takes_the_gigabytes_it_is_known_for():
    # 128 KiB a token in float16: 32 layers, 8 KV heads, 128 channels, keys and values, 2 bytes.
    assert floors(tokens=2, model="llama-3.1-8b").full_cache_bits == 2 * 8 * 128 * 1024


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"tokens": 9, "eta": 1.0}, "eta"),
    ({"tokens": 9, "eta": -0.1}, "eta"),
    ({"tokens": 9, "eta": float("nan")}, "eta"),
    ({"tokens": 9, "model": "llama-3-8b"}, "llama-3.1-8b"),
    ({"tokens": 9, "model": "?"}, "gpt2"),
    ({"tokens": 9, "model": "gpt2", "dim": 64}, "not both"),
])  # fmt: skip
def test_wrong_input_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        floors(**arguments)
