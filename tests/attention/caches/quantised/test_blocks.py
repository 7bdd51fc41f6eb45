"""llama.cpp's formats: what a block can tell apart, the rotation, and that the engine stores the same bytes."""

import numpy as np
import pytest
from scipy.linalg import hadamard as sylvester

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.quantised import blocks
from kvfloor.attention.caches.quantised.blocks import TYPES, hadamard
from kvfloor.attention.engines.llamacpp.library import EXTRA
from kvfloor.attention.engines.llamacpp.sessions import Session
from kvfloor.attention.engines.llamacpp.settings import Settings

BITS = {"q8_0": 8.5, "q5_1": 6.0, "q5_0": 5.5, "q4_1": 5.0, "q4_0": 4.5}


@pytest.fixture(scope="module")
def gguf():
    return pytest.importorskip("gguf", reason="needs the extra llamacpp: gguf is not installed")


def filled(spec, keys, values):
    cache = resolve(spec).make(keys.shape[1], values.shape[1], Coins(0))
    cache.append(keys, values)
    return cache


@pytest.mark.parametrize("kind", TYPES)
def test_the_wire_is_the_format(gguf, kind):
    rng = np.random.default_rng(0)
    sizes = [
        8
        * len(
            filled(f"blocks:type_k={kind},type_v={kind}", rng.random((n, 64)), rng.random((n, 96))).to_bytes()
        )
        for n in (100, 200)
    ]
    assert sizes[1] - sizes[0] == 100 * 160 * BITS[kind]


@pytest.mark.parametrize("kind", TYPES)
def test_an_error_is_at_most_half_a_step(gguf, kind):
    values = np.random.default_rng(1).random((50, 64)).astype(np.float32)
    _, read = filled(f"blocks:type_v={kind}", values, values).stand_ins()
    grouped = values.reshape(50, 2, 32)
    codes = 2 ** int(kind[1])
    if kind.endswith("1"):
        step = (grouped.max(2) - grouped.min(2)) / (codes - 1)
    else:  # numbers of both signs up to the largest; of these here, one sign
        step = np.abs(grouped).max(2) / (codes / 2 - (kind == "q8_0"))
    error = np.abs(values - read).reshape(50, 2, 32).max(2)
    # The float16 scale is off by up to 2^-11 of it, the code by up to `codes` of those.
    assert (error <= step * (1 if kind in ("q4_0", "q5_0") else 0.5) + step * codes * 2.0**-11).all()
    assert error.max() > step.mean() / 4


def test_hadamard_is_sylvester_s(gguf):
    rows = np.random.default_rng(2).standard_normal((5, 128))
    matrix = np.kron(np.eye(2), sylvester(64) / 8)
    assert np.allclose(hadamard(rows), rows @ matrix, atol=1e-12)
    assert np.allclose(hadamard(hadamard(rows)), rows, atol=1e-12)


def test_rotation_is_left_out_where_channels_do_not_fit(gguf):
    rows = np.random.default_rng(3).standard_normal((9, 96)).astype(np.float32)
    on, off = (filled(f"blocks:rotation={r}", rows, rows).stand_ins()[0] for r in ("on", "off"))
    assert np.array_equal(on, off)


def test_numbers_beyond_float16_are_refused(gguf):
    cache = resolve("blocks").make(32, 32, Coins(0))
    payload = cache.to_bytes()
    with pytest.raises(ValueError, match="values are too large for the float16 scales of q8_0"):
        cache.append(np.ones((1, 32)), np.full((1, 32), 1e8))
    assert cache.to_bytes() == payload


def test_without_gguf_it_is_one_sentence(monkeypatch):
    blocks._gguf.cache_clear()

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(blocks.importlib, "import_module", missing)
    with pytest.raises(
        ValueError,
        match=r"^gguf is not installed; install it with `make llamacpp`, or with pip: kvfloor\[llamacpp\]$",
    ):
        resolve("blocks").make(32, 32, Coins(0))
    blocks._gguf.cache_clear()


@pytest.mark.parametrize("rotation", ["off", "on"])
@pytest.mark.parametrize("kind", TYPES)
def test_the_engine_stores_the_same(gguf, kind, rotation):
    for package in EXTRA:
        pytest.importorskip(package, reason=f"needs the extra llamacpp: {package} is not installed")
    tokens, dim, width = 20, 128, 512
    rng = np.random.default_rng(4)
    rows = np.zeros((tokens, width), np.float32)
    rows[:, : 2 * dim] = rng.standard_normal((tokens, 2 * dim))
    rows[:, -1] = np.sqrt(1024**2 * width - np.square(rows, dtype=float).sum(1))  # RMSNorm divides by 1024
    eye = 1024 * np.eye(width, dtype=np.float32)
    nothing = {
        "gate": (1, width),
        "up": (1, width),
        "down": (width, 1),
        "output": (width, dim),
        "query": (dim, width),
    }
    weights = {f"0.{name}": np.zeros(shape, np.float32) for name, shape in nothing.items()}
    weights |= {"0.key": eye[:dim], "0.value": eye[dim : 2 * dim], "unembed": eye[:1]}
    payload = Session(Settings(kind, kind, rotation=rotation == "on"), weights, dim).write(rows).payload
    cache = filled(
        f"blocks:type_k={kind},type_v={kind},rotation={rotation}", rows[:, :dim], rows[:, dim : 2 * dim]
    )
    stored = [matrix.arrays()[0] for matrix in (cache._keys, cache._values)]
    if rotation == "off":
        assert all(each.tobytes() in payload for each in stored)
    # The values are the payload's last bytes. With the rotation, sums of 64 products are rounded in another
    # order, so a code may be its neighbour.
    theirs = np.frombuffer(payload[-stored[1].size :], np.uint8).reshape(stored[1].shape)
    assert (theirs == stored[1]).mean() > 0.99
    values = cache.stand_ins()[1]
    assert np.abs(cache._values._read(theirs) - values).max() <= np.abs(values).max() / 2 ** (
        int(kind[1]) - 1
    )
