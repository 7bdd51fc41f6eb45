"""Compressors by name: presses inside of presses, and wrong texts in one sentence."""

import pytest

from kvfloor.attention.engines.transformers.compressors import Compressor, presses


def test_parameters_are_handed_on(torch):
    press = Compressor.parse("kvpress:SnapKVPress,compression_ratio=0.25,window_size=32").press()
    assert (press.compression_ratio, press.window_size) == (0.25, 32)
    assert Compressor.parse("kvpress:KVComposePress,structured=false").press().structured is False
    wrapped = Compressor.parse(
        "kvpress:AdaKVPress,press=SnapKVPress,press.window_size=16,compression_ratio=0.75"
    ).press()
    assert (type(wrapped.press).__name__, wrapped.press.window_size, wrapped.press.compression_ratio) == (
        "SnapKVPress",
        16,
        0.75,
    )
    both = Compressor.parse("kvpress:ComposedPress,presses=KnormPress@0.5+TOVAPress@0.25").press()
    assert [p.compression_ratio for p in both.presses] == [0.5, 0.25]
    deep = Compressor.parse(
        "kvpress:PrefillDecodingPress,prefilling_press=KnormPress@0.5,decoding_press=DecodingPress,"
        "decoding_press.base_press=SnapKVPress,decoding_press.base_press.window_size=8,decoding_press.target_size=64"
    ).press()
    assert (deep.decoding_press.target_size, deep.decoding_press.base_press.window_size) == (64, 8)


def test_every_press_of_the_library_is_known(torch):
    known = presses()
    assert {"SnapKVPress", "DMSPress", "MergingPress", "DecodingPress"} <= set(known)
    assert not {"BasePress", "ScorerPress"} & set(known)
    assert Compressor.parse("kvpress:CAMPress,base_press=KnormPress").streams
    assert not Compressor.parse("kvpress:KnormPress").streams


def test_what_holds_the_whole_stream_promises_nothing():
    whole = ("transformers:DynamicCache", "transformers:StaticCache")
    less = (
        "kvpress:KnormPress",
        "transformers:QuantizedCache,backend=hqq",
        "transformers:StaticCache,sliding_window=9",
    )
    assert [Compressor.parse(spec).compresses for spec in (*whole, *less)] == [False] * 2 + [True] * 3


@pytest.mark.parametrize(("spec", "sentence"), [
    ("kvpress:", "not of the form"),
    ("kvpress:SnapKVPress,ratio", "'ratio' in .* is not of the form name=value"),
    ("kvpress:SnapKVPress,window_size=1,window_size=2", "gives the parameter 'window_size' twice"),
])  # fmt: skip
def test_a_wrong_text_is_one_sentence(torch, spec, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Compressor.parse(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("spec", "sentence"), [
    ("kvpress:SnapPress", "kvpress has no 'SnapPress' .did you mean 'SnapKVPress'"),
    ("kvpress:SnapKVPress,windowsize=2", "has no parameter 'windowsize' .did you mean 'window_size'"),
    ("kvpress:AdaKVPress", "needs the parameter press, as in press=KnormPress"),
    ("kvpress:SnapKVPress,compression_ratio=2", "Compression ratio must be between 0 and 1"),
    ("kvpress:ThinKPress,compression_ratio=0.5", "compression ratio cannot be set for ThinKPress"),
    ("kvpress:KnormPress,press.window_size=2", "to a press that it does not name"),
])  # fmt: skip
def test_what_a_press_refuses_is_one_sentence(torch, spec, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Compressor.parse(spec).press()
    assert "\n" not in str(caught.value)


def test_what_a_cache_refuses_is_one_sentence(torch):
    from transformers import LlamaConfig

    for spec, sentence in (
        ("transformers:FancyCache", "transformers has no 'FancyCache'"),
        ("transformers:QuantizedCache", "backend"),
        ("transformers:QuantizedCache,backend=quanto,nbits=3", "nbits"),
        ("transformers:DynamicCache,bits=3", "bits"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Compressor.parse(spec).cache(LlamaConfig(), 16)


def test_nominal_bits(torch):
    def nominal(spec, press=None):
        return Compressor.parse(spec).nominal_bits(press, 6400, 100, 32)

    assert nominal("transformers:QuantizedCache,backend=quanto,nbits=2") == 400
    assert nominal("transformers:DynamicCache,sliding_window=25") == 1600
    assert nominal("transformers:DynamicCache,sliding_window=250") == 6400
    for spec, expected in (
        ("kvpress:KnormPress,compression_ratio=0.25", 4800),
        ("kvpress:ThinKPress,key_channel_compression_ratio=0.5", 4800),
        ("kvpress:DecodingPress,base_press=KnormPress,target_size=50", 3200),
        ("kvpress:CompressionRatioDecodingPress,base_press=KnormPress,target_compression_ratio=0.75", 1600),
        ("kvpress:DMSPress,press=KnormPress", None),
    ):
        assert nominal(spec, Compressor.parse(spec).press()) == expected, spec
