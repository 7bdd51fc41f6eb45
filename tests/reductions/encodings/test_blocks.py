"""Block formats: what is written is read, a plain quantiser of the format stores it exactly, and decoding knows wrong numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.encodings.blocks import BlockEncoding, BlockFormat
from kvfloor.reductions.keys.known import Keys

FORMATS = {
    "floats": BlockFormat(np.geomspace(1e-3, 1, 50)),
    "scale": BlockFormat(np.arange(-8.0, 8.0), 32, 1),
    "bytes": BlockFormat(np.arange(-127.0, 128.0), 32, 1),
    "uneven": BlockFormat(np.array([-9.0, -4.0, 1.0, 3.0, 8.0]), 8, 1),
    "offset": BlockFormat(np.arange(32.0), 32, 2),
}


@given(name=st.sampled_from(list(FORMATS)), seed=st.integers(0, 2**32))
def test_what_is_written_is_read(name, seed):
    form, rng = FORMATS[name], np.random.default_rng(seed)
    symbols = rng.integers(0, len(form.codes), (9, form.symbols))
    blocks = form.written(symbols)
    assert blocks.shape == (9, form.block)
    assert np.array_equal(form.read(blocks), symbols)
    assert np.array_equal(form.read(blocks + 1e-5 * rng.uniform(-1, 1, blocks.shape)), symbols)


@pytest.mark.parametrize(
    ("name", "bits"), [("scale", 33 * 4), ("bytes", 32 * np.log2(255)), ("offset", 34 * 5)]
)
def test_scales_and_offsets_hold_symbols_too(name, bits):
    form = FORMATS[name]
    assert form.symbols * np.log2(len(form.codes)) == pytest.approx(bits)


def stored(form, blocks):
    """Return blocks as a plain quantiser of the format keeps them: the shared numbers in float16."""
    offset = blocks.min(1, keepdims=True) if form.shared == 2 else 0.0
    if form.shared == 2:
        scale = (blocks.max(1, keepdims=True) - offset) / form.codes[-1]
    else:
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
        scale = largest / form.codes[0]
    offset, scale = np.float16(offset).astype(float), np.float16(scale).astype(float)
    nearest = np.abs((blocks - offset)[..., None] / scale[..., None] - form.codes).argmin(-1)
    return offset + scale * form.codes[nearest]


@pytest.mark.parametrize("name", ["scale", "uneven", "offset"])
def test_a_quantiser_of_the_format_keeps_it_exactly(name):
    form = FORMATS[name]
    symbols = np.random.default_rng(2).integers(0, len(form.codes), (300, form.symbols))
    blocks = form.written(symbols)
    assert np.array_equal(stored(form, blocks), blocks)
    other = np.random.default_rng(3).standard_normal(blocks.shape)  # not every block is
    assert np.abs(stored(form, other) - other).max() > 0.01


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rotated", [False, True])
def test_an_encoding_decodes_from_plain_attention(name, rotated):
    rng = np.random.default_rng(4)
    keys = Keys.drawn("gaussian", 40, 24, rng)
    basis = np.linalg.qr(rng.standard_normal((64, 64)))[0] if rotated else None
    encoding = BlockEncoding(keys, 64, FORMATS[name], 150.0, basis)
    x = encoding.problem.sample(rng)
    tokens, indices = encoding.encode(x), rng.permutation(encoding.problem.length)[:500]

    def read(values):
        scores = encoding.queries(indices) @ keys.rows.T
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return encoding.decode(weights / weights.sum(1, keepdims=True) @ values, indices)

    assert np.array_equal(read(tokens.values), x[indices])
    assert (read(tokens.values + 3 * rng.standard_normal(tokens.values.shape)) != x[indices]).mean() > 0.3
    assert np.array_equal(encoding.public_keys, keys.rows)
    assert not any(array.any() for array in encoding.reader_token().arrays)


@pytest.mark.parametrize(("arguments", "sentence"), [
    ((np.arange(1.0),), "at least 2 ascending"), ((np.array([1.0, 1.0]),), "at least 2 ascending"),
    ((np.arange(-8.0, 8.0), 1, 1), "below the block 1"), ((np.arange(16.0), 32, 3), "shared must be 0, 1 or 2"),
    ((np.arange(-7.0, 9.0), 32, 1), "first code must have the largest magnitude"),
    ((np.arange(1.0, 9.0), 32, 2), "codes with an offset must be 0, 1"),
    ((np.arange(2000.0), 32, 2), "at most 1024"),
])  # fmt: skip
def test_wrong_formats_are_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        BlockFormat(*arguments)


def test_wrong_encodings_are_one_sentence():
    keys = Keys(np.eye(3))
    with pytest.raises(ValueError, match="multiple of the block 32, got 40"):
        BlockEncoding(keys, 40, FORMATS["scale"], 10.0)
    with pytest.raises(ValueError, match="query_norm must be finite"):
        BlockEncoding(keys, 32, FORMATS["scale"], np.inf)
