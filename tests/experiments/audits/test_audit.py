"""Audits: where known caches must stand, for every side and alphabet."""

import math

import numpy as np
import pytest

import kvfloor
from kvfloor.attention.caches import CACHES
from kvfloor.experiments.audits.record import Audit

SMALL = {"tokens": 256, "dim": 32, "seed": 7}


def test_an_honest_full_cache():
    found = kvfloor.audit("dense:dtype=float32", **SMALL)
    assert isinstance(found, Audit)
    assert (found.errors, found.accuracy, found.verdict) == (0, 1.0, "consistent")
    assert found.asked == found.capacity_bits == found.frontier_bits == 256 * 32
    assert found.certified_bits == math.floor(256 * 32 - 104 - np.log2(3))  # three readers, rounded down
    assert 0 <= found.wire_bits - 2 * found.full_cache_bits < 2000
    assert found.significance_log2 == -40


def test_packing_stands_at_one_bit_per_bit():
    found = kvfloor.audit("bitpack", **SMALL)
    assert found.errors == 0
    assert found.certified_bits < found.wire_bits < found.capacity_bits + 2000


def test_a_cheat_is_impossible():
    found = kvfloor.audit("kvfloor.experiments.game.cheats:FixedFile", **SMALL)
    assert (found.errors, found.verdict) == (0, "impossible")
    assert found.wire_bits <= found.certified_bits


@pytest.mark.parametrize("sides", ["keys", "both"])
def test_keys_can_hold_the_bits(sides):
    found = kvfloor.audit("dense:dtype=float32", sides=sides, **SMALL)
    assert found.errors == 0
    assert found.capacity_bits == 256 * (15 + (32 if sides == "both" else 0))
    dropped = kvfloor.audit("window:kept_tokens=128", sides=sides, **SMALL)
    assert dropped.errors > 0.2 * found.capacity_bits


@pytest.mark.parametrize("levels", [3, 16, 5000])
def test_values_can_have_many_levels(levels):
    found = kvfloor.audit("bitpack", tokens=128, dim=32, value_dim=8, levels=levels, seed=1)
    assert found.errors == 0
    assert found.alphabet == levels
    assert found.capacity_bits == pytest.approx(128 * 8 * np.log2(levels))


@pytest.mark.parametrize(("model", "tokens", "hidden"), [
    ("tensor4", 64, 2 * 64), ("tensor2", 16, 256), ("visual", 85, 1 + 4 + 16 + 64),
])  # fmt: skip
def test_every_model_hides_its_bits(model, tokens, hidden):
    options = {"model": model, "tokens": tokens, "dim": 32, "value_dim": 8, "seed": 3}
    found = kvfloor.audit("dense:dtype=float32", **options)
    assert (found.model, found.tokens, found.errors) == (model, tokens, 0)
    assert found.capacity_bits == found.asked == hidden * 8
    assert found.full_cache_bits == 16 * hidden * 40
    paid_bits = 104 + np.log2(len(found.readers))
    assert 0 <= found.capacity_bits - paid_bits - found.certified_bits <= 1  # rounded down
    assert isinstance(found.certified_bits, int)
    assert isinstance(found.frontier_bits, int)
    packed = kvfloor.audit("bitpack", **options)
    assert packed.errors == 0
    assert 0 <= packed.wire_bits - packed.capacity_bits < 2000
    assert kvfloor.audit("window:kept_tokens=8", **options).accuracy < 0.8
    cheat = "kvfloor.experiments.game.cheats:FixedFile"
    cheated = kvfloor.audit(f"{cheat}+{cheat}" if model == "tensor4" else cheat, **options)
    assert (cheated.errors, cheated.verdict) == (0, "impossible")


def test_two_caches_keep_a_side_each():
    options = {"model": "tensor4", "tokens": 64, "dim": 32, "value_dim": 8, "seed": 3}
    found = kvfloor.audit("bitpack+window:kept_tokens=8", **options)
    assert found.cache == "bitpack+window:kept_tokens=8"
    # The first side is read rightly as long as the second keeps the sentinel; of the second 1/8 is kept.
    assert abs(found.accuracy - (1 + 1 / 8 + 7 / 16) / 2) < 6 * np.sqrt(1 / (4 * 512)) + 0.02


def test_many_pairs_are_sampled(monkeypatch):
    monkeypatch.setattr("kvfloor.experiments.audits.instances.ALL_POSITIONS_PAIRS", 64**2)
    monkeypatch.setattr("kvfloor.experiments.audits.instances.SAMPLED_PAIRS", 65**2 * 1000)
    options = {"model": "tensor4", "dim": 64, "value_dim": 64, "seed": 1}
    found = kvfloor.audit("bitpack", tokens=65, **options)
    assert (found.errors, found.asked) == (0, 1000)
    assert 0 < found.certified_bits < found.capacity_bits
    assert kvfloor.audit("bitpack", tokens=64, **options).asked == 2 * 64 * 64


def test_many_tokens_are_sampled():
    found = kvfloor.audit("bitpack", tokens=8193, dim=32, value_dim=2, seed=1)
    assert found.asked == 4096
    assert 0 < found.certified_bits < found.capacity_bits
    assert found.verdict == "consistent"


def test_a_factory_is_found_under_its_name():
    by_name = kvfloor.audit("dense", **SMALL)
    by_factory = kvfloor.audit(CACHES["dense"].factory, **SMALL)
    assert by_factory.cache == "kvfloor.attention.caches.dense:Dense"
    assert by_factory.wire_bits == by_name.wire_bits


def test_the_seed_repeats_an_audit_and_none_is_a_new_one():
    fields = ("errors", "wire_bits", "accuracy", "certified_bits")

    def shown(seed):
        found = kvfloor.audit("window:kept_tokens=64", tokens=256, dim=32, seed=seed)
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
    ({"cache": "dense", "model": "tensor3"}, "model must be one of attention, tensor4, tensor2, visual"),
    ({"cache": "dense", "model": "tensor4", "dim": 15}, "dim must be even"),
    ({"cache": "dense", "model": "tensor4", "sides": "keys"}, "takes 2 levels and --sides values"),
    ({"cache": "dense", "model": "visual", "levels": 3}, "takes 2 levels"),
    ({"cache": "dense+dense"}, "two sides, which only --model tensor4 has"),
    ({"cache": "dense+dense+dense", "model": "tensor4"}, "joins 3 caches"),
    ({"cache": "dense", "dim": 0}, "0"),
    ({"cache": "dense", "levels": 1}, "1"),
    ({"cache": "window:kept_tokens=0"}, "kept_tokens"),
])  # fmt: skip
def test_wrong_input_is_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        kvfloor.audit(arguments.pop("cache"), **{"tokens": 64, "dim": 16, **arguments})
    assert "\n" not in str(caught.value)
