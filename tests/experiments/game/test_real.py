"""Shipped compressors against INDEX: every class, format and read-out, what each way of counting says, no leaks."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from kvfloor.attention.engines.transformers.compressors import Compressor
from kvfloor.attention.engines.transformers.library import EXTRA, needed, offline, quiet
from kvfloor.attention.engines.transformers.model import DTYPES, Model
from kvfloor.attention.engines.transformers.sessions import CompressorFailedError, read, write
from kvfloor.experiments.audits import real_auditor
from kvfloor.experiments.game import real
from kvfloor.experiments.game.fresh import in_fresh_process
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.real import Setting, measure, play
from kvfloor.experiments.show.command import main
from kvfloor.reductions.weights.transformer import ONE

FULL = "transformers:DynamicCache"
KNORM = "kvpress:KnormPress,compression_ratio=0.5"
MASKED = "kvpress:AdaKVPress,press=SnapKVPress,compression_ratio=0.5"
STREAMED = "kvpress:DecodingPress,base_press=KeyDiffPress,target_size=64,compression_interval=16"
SMALL = {"tokens": 128, "dim": 32}


@pytest.fixture(scope="session")
def extra():
    """Skip where the extra is not installed."""
    offline()
    for package in EXTRA:
        with quiet():
            pytest.importorskip(package, reason=f"needs the extra transformers: {package} is not installed")
    needed("torch").set_num_threads(1)


def played(spec=FULL, seed=0, runner=None, **more):
    """Return a small play."""
    return play(Setting(spec, **{**SMALL, **more}), Randomness(seed, "test"), runner=runner)


@pytest.mark.parametrize("readout", ["rows", "tokens"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_whole_cache_holds_every_bit(extra, model_case, dtype, readout):
    model = Model(*model_case[:4], dtype)
    found = played(model=model, readout=readout, dim=model_case.dim)
    assert found.transcript.errors == 0
    assert found.transcript.symbols == 128 * model.layers * model.kv_heads * model_case.dim
    full = 2 * found.transcript.symbols * (32 if dtype == "float32" else 16)
    assert (
        found.accounts.full_cache_bits == found.accounts.nominal_bits == found.accounts.allocated_bits == full
    )
    assert 0 < found.transcript.wire_bits - full < 8000
    assert found.verdict == "consistent"


@pytest.mark.parametrize("feed", ["prefill", "stream"])
@pytest.mark.parametrize("cache", [
    FULL, "transformers:StaticCache", "transformers:QuantizedCache,backend=quanto,nbits=4",
    "transformers:QuantizedCache,backend=hqq,nbits=4,residual_length=16",
])  # fmt: skip
def test_caches_hold_every_bit_however_they_are_fed(extra, cache, feed):
    assert (
        played(cache, feed=feed, dim=64).transcript.errors == 0
    )  # the first token fills a group of 64 numbers


def test_the_streamed_cache_is_the_prompt_s(extra):
    assert played(feed="stream").payload == played(feed="prefill").payload


@pytest.mark.parametrize("spec", [KNORM, MASKED, STREAMED, "transformers:DynamicCache,sliding_window=64",
                                  "transformers:StaticCache,sliding_window=64"])  # fmt: skip
def test_dropping_lies_on_the_line(extra, spec):
    found = measure(Setting(spec, Model("mistral", heads=4), **SMALL), Randomness(3, "test"))
    kept = found["kept_entries"] / found["all_entries"]
    assert found["drops_only"]
    assert found["chosen_blindly"]
    assert 0.4 < kept < 0.7
    # Hoeffding at a false-alarm rate of 1e-6 over the dropped bits; a sliding window of W tokens holds the
    # question too: one of the W tokens that a static cache keeps is never read.
    dropped = (1 - kept) * found["symbols"]
    slack = (1 - kept) * np.sqrt(np.log(2e6) / (2 * dropped)) + 1 / 128
    assert abs(1 - found["errors"] / found["symbols"] - (1 + kept) / 2) < slack


def test_a_mask_saves_nothing(extra):
    found = played(MASKED)
    accounts = found.accounts
    assert found.verdict == "saves nothing"
    assert accounts.nominal_bits == accounts.full_cache_bits / 2
    # Three int64 indices for each masked entry come on top of the whole cache.
    assert accounts.allocated_bits == accounts.full_cache_bits + accounts.masked_entries * 3 * 64
    assert accounts.masked_entries == 64
    # What is masked is erased for Bob: all of it would decode if it were not.
    assert 0.2 < found.transcript.errors / found.transcript.symbols < 0.3


def test_one_greedily_generated_token_is_the_bit(extra):
    """`generate` of the library, on a cache that arrived as bytes, a question at a time."""
    torch = needed("torch")
    from kvfloor.attention.engines.transformers import model as models
    from kvfloor.attention.engines.transformers import sessions

    setting, randomness = Setting(FULL, **SMALL), Randomness(5, "test")
    encoding = real.encoding_of(setting, randomness)
    x = encoding.problem.sample(randomness.secret())
    _, payload = real.alice(setting, encoding, encoding.encode(x), 0)
    built = models.build(setting.model, encoding.weights(), 32, 1)
    for index in range(0, 4096, 331):
        cache = sessions._restored(Compressor.parse(FULL), built, payload, 128)
        question = models.set_rows(built, encoding.bit_questions(np.array([index])))
        prompt = torch.cat([torch.zeros(128, dtype=torch.int64), question])[
            None
        ]  # the cached part is not read
        with quiet():
            said = built.generate(input_ids=prompt, past_key_values=cache, max_new_tokens=1, do_sample=False)
        assert (int(said[0, -1]) == ONE) == x[index]


def test_bob_reads_the_message_and_nothing_else(extra):
    """In one process, after Alice read x, Bob decodes the string of whatever message he is given."""
    setting, randomness = Setting(FULL, **SMALL), Randomness(5, "test")
    encoding = real.encoding_of(setting, randomness)
    x, other = (encoding.problem.sample(np.random.default_rng(seed)) for seed in (1, 2))
    _, message = real.alice(setting, encoding, encoding.encode(other), 0)
    real.alice(setting, encoding, encoding.encode(x), 0)
    assert np.array_equal(np.frombuffer(real.bob(setting, encoding, message)[1], np.uint8), other)


def test_masks_do_not_outlive_their_run(extra):
    played(MASKED)
    assert played(FULL).transcript.errors == 0


def test_a_side_channel_is_impossible(extra):
    left = {}

    def leaking(party, *arguments):
        if party is real.alice:
            facts, left["payload"] = party(*arguments)
            return facts, b"!"
        return party(*arguments[:-1], left["payload"])

    found = played(runner=leaking)
    assert (found.transcript.errors, found.transcript.wire_bits, found.verdict) == (0, 8, "impossible")


def test_layers_of_unequal_length_are_asked_apart(extra):
    found = played(
        "kvpress:PyramidKVPress,compression_ratio=0.5,window_size=8", model=Model(layers=3), tokens=256
    )
    assert 0 < found.transcript.accuracy < 1
    assert found.accounts.allocated_bits < found.accounts.full_cache_bits


def test_what_the_library_refuses_is_one_line(extra):
    for spec, reason in (
        ("kvpress:FinchPress,compression_ratio=0.5", "delimiter"),
        ("kvpress:QFilterPress", "Error"),
    ):
        with pytest.raises(CompressorFailedError, match=reason) as caught:
            played(spec)
        assert "\n" not in str(caught.value)
        assert "/tmp" not in str(caught.value)


def test_the_seed_repeats_a_play(extra):
    spec = "kvpress:RandomPress,compression_ratio=0.5"
    assert played(spec).payload == played(spec).payload
    assert played(spec).payload != played(spec, seed=1).payload


def test_generated_tokens_are_zero_or_one(extra):
    setting, randomness = Setting(FULL, **SMALL), Randomness(5, "test")
    encoding = real.encoding_of(setting, randomness)
    arguments = (setting.model, encoding.weights(), 32, Compressor.parse(FULL))
    x = encoding.problem.sample(randomness.secret())
    payload = write(*arguments, encoding.encode(x), 0).payload
    said = read(*arguments, payload, 128, encoding.bit_questions(np.arange(64)), generate=True)
    assert said.tolist() == x[:64].tolist()


FIELDS = {
    "cache", "tokens", "dim", "value_dim", "alphabet", "capacity_bits", "wire_bits", "errors", "accuracy",
    "certified_bits", "significance_log2", "frontier_bits", "verdict", "seconds", "nominal_bits", "allocated_bits",
}  # fmt: skip


def test_the_command_audits_between_fresh_processes(extra):
    arguments = ["audit", MASKED, "--tokens", "128", "--dim", "32", "--seed", "1"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert set(shown) >= FIELDS
    assert (shown["verdict"], shown["capacity_bits"]) == ("saves nothing", 4096)
    assert shown["nominal_bits"] < shown["full_cache_bits"] < shown["allocated_bits"] < shown["wire_bits"]
    table = CliRunner().invoke(main, [*arguments, "--model", "mistral:dtype=bfloat16"]).stdout
    for word in ("nominal", "allocated", "on the wire", "certified", "saves nothing", "mistral", "bfloat16"):
        assert word in table


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["kvpress:SnapPress"], "did you mean 'SnapKVPress'"),
    (["kvpress:SnapKVPress", "--sides", "keys"], "leave out --value-dim, --levels, --sides"),
    (["kvpress:SnapKVPress", "--model", "gpt"], "architecture is 'gpt'"),
    (["transformers:DynamicCache,sliding_window=4"], "llama has no sliding window"),
    (["transformers:DynamicCache", "--dim", "7"], "even number"),
])  # fmt: skip
def test_wrong_input_is_one_sentence_and_status_2(extra, arguments, sentence):
    result = CliRunner().invoke(main, ["audit", *arguments])
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert sentence in last


def test_without_the_extra_an_audit_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(real_auditor, "missing", lambda packages: ("torch", "kvpress"))
    result = CliRunner().invoke(main, ["audit", KNORM])
    assert result.exit_code == 2
    assert "torch, kvpress not installed; install it with `make transformers`" in result.stderr


def test_a_setting_checks_its_words():
    with pytest.raises(ValueError, match="feed is 'drip', expected one of auto, prefill, stream"):
        Setting(FULL, feed="drip")
    with pytest.raises(ValueError, match="readout is 'bits'"):
        Setting(FULL, readout="bits")


def twice(text):
    """Return a text's length and the text twice, or raise or die on demand."""
    if text == "raise":
        raise KeyError("two\nlines")
    if text == "die":
        import os

        os._exit(3)
    return {"length": len(text)}, (2 * text).encode()


def test_a_fresh_process_returns_bytes_or_one_sentence():
    assert in_fresh_process(twice, "ab", preload=()) == ({"length": 2}, b"abab")
    with pytest.raises(ValueError, match=r"^KeyError: 'two\\nlines'$"):
        in_fresh_process(twice, "raise", preload=())
    with pytest.raises(ValueError, match="twice: its process ended with status 3"):
        in_fresh_process(twice, "die", preload=())
