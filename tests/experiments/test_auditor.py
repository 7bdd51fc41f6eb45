"""Audits: where known caches must stand, for every side and alphabet."""

import numpy as np
import pytest

import experiments
from attention.caches import CACHES
from experiments.auditor import Audit

SMALL = {"tokens": 256, "dim": 32, "seed": 7}


def test_an_honest_full_cache():
    found = experiments.audit("dense:dtype=float32", **SMALL)
    assert isinstance(found, Audit)
    assert (found.errors, found.accuracy, found.verdict) == (0, 1.0, "consistent")
    assert found.asked == found.capacity_bits == found.frontier_bits == 256 * 32
    assert found.certified_bits == pytest.approx(256 * 32 - 104 - np.log2(3))  # three readers
    assert 0 <= found.wire_bits - 2 * found.full_cache_bits < 2000
    assert found.significance_log2 == -40


def test_packing_stands_at_one_bit_per_bit():
    found = experiments.audit("bitpack", **SMALL)
    assert found.errors == 0
    assert found.certified_bits < found.wire_bits < found.capacity_bits + 2000


def test_a_cheat_is_impossible():
    found = experiments.audit("experiments.cheats:FixedFile", **SMALL)
    assert (found.errors, found.verdict) == (0, "impossible")
    assert found.wire_bits <= found.certified_bits


@pytest.mark.parametrize("sides", ["keys", "both"])
def test_keys_can_hold_the_bits(sides):
    found = experiments.audit("dense:dtype=float32", sides=sides, **SMALL)
    assert found.errors == 0
    assert found.capacity_bits == 256 * (15 + (32 if sides == "both" else 0))
    dropped = experiments.audit("window:kept_tokens=128", sides=sides, **SMALL)
    assert dropped.errors > 0.2 * found.capacity_bits


@pytest.mark.parametrize("levels", [3, 16, 5000])
def test_values_can_have_many_levels(levels):
    found = experiments.audit("bitpack", tokens=128, dim=32, value_dim=8, levels=levels, seed=1)
    assert found.errors == 0
    assert found.alphabet == levels
    assert found.capacity_bits == pytest.approx(128 * 8 * np.log2(levels))


def test_many_tokens_are_sampled():
    found = experiments.audit("bitpack", tokens=8193, dim=32, value_dim=2, seed=1)
    assert found.asked == 4096
    assert 0 < found.certified_bits < found.capacity_bits
    assert found.verdict == "consistent"


def test_a_factory_is_found_under_its_name():
    by_name = experiments.audit("dense", **SMALL)
    by_factory = experiments.audit(CACHES["dense"].factory, **SMALL)
    assert by_factory.cache == "attention.caches.dense:Dense"
    assert by_factory.wire_bits == by_name.wire_bits


def test_the_seed_repeats_an_audit_and_none_is_a_new_one():
    fields = ("errors", "wire_bits", "accuracy", "certified_bits")

    def shown(seed):
        found = experiments.audit("window:kept_tokens=64", tokens=256, dim=32, seed=seed)
        return [getattr(found, field) for field in fields], found.seed

    assert shown(5) == shown(5)
    assert shown(None)[1] != shown(None)[1]


@pytest.mark.parametrize(("arguments", "sentence"), [
    ({"cache": "densse"}, "did you mean 'dense'"),
    ({"cache": "uniform:bits=9"}, "bits"),
    ({"cache": "golay", "levels": 4}, "golay"),
    ({"cache": "bitpack", "sides": "keys"}, "public keys"),
    ({"cache": "dense", "sides": "neither"}, "neither"),
    ({"cache": "dense", "sides": "keys", "levels": 3}, "2 levels; got 3"),
    ({"cache": lambda dim, value_dim, coins: None}, "importable"),
    ({"cache": "dense", "tokens": 0}, "0"),
    ({"cache": "dense", "dim": 0}, "0"),
    ({"cache": "dense", "levels": 1}, "1"),
    ({"cache": "window:kept_tokens=0"}, "kept_tokens"),
])  # fmt: skip
def test_wrong_input_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        experiments.audit(arguments.pop("cache"), **{"tokens": 64, "dim": 16, **arguments})
    assert "\n" not in str(caught.value)
