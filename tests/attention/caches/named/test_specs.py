"""Names of caches, and what they stand for."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from kvfloor.attention.caches import CACHES, REQUIRED, Coins, resolve
from kvfloor.attention.caches.dense import Dense

MODULE = '''
from kvfloor.attention.caches.dense import Dense

class Mine(Dense):
    """Mine."""

def made(dim, value_dim, coins, share: float = 0.5, name="x", flag: bool = False, limit: "int | None" = 3):
    cache = Dense(dim, value_dim, coins)
    cache.told = share, name, flag, limit
    return cache

def untyped(dim, value_dim, coins, **parameters):
    cache = Dense(dim, value_dim, coins)
    cache.told = parameters
    return cache

def unknown_type(dim, value_dim, coins, share: "NoSuchType" = 1):
    cache = Dense(dim, value_dim, coins)
    cache.told = share
    return cache

def nothing(dim, value_dim, coins):
    return None

def two(dim, value_dim):
    return None

number = 3
'''


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    (tmp_path / "kvfloor_test_caches.py").write_text(MODULE)
    (tmp_path / "kvfloor_test_broken.py").write_text("raise RuntimeError('two\\nlines')")
    monkeypatch.syspath_prepend(tmp_path)
    return "kvfloor_test_caches"


def test_every_cache_says_what_it_is_and_where_it_comes_from():
    for name, registered in CACHES.items():
        assert registered.name == name
        assert registered.summary.endswith(".")
        assert registered.source
        assert callable(registered.factory)


def test_parameters_have_defaults():
    assert dict(CACHES["sinks"].parameters) == {"kept_tokens": REQUIRED, "sink_tokens": 4, "dtype": "float16"}
    assert dict(CACHES["bitpack"].parameters) == {"kept_tokens": None}


def test_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        CACHES["mine"] = CACHES["dense"]
    with pytest.raises(FrozenInstanceError):
        resolve("dense").spec = "window"


def test_parameters_are_parsed_by_type():
    assert resolve("uniform:bits=3,key_axis=token").parameters == {"bits": 3, "key_axis": "token"}
    assert resolve("h2o:kept_tokens=3,query_factor=2").parameters == {"kept_tokens": 3, "query_factor": 2.0}
    assert resolve("bitpack:kept_tokens=none").parameters == {"kept_tokens": None}
    assert resolve("dense").parameters == {}


def test_make_and_restore():
    spec = resolve("dense:dtype=float64")
    cache = spec.make(2, 1, Coins(0))
    assert isinstance(cache, Dense)
    cache.append(np.eye(2), np.ones((2, 1)))
    assert spec.restore(cache.to_bytes(), 2, 1, Coins(0)).to_bytes() == cache.to_bytes()


def test_own_caches(my_module):
    assert type(resolve(f"{my_module}:Mine:dtype=float32").make(2, 2, Coins(0))).__name__ == "Mine"
    made = resolve(f"{my_module}:made:share=1,name=5,flag=true,limit=7").make(2, 2, Coins(0))
    assert made.told == (1.0, 5, True, 7)
    assert resolve(f"{my_module}:made").make(2, 2, Coins(0)).told == (0.5, "x", False, 3)
    assert resolve(f"{my_module}:untyped:a=1,b=1.5,c=x").make(2, 2, Coins(0)).told == {
        "a": 1,
        "b": 1.5,
        "c": "x",
    }
    assert resolve(f"{my_module}:unknown_type").make(2, 2, Coins(0)).told == 1
    # A function may make a cache of any class; its from_bytes restores.
    spec = resolve(f"{my_module}:made")
    assert type(spec.restore(spec.make(2, 2, Coins(0)).to_bytes(), 2, 2, Coins(0))) is Dense


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no cache is called '' .there are dense"),
        ("unifrom", "no cache is called 'unifrom' .did you mean 'uniform'"),
        ("unifrom:bits=2", "no cache is called 'unifrom' .did you mean 'uniform'"),
        ("uniform:bit=2", "no parameter 'bit' .did you mean 'bits'"),
        ("golay:bits=2", "no parameter 'bits' .there are none"),
        ("uniform:bits", "'bits' in 'uniform:bits' is not of the form name=value"),
        ("uniform:bits=2,", "'' in 'uniform:bits=2,' is not of the form"),
        ("uniform:bits=2,bits=3", "gives the parameter 'bits' twice"),
        ("uniform:bits=two", "bits=two in 'uniform:bits=two' is not of type int"),
        ("uniform:bits=2.5", "is not of type int"),
        ("bitpack:kept_tokens=x", "is not of type int or None"),
        ("h2o:kept_tokens=4,query_factor=x", "is not of type float"),
        ("window", "'window' needs the parameter 'kept_tokens', as in window:kept_tokens=..."),
        ("sinks:sink_tokens=2", "as in sinks:sink_tokens=2,kept_tokens=..."),
        (
            "kvfloor_no_such_module:thing",
            "cannot import 'thing' from 'kvfloor_no_such_module': ModuleNotFoundError",
        ),
        ("kvfloor_test_caches:thing", "cannot import 'thing' from 'kvfloor_test_caches': AttributeError"),
        ("kvfloor_test_broken:thing", "RuntimeError: two lines"),
        ("kvfloor_test_caches:number", "is a int, expected a cache class or a function"),
        ("kvfloor_test_caches:two", "cannot be called with dim, value_dim and coins"),
        ("kvfloor_test_caches:made:sahre=1", "no parameter 'sahre' .did you mean 'share'"),
        ("kvfloor_test_caches:made:flag=maybe", "flag=maybe in .* is not of type bool"),
        (".relative:thing", "cannot import 'thing' from '.relative'"),
        (":thing", "cannot import 'thing' from ''"),
    ],
)
def test_wrong_specs(my_module, spec, message):
    with pytest.raises(ValueError, match=message) as caught:
        resolve(spec)
    assert "\n" not in str(caught.value)


def test_what_a_factory_makes_must_be_a_cache(my_module):
    with pytest.raises(ValueError, match="made a NoneType, which has no method append"):
        resolve(f"{my_module}:nothing").make(2, 2, Coins(0))


def test_specs_travel_to_workers():
    spec = pickle.loads(pickle.dumps(resolve("uniform:bits=3")))
    assert spec.make(2, 2, Coins(0)).bits == 3


@pytest.mark.parametrize(("dim", "value_dim"), [(0, 1), (1, 0), (1 << 21, 1), (2.0, 1), (True, 1)])
def test_wrong_dimensions(dim, value_dim):
    with pytest.raises(ValueError, match="dim is"):
        resolve("dense").make(dim, value_dim, Coins(0))
