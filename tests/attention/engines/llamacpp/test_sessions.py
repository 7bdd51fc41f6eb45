"""The engine answers as plain attention does, from its own bytes, however its cache is set up."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.engines.llamacpp.contexts import EngineFailedError, opened
from kvfloor.attention.engines.llamacpp.parameters import TYPES
from kvfloor.attention.engines.llamacpp.sessions import Session
from kvfloor.attention.engines.llamacpp.settings import Settings

EXACT = Settings("f32", "f32", flash="off")
FACTS, DIM = 100, 32


def write(settings, weights, dim, rows, architecture="llama"):
    """Return what a writer leaves."""
    return Session(settings, weights, dim, architecture).write(rows)


def read(settings, weights, payload, questions, first=None):
    """Return what a reader is answered."""
    return Session(settings, weights, DIM).read(payload, questions, first)


def rows(seed=3, count=FACTS):
    """Return random rows that hold nothing where heads write."""
    found = np.random.default_rng(seed).standard_normal((count, 192)).astype(np.float32)
    found[:, 128:] = 0
    return found


@pytest.fixture(scope="module")
def payload(engine, weights):
    """Return the state of an exact cache."""
    return write(EXACT, weights, DIM, rows()).payload


@pytest.mark.parametrize(("settings", "tolerance"), [
    # Scores reach 150, float32 keeps 24 bits of them; float16 keeps 11 bits of keys, queries and values.
    (EXACT, 1e-4), (replace(EXACT, sequences=4), 1e-4), (replace(EXACT, sequences=4, unified=True), 1e-4),
    (Settings("f16", "f16", flash="off"), 0.2), (Settings("f16", "f16", flash="on"), 0.2), (Settings(), 0.2),
    (Settings("f32", "f32", flash="on"), 0.2),
])  # fmt: skip
def test_the_engine_is_plain_attention(engine, weights, plain, settings, tolerance):
    written = write(settings, weights, DIM, rows())
    questions = rows(4, 9)
    answers = read(settings, weights, written.payload, questions)
    assert np.abs(answers - plain(rows(), questions)).max() < tolerance


def test_a_window_hides_what_is_behind_it(engine, weights, plain):
    settings = replace(EXACT, sliding_window=20)
    weights = weights | {"0.query": weights["0.query"] / 50}  # so that no question attends to itself alone
    written = write(settings, weights, DIM, rows())
    questions = rows(4, 5)
    answers = read(settings, weights, written.payload, questions)
    for question, answer in zip(questions, answers, strict=True):  # each is asked alone
        assert np.abs(answer - plain(rows(), question[None], gain=0.4, seen=20)).max() < 1e-4
        assert np.abs(answer - plain(rows(), question[None], gain=0.4)).max() > 0.05


def test_questions_leave_no_trace_and_the_reader_s_tokens_do(engine, weights, plain, payload):
    first, questions = rows(7, 2), rows(5, 300)  # two passes
    answers = read(EXACT, weights, payload, questions, first)
    assert np.abs(answers[:256] - plain(np.vstack([rows(), first]), questions[:256])).max() < 1e-4
    assert np.abs(answers[256:] - plain(np.vstack([rows(), first]), questions[256:])).max() < 1e-4


@pytest.mark.parametrize("type_k", TYPES)
def test_every_type_is_stored_at_its_size(engine, weights, type_k):
    for type_v in TYPES:
        written = write(Settings(type_k, type_v), weights, DIM, rows())
        entry = sum(8 * size / entries for _, entries, size in (TYPES[type_k], TYPES[type_v]))
        assert written.nominal_bits == 64 * FACTS * entry
        # 12 bytes a token of position and sequences, and a header.
        assert 0 <= 8 * len(written.payload) - written.nominal_bits - 96 * FACTS < 1000
        assert written.allocated_bits == 256 * 64 * entry  # whole pages of 256 cells
        assert written.full_cache_bits == 2 * 16 * 64 * FACTS


def test_quantised_types_are_rotated_unless_told_otherwise(engine, weights):
    # The engine rotates blocks of 64 channels: here one head of 64, not two of 32.
    on, off = (write(Settings("q8_0", "q8_0", rotation=r), weights, 64, rows()) for r in (True, False))
    assert (on.rotated, off.rotated) == (True, False)
    assert len(on.payload) == len(off.payload)
    assert on.payload != off.payload
    assert not write(Settings("f16", "f16"), weights, 64, rows()).rotated
    assert not write(Settings("q8_0", "q8_0"), weights, DIM, rows()).rotated


def test_what_the_engine_refuses_is_one_sentence(engine, weights):
    with pytest.raises(EngineFailedError, match="quantized V cache requires flash_attn") as caught:
        write(Settings("f16", "q8_0", flash="off"), weights, DIM, rows())
    assert "\n" not in str(caught.value)
    with opened(weights, DIM, EXACT, 200) as context, pytest.raises(EngineFailedError, match="room for 200"):
        context.feed(rows(1, 201))
    with pytest.raises(ValueError, match="qwen3 has no sliding window"):
        write(replace(EXACT, sliding_window=4), weights, DIM, rows(), "qwen3")


def tried(connection, weights, payload):
    """Restore a payload and ask it; send what came of it."""
    try:
        read(EXACT, weights, payload, rows(4, 2))
        connection.send("answers")
    except ValueError as error:
        connection.send(type(error).__name__)


def outcome(weights, payload):
    """Return what comes of restoring a payload in a process of its own: a word, or how it ended."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=tried, args=(theirs, weights, payload))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return process.exitcode


def test_a_damaged_state_is_told_or_ends_its_own_process_alone(engine, weights, payload):
    rng = np.random.default_rng(0)
    cut = [payload[:length] for length in (0, 1, 11, 100, len(payload) // 2, len(payload) - 1)]
    foreign = [rng.bytes(1000), write(Settings(), weights, DIM, rows()).payload, payload + b"\0"]
    edited = []
    for place in rng.integers(0, 200, 12):  # the headers
        edited.append(payload[:place] + bytes([payload[place] ^ 0x80]) + payload[place + 1 :])
    outcomes = [outcome(weights, each) for each in [*cut, *foreign, *edited]]
    assert outcome(weights, payload) == "answers"
    assert all(found in ("answers", "WireError", "EngineFailedError") or found < 0 for found in outcomes)
    assert "answers" not in outcomes[: len(cut) + len(foreign)]
    assert outcomes.count("WireError") > len(cut)


def test_a_cut_state_is_a_wire_error_in_this_process_too(engine, weights, payload):
    with pytest.raises(WireError, match="takes 0 bytes of a state of"):
        read(EXACT, weights, payload[:-1], rows(4, 2))
