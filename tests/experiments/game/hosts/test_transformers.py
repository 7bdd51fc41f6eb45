"""Shipped compressors against INDEX: every class, format and read-out, what each way of counting says, no leaks."""

import numpy as np
import pytest

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.engines.transformers.compressors import Compressor
from kvfloor.attention.engines.transformers.library import needed, quiet
from kvfloor.attention.engines.transformers.model import DTYPES, Model
from kvfloor.attention.engines.transformers.sessions import CompressorFailedError
from kvfloor.experiments.audits.verdict import verdict
from kvfloor.experiments.claims.engines.counting import counted
from kvfloor.experiments.game.hosts.host import Written
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.protocol import play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.weights.transformer import ONE

FULL = "transformers:DynamicCache"
KNORM = "kvpress:KnormPress,compression_ratio=0.5"
MASKED = "kvpress:AdaKVPress,press=SnapKVPress,compression_ratio=0.5"
STREAMED = "kvpress:DecodingPress,base_press=KeyDiffPress,target_size=64,compression_interval=16"


def played(spec=FULL, model="llama", tokens=128, dim=32, seed=0, **how):
    """Return a small play."""
    return held(TransformerCache(spec, model, **how), tokens, dim, seed)


def held(host, tokens=128, dim=32, seed=0):
    """Return a small play of a host."""
    randomness = Randomness(seed, "test")
    return play_in_full(host.encoding(tokens, dim, randomness), host, randomness)


def judged(found):
    """Return the verdict on a play."""
    return verdict(found.transcript, found.written.accounts)


@pytest.mark.parametrize("readout", ["rows", "tokens"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_whole_cache_holds_every_bit(extra, model_case, dtype, readout):
    architecture, layers, heads, kv_heads, dim = model_case
    model = f"{architecture}:layers={layers},heads={heads},kv_heads={kv_heads},dtype={dtype}"
    found = played(model=model, readout=readout, dim=dim)
    assert found.transcript.errors == 0
    assert found.transcript.symbols == 128 * layers * kv_heads * dim
    full = 2 * found.transcript.symbols * (32 if dtype == "float32" else 16)
    accounts = found.written.accounts
    assert accounts.full_cache_bits == accounts.nominal_bits == accounts.allocated_bits == full
    assert 0 < found.transcript.wire_bits - full < 8000
    assert judged(found) == "consistent"


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
    assert played(feed="stream").written.payload == played(feed="prefill").written.payload


@pytest.mark.parametrize("spec", [KNORM, MASKED, STREAMED, "transformers:DynamicCache,sliding_window=64",
                                  "transformers:StaticCache,sliding_window=64"])  # fmt: skip
def test_dropping_lies_on_the_line(extra, spec):
    found = counted(TransformerCache(spec, "mistral:heads=4"), 128, 32, Randomness(3, "test"))
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
    accounts = found.written.accounts
    assert judged(found) == "saves nothing"
    assert accounts.nominal_bits == accounts.full_cache_bits / 2
    # Three int64 indices for each masked entry come on top of the whole cache.
    assert accounts.allocated_bits == accounts.full_cache_bits + accounts.masked_entries * 3 * 64
    assert accounts.masked_entries == 64
    # What is masked is erased for Bob: all of it would decode if it were not.
    assert 0.2 < found.transcript.errors / found.transcript.symbols < 0.3


def written(host, randomness):
    """Return an encoding, its coins, a string, and Alice's message."""
    encoding = host.encoding(128, 32, randomness)
    coins = Coins(randomness.coins_seed(), encoding.public_keys)
    x = encoding.problem.sample(randomness.secret())
    return encoding, coins, x, host.write(encoding.encode(x), coins).payload


def test_one_greedily_generated_token_is_the_bit(extra):
    """`generate` of the library, on a cache that arrived as bytes, a question at a time."""
    torch = needed("torch")
    from kvfloor.attention.engines.transformers import model as models
    from kvfloor.attention.engines.transformers import sessions

    encoding, _, x, payload = written(TransformerCache(FULL), Randomness(5, "test"))
    built = models.build(Model(), encoding.compiled.weights(), 32, 1)
    for index in range(0, 4096, 331):
        cache = sessions._restored(Compressor.parse(FULL), built, payload, 128)
        question = models.set_rows(built, encoding.compiled.bit_questions(np.array([index])))
        prompt = torch.cat([torch.zeros(128, dtype=torch.int64), question])[
            None
        ]  # the cached part is not read
        with quiet():
            said = built.generate(input_ids=prompt, past_key_values=cache, max_new_tokens=1, do_sample=False)
        assert (int(said[0, -1]) == ONE) == x[index]


def test_bob_reads_the_message_and_nothing_else(extra):
    """In one process, after Alice read x, Bob decodes the string of whatever message he is given."""
    host = TransformerCache(FULL)
    encoding, coins, x, _ = written(host, Randomness(5, "test"))
    other = encoding.problem.sample(np.random.default_rng(2))
    message = host.write(encoding.encode(other), coins).payload
    host.write(encoding.encode(x), coins)
    everything = np.arange(encoding.problem.length)
    read = host.ask(message, encoding.reader_token(), encoding.queries(everything), coins)
    assert np.array_equal(encoding.decode(read, everything), other)


def test_masks_do_not_outlive_their_run(extra):
    played(MASKED)
    assert played(FULL).transcript.errors == 0


def test_a_side_channel_is_impossible(extra):
    class Leaking(TransformerCache):
        left: dict = {}  # noqa: RUF012

        def write(self, stream, coins):
            done = TransformerCache.write(self, stream, coins)
            self.left["payload"] = done.payload
            return Written(b"!", done.accounts)

        def ask(self, payload, token, queries, coins):
            return TransformerCache.ask(self, self.left["payload"], token, queries, coins)

    found = held(Leaking(FULL))
    assert (found.transcript.errors, found.transcript.wire_bits, judged(found)) == (0, 8, "impossible")


def test_layers_of_unequal_length_are_asked_apart(extra):
    found = played("kvpress:PyramidKVPress,compression_ratio=0.5,window_size=8", "llama:layers=3", tokens=256)
    assert 0 < found.transcript.accuracy < 1
    assert found.written.accounts.allocated_bits < found.written.accounts.full_cache_bits


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
    once, again, other = (played(spec, seed=seed).written.payload for seed in (0, 0, 1))
    assert once == again != other


def test_generated_tokens_are_zero_or_one(extra):
    host = TransformerCache(FULL, readout="tokens")
    encoding, coins, x, payload = written(host, Randomness(5, "test"))
    asked = np.arange(64)
    said = host.ask(payload, encoding.reader_token(), encoding.queries(asked), coins)
    assert said[:, 0].tolist() == x[:64].tolist()


def test_a_host_and_its_encoding_check_their_words():
    with pytest.raises(ValueError, match="feed is 'drip', expected one of auto, prefill, stream"):
        TransformerCache(FULL, feed="drip")
    with pytest.raises(ValueError, match="readout is 'bits', expected one of rows, tokens"):
        TransformerCache(FULL, readout="bits").encoding(128, 32, Randomness(5, "test"))
