"""A cache from a text, and what its types say that it takes."""

import pytest

from kvfloor.attention.engines.llamacpp.parameters import TYPES
from kvfloor.attention.engines.llamacpp.settings import Settings


def test_a_cache_is_parsed():
    assert Settings.parse("llamacpp") == Settings.parse("llamacpp:") == Settings()
    found = Settings.parse("llamacpp:type_k=q8_0,type_v=q4_0,flash=on,rotation=off,sequences=3,unified=on")
    assert found == Settings("q8_0", "q4_0", "on", False, 3, True, 0)


@pytest.mark.parametrize(("text", "sentence"), [
    ("llamacpp:type_k=q2", "type_k is 'q2', expected one of f32, f16, bf16, q8_0"),
    ("llamacpp:flash=yes", "flash is 'yes', expected one of auto, off, on"),
    ("llamacpp:rotation=true", "rotation is 'true', expected one of on, off"),
    ("llamacpp:bits=4", "expected one of type_k, type_v, flash, rotation, sequences, unified, sliding_window"),
    ("llamacpp:sequences=0", "sequences is 0"),
    ("llamacpp:sequences=x", "sequences is 'x'"),
    ("llamacpp:sliding_window=-4", "sliding_window is '-4'"),
    ("llamacpp:flash=on,flash=on", "gives the parameter 'flash' twice"),
])  # fmt: skip
def test_a_wrong_cache_is_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Settings.parse(text)
    assert "\n" not in str(caught.value)


def test_nominal_bits_count_the_scales_of_blocks():
    assert Settings("q8_0", "q4_0").nominal_bits(2, 3, 64, 100) == (8.5 + 4.5) * 2 * 3 * 64 * 100
    assert Settings("f32", "bf16").nominal_bits(1, 1, 32, 7) == 48 * 32 * 7
    # Layers 0 and 2 of three slide.
    assert Settings(sliding_window=10).nominal_bits(3, 1, 1, 100) == 32 * (10 + 100 + 10)


def test_types_are_ggml_s(engine):
    import gguf

    for name, (number, entries, size) in TYPES.items():
        kind = gguf.GGMLQuantizationType[name.upper()]
        assert (kind.value, gguf.GGML_QUANT_SIZES[kind]) == (number, (entries, size))
