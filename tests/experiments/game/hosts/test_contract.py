"""What every host must do, whatever holds the cache; a new host is one line in the list."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.hosts.host import Host
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.tensor import TensorEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

RANDOMNESS = Randomness(4, "hosts")


@dataclass(frozen=True)
class Case:
    """A host, whether it loses nothing, and the names of its block sizes."""

    host: Host
    whole: bool
    blocks: tuple[str, ...]

    def encoding(self) -> Encoding:
        """Return a small instance that fits the host."""
        if isinstance(self.host, TransformerCache):
            return self.host.encoding(64, 32, RANDOMNESS)
        if "+" in self.host.name:
            return TensorEncoding.build(Keys.drawn("gaussian", 25, 64, RANDOMNESS.keys()), 4, TYPICAL)
        keys = Keys.drawn("gaussian", 64, 32, RANDOMNESS.keys(), np.float32)
        return ValuesEncoding.build(keys, 8, accuracy=TYPICAL)


HOSTS = "kvfloor.experiments.game.hosts"
SESSIONS = "kvfloor.attention.engines.transformers.sessions"
NUMPY = (f"{HOSTS}.numpy_caches.APPEND_TOKENS", f"{HOSTS}.numpy_caches.ASK_QUERIES")
TORCH = (f"{SESSIONS}.TOGETHER", f"{SESSIONS}.APART")
CASES = {
    "dense": Case(NumpyCache("dense:dtype=float32"), True, NUMPY),
    "bitpack": Case(NumpyCache("bitpack"), True, NUMPY),
    "window": Case(NumpyCache("window:kept_tokens=20"), False, NUMPY),
    "two sides": Case(NumpyCache("dense:dtype=float64+dense:dtype=float64"), True, NUMPY),
    "dynamic": Case(TransformerCache("transformers:DynamicCache"), True, TORCH),
    "tokens": Case(TransformerCache("transformers:DynamicCache", "qwen3:layers=2", "stream", "tokens"), True, TORCH),
    "static": Case(TransformerCache("transformers:StaticCache"), True, TORCH),
    "press": Case(TransformerCache("kvpress:KnormPress,compression_ratio=0.5"), False, TORCH),
    "masking": Case(TransformerCache("kvpress:AdaKVPress,press=KnormPress,compression_ratio=0.5"), False, TORCH),
}  # fmt: skip


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """Return one host; those in transformers only where the extra is installed."""
    found = CASES[request.param]
    if isinstance(found.host, TransformerCache):
        request.getfixturevalue("extra")
    return found


@pytest.fixture(scope="module")
def game(case):
    """Return an encoding, coins, a string, and what the host wrote of it."""
    encoding = case.encoding()
    coins = Coins(RANDOMNESS.coins_seed(), encoding.public_keys)
    x = encoding.problem.sample(RANDOMNESS.secret())
    return encoding, coins, x, case.host.write(encoding.encode(x), coins)


def read(host, encoding, coins, payload):
    """Return what a host answers to all questions, and the string in it."""
    everything = np.arange(encoding.problem.length)
    outputs = host.ask(payload, encoding.reader_token(), encoding.queries(everything), coins)
    return outputs, encoding.decode(outputs, everything)


def test_its_fields_are_json(case):
    values = dataclasses.asdict(case.host)
    assert type(case.host)(**json.loads(json.dumps(values))) == case.host


def test_the_message_is_bytes_and_carries_what_it_must(case, game):
    encoding, coins, x, written = game
    assert type(written.payload) is bytes
    outputs, y = read(case.host, encoding, coins, written.payload)
    assert np.isfinite(outputs).all()
    errors = int((x != y).sum())
    assert errors == 0 if case.whole else 0.1 * len(x) < errors < 0.45 * len(x)


def test_the_same_stream_leaves_the_same_message(case, game):
    encoding, coins, x, written = game
    assert case.host.write(encoding.encode(x), coins) == written


def test_bob_reads_the_message_alone(case, game):
    encoding, coins, x, _ = game
    other = case.host.write(encoding.encode(encoding.problem.sample(np.random.default_rng(9))), coins)
    _, y = read(case.host, encoding, coins, other.payload)
    assert 0.3 < (x != y).mean() < 0.7


def test_asking_changes_nothing(case, game):
    encoding, coins, _, written = game
    once, again = (read(case.host, encoding, coins, written.payload)[0] for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("size", [1, 7])
def test_blocks_do_not_matter(case, game, size, monkeypatch):
    encoding, coins, _, written = game
    before = read(case.host, encoding, coins, written.payload)
    for name in case.blocks:
        monkeypatch.setattr(name, size)
    assert case.host.write(encoding.encode(game[2]), coins).payload == written.payload
    after = read(case.host, encoding, coins, written.payload)
    np.testing.assert_allclose(after[0], before[0], rtol=0, atol=1e-3)  # entries are at most about 10
    np.testing.assert_array_equal(after[1], before[1])


def test_a_subset_of_questions_is_answered_as_all_are(case, game):
    encoding, coins, _, written = game
    _, y = read(case.host, encoding, coins, written.payload)
    some = np.random.default_rng(3).choice(len(y), 40, replace=False)
    outputs = case.host.ask(written.payload, encoding.reader_token(), encoding.queries(some), coins)
    np.testing.assert_array_equal(encoding.decode(outputs, some), y[some])


def test_its_accounts_are_counts(case, game):
    accounts = game[3].accounts
    if accounts is None:
        return
    assert accounts.full_cache_bits > 0
    assert accounts.allocated_bits >= 0
    assert accounts.masked_entries >= 0
    assert accounts.nominal_bits is None or 0 <= accounts.nominal_bits <= accounts.full_cache_bits
    assert accounts.peak_bits is None or accounts.peak_bits >= accounts.allocated_bits
    assert 8 * len(game[3].payload) >= accounts.allocated_bits - accounts.masked_entries * 4 * 64


@pytest.mark.parametrize("damage", [b"", b"x"])
def test_no_message_of_its_own_is_refused(case, game, damage):
    encoding, coins, _, _ = game
    with pytest.raises(ValueError, match=r".") as caught:
        read(case.host, encoding, coins, damage)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["dense", "press"], indirect=True)
def test_it_is_the_same_in_fresh_processes(case, game):
    encoding, coins, x, written = game
    fresh = Isolated(case.host)
    assert fresh.write(encoding.encode(x), coins) == written
    _, y = read(case.host, encoding, coins, written.payload)
    np.testing.assert_array_equal(read(fresh, encoding, coins, written.payload)[1], y)
