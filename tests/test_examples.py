"""The caches that README and docs show work for every dimension, not only for the one that they are audited at."""

import re
from pathlib import Path

import numpy as np
import pytest

import kvfloor
from kvfloor.attention.caches import Coins
from kvfloor.attention.softmax import softmax_attention

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "audit-your-compressor.md").read_text()
(MINE,) = re.findall(r"```python\n(import numpy.*?)```", README, re.DOTALL)
ROUNDED = "\n".join(re.findall(r"```python\n((?:import numpy|class ).*?)```", PAGE, re.DOTALL))
SIZES = [(2, 1), (64, 64), (255, 3), (256, 256), (257, 5), (3, 300), (1000, 1)]


def classes():
    """Return every cache class that is shown, by name, and how near its answers are to exact ones."""
    found = {}
    for code, error in ((MINE, 1e-5), (ROUNDED, 0.2)):
        space = {}
        exec(code, space)
        found |= {name: (thing, error) for name, thing in space.items() if isinstance(thing, type)}
    return found


CLASSES = classes()


def test_every_class_that_is_shown_is_found():
    assert set(CLASSES) == {"Mine", "Rounded", "Packed"}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("dim", "value_dim"), SIZES)
@pytest.mark.parametrize("tokens", [0, 1, 37])
def test_a_shown_cache_survives_its_bytes_at_any_size(name, dim, value_dim, tokens):
    cls, error = CLASSES[name]
    rng = np.random.default_rng(dim * value_dim)
    keys, queries = rng.normal(size=(tokens, dim)) / dim**0.5, rng.normal(size=(5, dim)) / dim**0.5
    values = rng.uniform(-1, 1, size=(tokens, value_dim))
    cache = cls(dim, value_dim, Coins(0))
    for block in np.array_split(np.arange(tokens), 3):
        cache.append(keys[block], values[block])
    again = cls.from_bytes(cache.to_bytes(), Coins(0))
    assert again.to_bytes() == cache.to_bytes()
    again.append(keys[:1], values[:1])
    assert len(again.to_bytes()) >= len(cache.to_bytes())
    if tokens:
        answers = cls.from_bytes(cache.to_bytes(), Coins(0)).attend(queries)
        np.testing.assert_array_equal(answers, cache.attend(queries))
        np.testing.assert_allclose(answers, softmax_attention(queries, keys, values), atol=error)


@pytest.mark.parametrize("name", CLASSES)
def test_a_shown_cache_is_audited_at_another_size(name, tmp_path, monkeypatch):
    (tmp_path / "shown.py").write_text(MINE + "\n\n" + ROUNDED)
    monkeypatch.chdir(tmp_path)
    found = kvfloor.audit(f"shown:{name}", tokens=64, dim=256, value_dim=3, seed=1)
    assert (found.errors, found.verdict, found.value_dim) == (0, "consistent", 3)
