"""One play: what is counted, who sees what, and when decoding must succeed or fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache, ask, write
from kvfloor.experiments.game.protocol import Asking, Transcript, play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.beyond_index.disjointness import DisjointnessEncoding
from kvfloor.reductions.encodings.beyond_index.equality import EqualityEncoding
from kvfloor.reductions.encodings.levels import Levels, Reading
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys


def encoding(tokens=64, value_dim=8, eta=0.0):
    """Return a small INDEX in the values."""
    keys = Keys.drawn("gaussian", tokens, 64, np.random.default_rng(0))
    return ValuesEncoding.build(keys, value_dim, accuracy=Accuracy(eta))


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.9])
def test_a_full_cache_decodes_every_bit_under_worst_case_noise(eta):
    transcript = play(encoding(eta=eta), "dense:dtype=float64", Randomness(1, "x"), eta=eta)
    assert transcript.errors == 0
    assert transcript.asked == transcript.symbols == 512
    assert transcript.certificate().certified_bits == pytest.approx(512 - 40 - 64)


def test_the_adversary_breaks_a_decoder_that_was_promised_less_noise():
    quiet = encoding(eta=0.0)
    assert play(quiet, "dense:dtype=float64", Randomness(1, "x"), eta=0.0).errors == 0
    assert play(quiet, "dense:dtype=float64", Randomness(1, "x"), eta=0.9).errors > 0


@pytest.mark.parametrize(("threshold", "broken"), [(0.45, 0), (0.9, 1)])
def test_the_adversary_tries_both_ends_of_the_noise(threshold, broken):
    # Levels 0.4 and 1 move to 0.28 .. 0.52 and 0.7 .. 1.3: only one end of one level crosses the threshold.
    keys = Keys.drawn("gaussian", 64, 64, np.random.default_rng(0))
    biased = ValuesEncoding(keys, 8, Levels.of([0.4, 1.0]), Reading(200.0, np.array([threshold])))
    randomness = Randomness(1, "x")
    assert play(biased, "dense:dtype=float64", randomness, eta=0.0).errors == 0
    hit = int((biased.problem.sample(randomness.secret()) == broken).sum())
    assert play(biased, "dense:dtype=float64", randomness, eta=0.3).errors == hit > 0


def test_wire_bits_are_the_bytes_that_cross():
    sent = []

    class Listening(NumpyCache):
        def write(self, stream, coins):
            sent.append(NumpyCache.write(self, stream, coins))
            return sent[-1]

    transcript = play(encoding(), Listening("bitpack"), Randomness(1, "x"))
    assert transcript.wire_bits == 8 * len(sent[0].payload)


def test_bob_gets_nothing_but_the_payload():
    class Cut(NumpyCache):
        def ask(self, payload, token, queries, coins):
            empty = resolve(self.cache).make(64, 8, coins).to_bytes()
            return NumpyCache.ask(self, empty, token, queries, coins)

    transcript = play(encoding(), Cut("dense:dtype=float64"), Randomness(1, "x"))
    assert abs(transcript.accuracy - 0.5) < 0.15  # six standard deviations of 512 guesses are 0.133


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_play(seed):
    plays = [
        play(encoding(), "window:kept_tokens=20", Randomness(seed, "x"), asking=Asking(100)) for _ in range(2)
    ]
    assert plays[0] == plays[1]
    assert plays[0].asked == 100


def test_another_seed_hides_another_string():
    shown = {play(encoding(), "window:kept_tokens=20", Randomness(seed, "x")).errors for seed in range(10)}
    assert len(shown) > 1


def test_a_sampled_play_certifies_less_than_a_full_one():
    randomness = Randomness(3, "x")
    big = encoding(tokens=256, value_dim=32)
    full = play(big, "dense", randomness).certificate()
    sampled = play(big, "dense", randomness, asking=Asking(2000)).certificate()
    assert full.error_bound == 0
    assert sampled.error_bound > 0
    assert 0 < sampled.certified_bits < full.certified_bits


def test_an_empty_message_is_not_accused():
    assert not Transcript(wire_bits=0, errors=500, asked=1000, symbols=1000, alphabet=2).impossible()
    assert Transcript(wire_bits=0, errors=0, asked=1000, symbols=1000, alphabet=2).impossible()
    assert Transcript(wire_bits=895, errors=0, asked=1000, symbols=1000, alphabet=2).impossible()
    assert not Transcript(wire_bits=897, errors=0, asked=1000, symbols=1000, alphabet=2).impossible()


class _LyingBytes(bytes):
    def __len__(self):
        return 1


class _Fake:
    """A cache that hands out what it is given."""

    def __init__(self, payload=b"", answer=None):
        self.payload, self.answer = payload, answer

    def append(self, keys, values):
        pass

    def attend(self, queries):
        return self.answer

    def to_bytes(self):
        return self.payload


TOKEN = Tokens(np.zeros((1, 3)), np.zeros((1, 2)))


def test_bytes_that_lie_about_their_length_are_counted_in_full():
    payload = write(_Fake(_LyingBytes(b"0123456789")), TOKEN)
    assert type(payload) is bytes
    assert len(payload) == 10


@pytest.mark.parametrize("payload", [bytearray(b"x"), "x", None])
def test_only_bytes_cross(payload):
    with pytest.raises(ValueError, match="to_bytes must return bytes; got"):
        write(_Fake(payload), TOKEN)


@pytest.mark.parametrize(("answer", "sentence"), [
    (np.zeros((4, 1)), r"shape \(4, 2\); got \(4, 1\)"),
    (np.full((4, 2), np.nan), "finite"),
    (np.full((4, 2), np.inf), "finite"),
])  # fmt: skip
def test_answers_of_a_wrong_kind_are_told(answer, sentence):
    with pytest.raises(ValueError, match=sentence):
        ask(_Fake(answer=answer), TOKEN, np.zeros((4, 3)), 2)


def test_blocks_of_appending_do_not_matter(monkeypatch):
    tokens = Tokens(np.random.default_rng(0).normal(size=(50, 4)), np.zeros((50, 2)))
    payloads = []
    for size in (1, 7, 4096):
        monkeypatch.setattr("kvfloor.experiments.game.hosts.numpy_caches.APPEND_TOKENS", size)
        payloads.append(write(resolve("uniform:bits=3").make(4, 2, Coins(0)), tokens))
    assert payloads[0] == payloads[1] == payloads[2]


PROBLEMS = {
    "disjointness": lambda rng: DisjointnessEncoding(Keys.drawn("gaussian", 256, 64, rng), eta=0.3),
    "equality": lambda rng: EqualityEncoding(Keys.drawn("gaussian", 64, 48, rng), width=4, eta=0.3),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_other_problems_play_through_any_cache(name):
    randomness = Randomness(5, name)
    encoding = PROBLEMS[name](randomness.keys())
    whole = play(encoding, "dense:dtype=float64", randomness, eta=0.3)
    assert (whole.errors, whole.asked) == (0, 256)
    assert 256 - 105 < whole.certificate().certified_bits < whole.wire_bits
    half = play(encoding, "window:kept_tokens=32", randomness)
    assert half.errors > 40  # three quarters or half of the symbols are guessed
    sampled = play(encoding, "dense:dtype=float64", randomness, asking=Asking(100))
    assert (sampled.errors, sampled.asked) == (0, 100)
    leaking = play(encoding, "kvfloor.experiments.game.cheats:ModuleGlobal", randomness)
    assert leaking.impossible()
