"""Two caches as the sides of tensor attention: what each is given, and what goes wrong together."""

import numpy as np
import pytest

from kvfloor.attention import tensor_attention
from kvfloor.attention.caches import Coins, WireError, resolve
from kvfloor.attention.caches.base import StreamCache
from kvfloor.attention.caches.composed.sides import side_coins


def tokens(rng, count=12, dim=4, value_dim=3):
    return [rng.normal(size=(count, columns)) for columns in (dim, value_dim, dim, value_dim)]


def filled(spec, arrays):
    cache = resolve(spec).make(arrays[0].shape[1], arrays[1].shape[1], Coins(1))
    cache.append(*arrays)
    return cache


def test_exact_sides_answer_tensor_attention_as_tokens_arrive():
    rng = np.random.default_rng(0)
    arrays, queries = tokens(rng), rng.normal(size=(5, 4))
    cache = resolve("dense:dtype=float64+dense:dtype=float64").make(4, 3, Coins(0))
    for count in range(1, 13):
        cache.append(*(array[count - 1 : count] for array in arrays))
        so_far = [array[:count] for array in arrays]
        assert np.abs(cache.attend(queries) - tensor_attention(queries, *so_far)).max() < 1e-12


def test_each_side_keeps_what_its_cache_keeps():
    rng = np.random.default_rng(1)
    arrays, queries = tokens(rng), rng.normal(size=(5, 4))
    cache = filled("window:kept_tokens=3,dtype=float64+dense:dtype=float64", arrays)
    expected = tensor_attention(queries, *(array[-3:] for array in arrays[:2]), *arrays[2:])
    assert np.abs(cache.attend(queries) - expected).max() < 1e-12


def test_sides_draw_apart():
    first, second = (side_coins(Coins(5, np.arange(8.0).reshape(2, 4)), side, 2) for side in range(2))
    assert first.seed != second.seed
    assert np.array_equal(np.hstack([first.keys, second.keys]), np.arange(8.0).reshape(2, 4))
    rng = np.random.default_rng(2)
    keys, values = rng.normal(size=(50, 4)), np.arange(150.0).reshape(50, 3)
    cache = filled("random:kept_tokens=5+random:kept_tokens=5", [keys, values, keys, values])
    kept = [side.stand_ins()[1] for side in cache._parts]
    assert not np.array_equal(*kept)


def test_neither_side_reads_what_one_cannot_hold():
    rng = np.random.default_rng(3)
    arrays = tokens(rng)
    for spec, place in (("dense+dense:dtype=float64", 1), ("dense:dtype=float64+dense", 3)):
        cache = filled(spec, arrays)
        before = cache.to_bytes()
        beyond = [array.copy() for array in arrays]
        beyond[place][0, 0] = 1e6
        with pytest.raises(ValueError, match="beyond the range of float16"):
            cache.append(*beyond)
        assert cache.to_bytes() == before
        cache.append(*arrays)
        assert cache.to_bytes() != before


def test_unequal_sides_are_one_sentence():
    rng = np.random.default_rng(4)
    k1, v1, k2, v2 = tokens(rng)
    cache = resolve("dense+dense").make(4, 3, Coins(0))
    with pytest.raises(ValueError, match="first side has 12 tokens and the second 11, expected equally many"):
        cache.append(k1, v1, k2[1:], v2[1:])


def test_payloads_that_contradict_themselves_are_rejected():
    rng = np.random.default_rng(5)
    wide, narrow = (filled("dense+dense", tokens(rng, dim=dim)) for dim in (4, 5))
    good = wide.to_bytes()
    other = narrow._parts[0]
    wide._parts[0] = other
    with pytest.raises(WireError, match="other dimensions or parameters than it should"):
        type(wide).from_bytes(wide.to_bytes(), Coins(1))
    assert type(wide).from_bytes(good, Coins(1)).to_bytes() == good
    with pytest.raises(WireError, match="'dense', not of 'sides'"):
        type(wide).from_bytes(other.to_bytes(), Coins(1))


class Silent:
    """A cache that shows no tokens."""

    def __init__(self, dim, value_dim, coins):
        pass

    append = attend = to_bytes = from_bytes = lambda *_: b""


class Shown(Silent):
    """A cache of somebody else's that does."""

    def __init__(self, dim, value_dim, coins):
        self.tokens = np.zeros((0, dim)), np.zeros((0, value_dim))

    def append(self, keys, values):
        self.tokens = keys, values

    def stand_ins(self):
        return self.tokens


def test_only_caches_that_show_their_tokens_can_be_sides(monkeypatch):
    import kvfloor.attention.caches.dense as module

    monkeypatch.setattr(module, "Silent", Silent, raising=False)
    monkeypatch.setattr(module, "Shown", Shown, raising=False)
    with pytest.raises(ValueError, match="no method stand_ins"):
        resolve("dense+kvfloor.attention.caches.dense:Silent").make(4, 3, Coins(0))
    with pytest.raises(ValueError, match="subgen keeps no tokens"):
        resolve("subgen:delta=1,cluster_slots=1,value_slots=1+dense").make(4, 3, Coins(0))
    rng = np.random.default_rng(6)
    arrays, queries = tokens(rng), rng.normal(size=(2, 4))
    cache = filled("kvfloor.attention.caches.dense:Shown+dense:dtype=float64", arrays)
    assert np.allclose(cache.attend(queries), tensor_attention(queries, *arrays))


@pytest.mark.parametrize(("spec", "sentence"), [
    ("dense+dense+dense", "joins 3 caches, but tensor attention has two sides"),
    ("dense+densse", "did you mean 'dense'"),
    ("dense+", "no cache is called 'dense\\+'"),
    ("uniform:bits=9+dense", "bits"),
])  # fmt: skip
def test_wrong_specs_are_one_sentence(spec, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        resolve(spec).make(4, 3, Coins(0))
    assert "\n" not in str(caught.value)


def test_a_plus_in_a_number_joins_nothing():
    assert resolve("subgen:delta=1e+3,cluster_slots=1,value_slots=1").parameters["delta"] == 1000.0
    assert issubclass(resolve("dense").factory, StreamCache)


def test_public_keys_must_be_those_of_two_sides():
    with pytest.raises(ValueError, match=r"expected those of two sides, \(n, 8\)"):
        resolve("bitpack+bitpack").make(4, 3, Coins(0, np.ones((5, 4))))
