"""The contract of all caches, one law a function; and caches that break each law, to show that it can fail.

A law takes a way to make caches and a stream, and raises AssertionError where it is broken.
"""

import importlib.util
import json
import struct
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvfloor.attention.caches import CACHES, Coins, WireError, resolve
from kvfloor.attention.caches.dense import Dense

REPRESENTATIVES = {
    "dense": ["dense:dtype=float64", "dense:dtype=float32", "dense", "dense:dtype=bfloat16"],
    "uniform": [
        "uniform:group_size=4",
        "uniform:bits=1,group_size=3,key_axis=token,value_axis=channel",
        "uniform:bits=5,group_size=1",
        "uniform:bits=8,group_size=100",
        "uniform:key_bits=2,value_bits=16,group_size=4",
    ],
    "uniform-values": ["uniform-values:bits=3,group_size=2"],
    "blocks": ["blocks:type_k=q4_1,type_v=q5_0", "blocks:rotation=on"],
    "bitpack": ["bitpack", "bitpack:kept_tokens=5"],
    "repetition": ["repetition"],
    "hamming": ["hamming"],
    "golay": ["golay"],
    "window": ["window:kept_tokens=1", "window:kept_tokens=7,dtype=float32"],
    "unmasked-window": [
        "unmasked-window:window_tokens=1",
        "unmasked-window:window_tokens=7,dtype=float64",
        "unmasked-window:window_tokens=50",
    ],
    "sinks": ["sinks:kept_tokens=7", "sinks:kept_tokens=3,sink_tokens=0,dtype=bfloat16"],
    "random": ["random:kept_tokens=1", "random:kept_tokens=7,dtype=float64"],
    "knorm": ["knorm:kept_tokens=7"],
    "h2o": ["h2o:kept_tokens=1", "h2o:kept_tokens=7,query_factor=2"],
    "snapkv": ["snapkv:kept_tokens=7,window_tokens=3", "snapkv:kept_tokens=2,window_tokens=1,pool_tokens=4"],
    "coreset": [
        "coreset:kept_tokens=7,recent_tokens=2",
        "coreset:kept_tokens=1,recent_tokens=0,dtype=float64",
    ],
    "balance": ["balance:batch_tokens=4", "balance:levels=3,batch_tokens=2,walk_bound=0.5,dtype=float64"],
    "merge": ["merge:kept_tokens=7,recent_tokens=2", "merge:kept_tokens=1,recent_tokens=0,dtype=float64"],
    "lowrank": ["lowrank:key_rank=2,value_rank=1", "lowrank:key_rank=9,value_rank=9,dtype=float64"],
    "linear": ["linear:features=5"],
    "turboquant": ["turboquant", "turboquant:bits=5"],
    "qjl": ["qjl:sketch_bits=9,value_bits=1,group_size=2"],
    "subgen": [
        "subgen:delta=2.0,cluster_slots=3,value_slots=4",
        "subgen:delta=1e-9,cluster_slots=1,value_slots=1",
        "subgen:delta=100.0,cluster_slots=5,value_slots=2",
    ],
    "subgen4": [
        "subgen4:delta=2.0,cluster_slots=3,value_slots=4",
        "subgen4:delta=1e-9,cluster_slots=1,value_slots=1",
    ],
    "linear-attention": ["linear-attention", "linear-attention:degree=2,dtype=bfloat16"],
    "delta-net": ["delta-net", "delta-net:degree=2,rate=0.5,dtype=float64"],
    "gated-delta-net": ["gated-delta-net", "gated-delta-net:rate=0.5,decay=0.9,dtype=float16"],
    "selective-ssm": ["selective-ssm", "selective-ssm:slots=9,forget=nothing,dtype=float16"],
    "rwkv": ["rwkv", "rwkv:slots=9,decay=0.25,dtype=float64"],
    "hybrid": [
        "hybrid:window_tokens=3",
        "hybrid:window_tokens=1,state=selective-ssm,dtype=float64",
        "hybrid:window_tokens=50,state=linear-attention,share=0.5,dtype=bfloat16",
    ],
    "heads": ["heads:kept_tokens=7", "heads:kept_tokens=5,rule=h2o", "heads:kept_tokens=3,rule=random"],
}
SIDES = [
    "dense+dense:dtype=float64",
    "window:kept_tokens=7+uniform:bits=3,group_size=4",
    "golay+random:kept_tokens=5",
]
OPTIONAL = {"blocks"} if importlib.util.find_spec("gguf") is None else set()  # needs the extra llamacpp
SPECS = [spec for name in CACHES if name not in OPTIONAL for spec in REPRESENTATIVES.get(name, [])] + SIDES
# Their stream has two parts: before it crosses the wire, and after.
COMPRESS_WHEN_SENT = {"snapkv", "lowrank"}


@dataclass(frozen=True)
class Stream:
    """Tokens with binary values, most of them with public keys, on one or two sides, and queries."""

    arrays: tuple  # keys and values, of one side or of both
    queries: np.ndarray
    coins: Coins

    def __len__(self):
        return len(self.arrays[0])

    @property
    def shape(self):
        return self.arrays[0].shape[1], self.arrays[1].shape[1], self.coins

    def block(self, *where):
        """Return some of the tokens."""
        return [array[slice(*where)] for array in self.arrays]

    def blocks(self, cuts):
        """Return the tokens in blocks that end at the cuts."""
        ends = sorted({cut for cut in cuts if 0 < cut < len(self)} | {len(self)})
        return [self.block(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def sides(spec):
    """Return how many sides the stream of a cache has."""
    return resolve(spec).factory.sides


def stream(seed, tokens=20, dim=6, value_dim=3, sides=1):
    rng = np.random.default_rng(seed)
    arrays, shared = [], []
    known = max(1, tokens - int(rng.integers(4)))
    for _ in range(sides):
        keys = rng.normal(size=(tokens, dim))
        keys[rng.random(tokens) < 0.1] = 0
        shared.append(keys[:known].copy())
        keys[rng.random(tokens) < 0.1] += 1  # these and the last ones have keys that are not public
        arrays += [keys, rng.integers(0, 2, (tokens, value_dim)).astype(float)]
    return Stream(tuple(arrays), 3 * rng.normal(size=(5, dim)), Coins(seed, np.hstack(shared)))


sizes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "tokens": st.integers(1, 40),
        "dim": st.integers(1, 6),
        "value_dim": st.integers(1, 4),
    }
)
cuts = st.lists(st.integers(1, 39), max_size=5)


def filled(make, stream, cuts=()):
    cache = make(*stream.shape)
    for block in stream.blocks(cuts):
        cache.append(*block)
    return cache


def restored(cache, stream, payload=None):
    return type(cache).from_bytes(cache.to_bytes() if payload is None else payload, stream.coins)


def round_trip_preserves_answers_and_bytes(make, stream):
    for cache in (make(*stream.shape), filled(make, stream)):
        again = restored(cache, stream)
        assert again.to_bytes() == cache.to_bytes()
    assert np.array_equal(again.attend(stream.queries), cache.attend(stream.queries))


def any_blocks_give_the_same_state(make, stream):
    whole = filled(make, stream)
    for cuts in ([1], [5, 6], range(len(stream))):
        assert filled(make, stream, cuts).to_bytes() == whole.to_bytes()


def attending_changes_nothing(make, stream):
    cache, queries = filled(make, stream), stream.queries.copy()
    payload = cache.to_bytes()
    outputs = cache.attend(queries)
    assert np.array_equal(queries, stream.queries)
    assert cache.to_bytes() == payload
    outputs[:] = 7  # an answer is the asker's own
    assert not (cache.attend(queries) == 7).all()
    assert cache.to_bytes() == payload


def a_restored_cache_goes_on_like_the_original(make, stream):
    cache = filled(make, stream)
    if cache.to_bytes() and getattr(cache, "name", None) in COMPRESS_WHEN_SENT:
        cache = restored(cache, stream)
    for place in range(len(stream))[::-1]:
        again = restored(cache, stream)
        for one in (cache, again):
            one.append(*stream.block(place, place + 1))
        assert again.to_bytes() == cache.to_bytes()
        assert np.array_equal(again.attend(stream.queries), cache.attend(stream.queries))


def a_payload_is_the_whole_state(make, stream):
    cache = filled(make, stream)
    payload, outputs = cache.to_bytes(), cache.attend(stream.queries)
    other = make(
        *stream.shape
    )  # another cache of the same kind, and more of the same stream, must not matter
    keys, values = stream.arrays[::2], stream.arrays[1::2]
    other.append(*(a for k, v in zip(keys, values, strict=True) for a in (k[::-1], 1 - v)))
    other.to_bytes()
    cache.append(*stream.block(1))
    assert np.array_equal(restored(cache, stream, payload).attend(stream.queries), outputs)


def wrong_arguments_are_rejected(make, stream):
    cache = filled(make, stream)
    payload = cache.to_bytes()
    block = stream.block(2)
    wrong = [[array[:0] for array in block], [array[0] for array in block]]
    for place, array in enumerate(block):
        beyond = array * np.nan, np.full_like(array, np.inf), np.full_like(array, -np.inf)
        shapes = array[:, 1:], array[:1], array.repeat(2, axis=0)
        for other in (*beyond, *shapes, array.astype(complex)):
            wrong.append([*block[:place], other, *block[place + 1 :]])
    attempts = [(cache.append, arrays) for arrays in wrong]
    keys = block[0]
    attempts += [(cache.attend, (queries,)) for queries in (keys[:, 1:], keys[:0], keys[0], keys * np.nan)]
    attempts.append((make(*stream.shape).attend, (stream.queries,)))
    for method, arguments in attempts:
        message = None
        try:
            method(*arguments)
        except ValueError as error:
            message = str(error)
        assert message is not None, f"{method.__name__} accepted {arguments}"
        assert is_one_sentence(message)
    assert cache.to_bytes() == payload


def malformed_payloads_are_rejected(make, stream):
    cache = filled(make, stream)
    payload = cache.to_bytes()
    rng = np.random.default_rng(len(payload))
    accepts_only_states(cache, stream, b"")
    for end in range(0, len(payload), max(1, len(payload) // 20)):
        accepts_only_states(cache, stream, payload[:end])
        accepts_only_states(cache, stream, payload + payload[:end] if end else payload + b"\0")
    for _ in range(40):
        flipped = bytearray(payload)
        flipped[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        accepts_only_states(cache, stream, bytes(flipped))
        accepts_only_states(cache, stream, checksummed(bytes(flipped[:-4])))


def accepts_only_states(cache, stream, payload):
    """Assert that a payload gives WireError, or a cache of exactly this payload that answers and goes on."""
    message = None
    try:
        again = restored(cache, stream, payload)
    except WireError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} instead of WireError: {error}") from error
    if message is not None:
        assert is_one_sentence(message)
        return
    assert again.to_bytes() == payload
    dim, value_dim = again.dim, again.value_dim
    if max(dim, value_dim) > 1000:  # an empty cache may have any dimension
        return
    again.append(*[np.zeros((1, dim)), np.zeros((1, value_dim))] * again.sides)
    outputs = again.attend(np.ones((2, dim)))
    assert outputs.shape == (2, value_dim)
    assert np.isfinite(outputs).all()


def is_one_sentence(message):
    return 0 < len(message) < 300 and "\n" not in message


def checksummed(data):
    return data + struct.pack("<I", zlib.crc32(data))


def with_header(payload, header):
    """Return the payload with another header and a right checksum."""
    length = struct.unpack_from("<H", payload, 5)[0]
    return checksummed(payload[:5] + struct.pack("<H", len(header)) + header + payload[7 + length : -4])


LAWS = [
    round_trip_preserves_answers_and_bytes,
    any_blocks_give_the_same_state,
    attending_changes_nothing,
    a_restored_cache_goes_on_like_the_original,
    a_payload_is_the_whole_state,
    wrong_arguments_are_rejected,
    malformed_payloads_are_rejected,
]


def test_every_cache_is_represented():
    assert set(REPRESENTATIVES) == set(CACHES)
    for name, specs in REPRESENTATIVES.items():
        assert specs
        assert {spec.partition(":")[0] for spec in specs} == {name}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("spec", SPECS)
def test_law(spec, law):
    make = resolve(spec).make
    for seed in range(2):
        law(make, stream(seed, sides=sides(spec)))
        law(make, stream(seed, tokens=65, dim=17, value_dim=9, sides=sides(spec)))


@pytest.mark.parametrize("spec", SPECS)
@given(sizes, cuts)
@settings(max_examples=25, deadline=None)
def test_any_stream_in_any_blocks(spec, sizes, cuts):
    make = resolve(spec).make
    stream_ = stream(**sizes, sides=sides(spec))
    cache = filled(make, stream_, cuts)
    assert cache.to_bytes() == filled(make, stream_).to_bytes()
    round_trip_preserves_answers_and_bytes(make, stream_)
    a_restored_cache_goes_on_like_the_original(make, stream_)


@pytest.mark.parametrize("spec", SPECS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_fuzzed_payloads(spec, data):
    """Flips, truncations and splices, as they come and with the checksum put right."""
    stream_ = stream(data.draw(st.integers(0, 3)), tokens=12, sides=sides(spec))
    cache = filled(resolve(spec).make, stream_)
    payload = cache.to_bytes()
    another = data.draw(st.sampled_from(SPECS))
    other = filled(resolve(another).make, stream(5, tokens=9, sides=sides(another))).to_bytes()
    places = st.integers(0, len(payload) - 1)
    fuzzed = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "splice"]))
        place = min(data.draw(places), max(len(fuzzed) - 1, 0))
        if kind == "flip" and fuzzed:
            fuzzed[place] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del fuzzed[place : place + data.draw(st.integers(1, 20))]
        elif kind == "insert":
            fuzzed[place:place] = data.draw(st.binary(max_size=10))
        else:
            fuzzed[place:] = other[data.draw(st.integers(0, len(other))) :]
    accepts_only_states(cache, stream_, bytes(fuzzed))
    accepts_only_states(cache, stream_, checksummed(bytes(fuzzed[:-4])))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 130),
    st.integers(0, 2**70),
    st.floats(allow_nan=True),
    st.sampled_from(["float16", "channel", "", "\ud800"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@pytest.mark.parametrize("spec", SPECS)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_edited_headers(spec, data):
    """Another entry anywhere in the header, with a right checksum and length."""
    stream_ = stream(2, tokens=12, sides=sides(spec))
    cache = filled(resolve(spec).make, stream_)
    payload = cache.to_bytes()
    header = json.loads(payload[7 : 7 + struct.unpack_from("<H", payload, 5)[0]])
    part = header[data.draw(st.sampled_from([1, 2, 2, 2]))]
    if data.draw(st.booleans()) and part:
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(scalars)
    else:
        part.insert(data.draw(st.integers(0, len(part))), data.draw(scalars))
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    edited = json.dumps(header, separators=separators).encode()
    accepts_only_states(cache, stream_, with_header(payload, edited))


@pytest.mark.parametrize("spec", SPECS)
def test_sizes_that_lie_cost_no_memory(spec):
    stream_ = stream(1, sides=sides(spec))
    cache = filled(resolve(spec).make, stream_)
    payload = cache.to_bytes()
    header = json.loads(payload[7 : 7 + struct.unpack_from("<H", payload, 5)[0]])
    tracemalloc.start()
    for place, count in enumerate(header[2]):
        for lie in (0, count + 1, 1 << 20, 1 << 34, 1 << 48, 1 << 80):
            edited = [*header[:2], [*header[2][:place], lie, *header[2][place + 1 :]]]
            accepts_only_states(
                cache, stream_, with_header(payload, json.dumps(edited, separators=(",", ":")).encode())
            )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_payloads_of_other_caches_are_rejected():
    stream_ = stream(0)
    last = [*(specs[-1] for specs in REPRESENTATIVES.values()), SIDES[0]]
    caches = [filled(resolve(spec).make, stream(0, sides=sides(spec))) for spec in last]
    for writer in caches:
        for reader in caches:
            if type(reader) is not type(writer):
                with pytest.raises(WireError, match=f"payload of '{writer.name}', not of '{reader.name}'"):
                    type(reader).from_bytes(writer.to_bytes(), stream_.coins)


@pytest.mark.parametrize("spec", SPECS)
def test_little_is_spent_beyond_the_arrays(spec):
    cache = resolve(spec).make(64, 64, Coins(0, np.ones((1, 64 * sides(spec)))))
    payloads = 1 + len(getattr(cache, "_parts", []))  # their own and those of the caches they consist of
    assert len(cache.to_bytes()) < 100 * payloads


def test_payloads_speak_for_themselves_in_a_fresh_process():
    """Another interpreter, given specs, payloads, coins and queries, finds the same answers."""
    streams = [stream(4, tokens=30, sides=sides(spec)) for spec in SPECS]
    caches = [filled(resolve(spec).make, one) for spec, one in zip(SPECS, streams, strict=True)]
    script = (
        "import json, sys\n"
        "import numpy as np\n"
        "from kvfloor.attention.caches import Coins, resolve\n"
        "told = json.load(sys.stdin)\n"
        "answers = [\n"
        "    resolve(one['spec']).restore(bytes.fromhex(one['payload']), *one['dims'],\n"
        "                                 Coins(one['seed'], np.array(one['public'])))\n"
        "    .attend(np.array(one['queries'])).tolist() for one in told]\n"
        "json.dump(answers, sys.stdout)\n"
    )
    told = [
        {
            "spec": spec,
            "payload": cache.to_bytes().hex(),
            "seed": one.coins.seed,
            "public": one.coins.keys.tolist(),
            "queries": one.queries.tolist(),
            "dims": one.shape[:2],
        }
        for spec, cache, one in zip(SPECS, caches, streams, strict=True)
    ]
    run = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for cache, one, answer in zip(caches, streams, json.loads(run.stdout), strict=True):
        assert np.array_equal(cache.attend(one.queries), answer)


# Caches that break a law each, and nothing else that matters to it.


class KeepsItsValuesInTheClass(Dense):
    """Sends keys only: the values stay behind in the class."""

    values = None

    def to_bytes(self):
        type(self).values = self._values.array.copy()
        blank = Dense(self.dim, self.value_dim, self.coins)
        if len(self._keys):
            blank.append(self._keys.array, np.zeros_like(self._values.array))
        return blank.to_bytes()

    @classmethod
    def from_bytes(cls, payload, coins):
        cache = super().from_bytes(payload, coins)
        cache._values.replace(cls.values)
        return cache


class ScalesEachBlock(Dense):
    """Rounds keys to a grid that depends on the block in which they come."""

    def _append(self, keys, values):
        grid = np.abs(keys).max() + 1e-3
        super()._append(np.round(keys / grid, 1) * grid, values)


class RemembersQueries(Dense):
    """Appends what it is asked to its tokens."""

    def attend(self, queries):
        outputs = super().attend(queries)
        self._store(queries[:1], outputs[:1])
        return outputs


class HandsOutItsBuffer(Dense):
    """Keeps its last answer, and hands out the very array."""

    answer = None

    def attend(self, queries):
        if self.answer is None:
            self.answer = super().attend(queries)
        return self.answer


class ForgetsItsCounter(Dense):
    """Keeps every other token, but which comes next does not cross the wire."""

    count = 0

    def _append(self, keys, values):
        chosen = np.arange(self.count, self.count + len(keys)) % 2 == 0
        self.count += len(keys)
        super()._append(keys[chosen], values[chosen])


class ForgetsTheLastToken(Dense):
    """Does not send the last token."""

    def _state(self):
        (count,), (keys, values) = super()._state()
        kept = max(count - 1, 0)
        return (kept,), (keys[:kept], values[:kept])


class TakesAnything(Dense):
    """Does not look at what it is given."""

    def append(self, keys, values):
        self._append(np.nan_to_num(np.atleast_2d(keys)[:, :1].real), np.atleast_2d(values)[:, :1])


class ChecksNothing(Dense):
    """Reads its numbers straight from the bytes."""

    @classmethod
    def from_bytes(cls, payload, coins):
        cache = super().from_bytes(checksummed(payload[:-4]), coins)
        cache._payload = payload
        return cache


class CrashesOnNonsense(Dense):
    """Trips over a payload that is too short."""

    @classmethod
    def from_bytes(cls, payload, coins):
        struct.unpack_from("<4sBH", payload)
        return super().from_bytes(payload, coins)


BROKEN = [
    (KeepsItsValuesInTheClass, a_payload_is_the_whole_state),
    (ScalesEachBlock, any_blocks_give_the_same_state),
    (RemembersQueries, attending_changes_nothing),
    (HandsOutItsBuffer, attending_changes_nothing),
    (ForgetsItsCounter, a_restored_cache_goes_on_like_the_original),
    (ForgetsTheLastToken, round_trip_preserves_answers_and_bytes),
    (TakesAnything, wrong_arguments_are_rejected),
    (ChecksNothing, malformed_payloads_are_rejected),
    (CrashesOnNonsense, malformed_payloads_are_rejected),
]


@pytest.mark.parametrize(("broken", "law"), BROKEN, ids=lambda item: item.__name__)
def test_broken_caches_are_caught(broken, law):
    law(Dense, stream(0))
    with pytest.raises(AssertionError):
        law(broken, stream(0))
