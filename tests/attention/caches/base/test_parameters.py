"""Parameters that caches declare: their order, what is refused, and constructors that caches write themselves."""

import inspect

import pytest

from kvfloor.attention.caches import CACHES, Coins, resolve
from kvfloor.attention.caches.base import StreamCache, declared, real, whole, word
from kvfloor.attention.caches.dense import Dense, StoredCache


class Framed(StoredCache):
    """A frame with a parameter of its own."""

    name, source = "framed", "here"
    kept: int = whole("tokens", 1, 9)


class Leaf(Framed):
    """A cache with more of them."""

    name = "leaf"
    factor: float = real("a factor", 10.0, default=2.0)
    mode: str = word("a word", ("slow", "fast"), default="slow")
    limit: int | None = whole("a limit", 1, default=None)


class ByHand(Dense):
    """A cache with a constructor of its own, as somebody else may write it."""

    name = "by-hand"

    def __init__(self, dim, value_dim, coins, *, share=3):
        super().__init__(dim, value_dim, coins)
        self.share = share


def test_required_parameters_come_first_then_those_of_the_class_then_of_its_frames():
    assert Leaf.parameter_names() == ("kept", "factor", "mode", "limit", "dtype")
    kinds = {name: each.annotation for name, each in inspect.signature(Leaf).parameters.items()}
    assert (kinds["kept"], kinds["factor"], kinds["limit"]) == (int, float, int | None)


def test_values_are_checked_and_kept():
    cache = Leaf(2, 1, Coins(0), kept=3, limit=4)
    assert cache.parameters() == (3, 2.0, "slow", 4, "float16")
    assert Leaf(2, 1, Coins(0), kept=3).limit is None


@pytest.mark.parametrize(("given", "message"), [
    ({"kept": 0}, "kept is 0, expected an integer from 1 to 9"),
    ({"kept": None}, "kept is None"),
    ({"kept": 1, "factor": 11.0}, "factor is 11.0, expected a positive number up to 10"),
    ({"kept": 1, "mode": "quick"}, "mode is 'quick', expected one of slow, fast"),
    ({"kept": 1, "limit": 0}, "limit is 0"),
])  # fmt: skip
def test_wrong_values_are_one_sentence(given, message):
    with pytest.raises(ValueError, match=message):
        Leaf(2, 1, Coins(0), **given)


def test_missing_and_unknown_names_are_errors_of_the_call():
    with pytest.raises(TypeError, match="kept"):
        Leaf(2, 1, Coins(0))
    with pytest.raises(TypeError, match="size"):
        Leaf(2, 1, Coins(0), kept=1, size=2)


def test_a_constructor_of_its_own_is_the_signature():
    assert ByHand.parameter_names() == ("share",)
    cache = ByHand(2, 1, Coins(0), share=5)
    assert ByHand.from_bytes(cache.to_bytes(), Coins(0)).share == 5
    assert resolve(f"{Dense.__module__}:Dense").parameters == {}


def test_every_parameter_of_ours_says_what_it_means():
    for registered in CACHES.values():
        assert issubclass(registered.factory, StreamCache) or registered.factory.sides == 2
        parameters = declared(registered.factory)
        assert tuple(parameters) == registered.factory.parameter_names()
        assert all(each.meaning for each in parameters.values())
