"""llama.cpp's cache as a host: every shape and setting decodes what its types hold, in fresh processes too."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from kvfloor.attention.caches import Coins
from kvfloor.attention.engines.llamacpp.library import EXTRA
from kvfloor.attention.engines.llamacpp.parameters import TYPES
from kvfloor.attention.engines.llamacpp.sessions import Session
from kvfloor.attention.engines.llamacpp.settings import Settings
from kvfloor.experiments.audits import audit as audits
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.llamacpp import LlamaCache
from kvfloor.experiments.game.protocol import play, play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.show.command import main
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.encodings.levels import BINARY, Levels
from kvfloor.reductions.encodings.streams.heads import MultiHeadEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.weights.transformer import ONE, TransformerEncoding

TOKENS = 96


@pytest.fixture(scope="session")
def engine():
    for package in EXTRA:
        pytest.importorskip(package, reason=f"needs the extra llamacpp: {package} is not installed")


def instance(dim=64, heads=1, levels=BINARY, both=None, seed=0):
    """Return INDEX in values, or in keys or both, a head."""
    rng = np.random.default_rng(seed)
    if both is None:
        keys = Keys.drawn("gaussian", TOKENS, dim, rng, np.float32)
        head = ValuesEncoding.build(keys, dim, levels, TYPICAL, 60.0)
    else:
        addresses = Keys.drawn("gaussian", TOKENS, dim // 2, rng, np.float32)
        # Longer than proved to be enough: the engine rounds keys and queries.
        head = KeysEncoding.build(addresses, Layout.of_half(dim, dim, both), query_norm=50.0, bit_norm=6.0)
    return head if heads == 1 else MultiHeadEncoding((head,) * heads)


def played(spec, encoding=None, model="llama"):
    """Return a play in this process."""
    return play_in_full(encoding or instance(), LlamaCache(f"llamacpp:{spec}", model), Randomness(1, "test"))


@pytest.mark.parametrize("rotation", ["on", "off"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_holds_every_bit(engine, kind, rotation):
    found = played(f"type_k={kind},type_v={kind},rotation={rotation}")
    # Rotated, values of one sign have one large channel in 64, whose block rounds the other 31 coarsely.
    coarse = rotation == "on" and kind in ("q4_0", "iq4_nl")
    assert found.transcript.errors <= (0.02 * TOKENS * 64 if coarse else 0)
    accounts = found.written.accounts
    assert accounts.nominal_bits == TOKENS * 64 * 2 * 8 * TYPES[kind][2] / TYPES[kind][1]
    assert accounts.allocated_bits == accounts.nominal_bits * 256 / TOKENS  # whole pages of cells
    assert accounts.full_cache_bits == TOKENS * 64 * 2 * 16
    assert accounts.compresses == (kind not in ("f32", "f16", "bf16"))


@pytest.mark.parametrize("spec", [
    "flash=off", "flash=on", "flash=auto", "sequences=3", "sequences=3,unified=on",
    "type_k=q8_0,flash=off", "type_k=q4_0,type_v=q8_0,flash=on", "type_k=q5_0,type_v=q8_0,sequences=2,unified=on",
])  # fmt: skip
def test_every_setting_holds_every_bit(engine, spec):
    assert played(spec).transcript.errors == 0


@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize(
    "model", ["llama:layers=3", "llama:heads=4,kv_heads=2", "llama:layers=2,heads=6,kv_heads=2"]
)
def test_every_shape_holds_every_bit(engine, model, dim):
    host = LlamaCache("llamacpp:type_k=q8_0,type_v=q8_0", model)
    found = play(instance(dim, host.heads), host, Randomness(2, "test"))
    assert found.errors == 0
    assert found.symbols == TOKENS * host.heads * dim


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("spec", ["flash=off", "type_k=q8_0,type_v=q8_0"])
def test_keys_hold_bits_too(engine, spec, both):
    assert played(spec, instance(both=both)).transcript.errors == 0


@pytest.mark.parametrize(
    ("kind", "holds", "breaks"), [("f32", 4096, None), ("f16", 512, 1 << 14), ("q8_0", 32, 512)]
)
def test_levels_tell_types_apart(engine, kind, holds, breaks):
    spec = f"type_k=f32,type_v={kind},rotation=off" + (",flash=off" if kind == "f32" else "")
    assert played(spec, instance(levels=Levels.equal(holds))).transcript.errors == 0
    if breaks:
        assert played(spec, instance(levels=Levels.equal(breaks))).transcript.errors > 0


def test_the_rotation_spoils_values_of_one_sign(engine):
    plain, rotated = (
        played(f"type_k=f16,type_v=q4_0,rotation={r}", instance(levels=Levels.equal(8))).transcript.errors
        for r in ("off", "on")
    )
    assert rotated > 2 * max(plain, 100)


def test_a_window_keeps_what_it_shows(engine):
    found = played("sliding_window=40,flash=off", instance(heads=2), "llama:layers=2")
    wrong = found.wrong.reshape(2, TOKENS, 64)
    # Bob's token and the question take two of the 40; layer 1 does not slide.
    assert not wrong[1].any()
    assert not wrong[0, TOKENS - 38 :].any()
    assert wrong[0, : TOKENS - 38].mean() > 0.4
    assert found.written.accounts.nominal_bits == (40 + TOKENS) * 64 * 2 * 16


def test_every_class_of_models_says_every_bit(engine, model_case):
    compiled = TransformerEncoding.draw(TOKENS, model_case.dim, np.random.default_rng(0), **model_case.sizes)
    x = compiled.problem.sample(np.random.default_rng(1))
    session = Session(
        Settings("f32", "f32", flash="off"), compiled.weights(), compiled.dim, model_case.architecture
    )
    if model_case.architecture == "qwen2":
        with pytest.raises(
            ValueError, match="architecture is 'qwen2', expected one of llama, mistral, qwen3"
        ):
            session.write(compiled.encode(x))
        return
    indices = np.random.default_rng(2).integers(0, compiled.problem.length, 500)
    logits = session.read(session.write(compiled.encode(x)).payload, compiled.bit_questions(indices))
    assert np.array_equal(logits.argmax(axis=1) == ONE, x[indices] == 1)


def test_fresh_processes_say_the_same(engine):
    host, encoding = LlamaCache("llamacpp:type_k=q8_0,type_v=q4_0"), instance()
    apart = play_in_full(encoding, Isolated(host), Randomness(1, "test"))
    here = play_in_full(encoding, host, Randomness(1, "test"))
    assert apart.written.payload == here.written.payload
    assert apart.transcript == here.transcript
    assert apart.written.accounts == here.written.accounts


def test_a_damaged_message_is_one_sentence(engine):
    host, encoding = LlamaCache("llamacpp:"), instance()
    payload = host.write(encoding.encode(encoding.problem.sample(np.random.default_rng(0))), Coins(0)).payload
    isolated = Isolated(host)
    for damaged in (payload[:-7], payload[:40], b"", b"\xff" * 4000):
        with pytest.raises(ValueError, match=r"llama\.cpp takes|process") as caught:
            isolated.ask(damaged, encoding.reader_token(), encoding.queries(np.arange(64)), Coins(0))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("spec", "model", "sentence"), [
    ("llamacpp:type_k=q3", "llama", "type_k is 'q3'"),
    ("llamacpp:", "qwen3", "in llama.cpp the model is llama"),
    ("llamacpp:", "llama:dtype=float16", "its types are the cache's"),
])  # fmt: skip
def test_wrong_hosts_are_one_sentence(spec, model, sentence):
    with pytest.raises(ValueError, match=sentence):
        LlamaCache(spec, model)


def test_the_command_audits_it(engine):
    arguments = [
        "audit",
        "llamacpp:type_k=q8_0,type_v=q4_0,rotation=off",
        "--tokens",
        "128",
        "--json",
        "--seed",
        "5",
    ]
    found = json.loads(CliRunner().invoke(main, arguments, catch_exceptions=False).stdout)
    assert (found["errors"], found["verdict"], found["capacity_bits"]) == (0, "consistent", 128 * 64)
    assert found["nominal_bits"] == 128 * 64 * 13
    assert found["allocated_bits"] == 256 * 64 * 13
    shown = CliRunner().invoke(main, [*arguments, "--value-dim", "32"])
    assert shown.exit_code == 2
    assert "values of the dimension of keys" in shown.stderr


def test_the_audit_takes_heads_and_sides(engine):
    found = audits.audit("llamacpp:", model="llama:layers=2,heads=2", tokens=64, dim=32, sides="both", seed=3)
    assert (found.errors, found.verdict) == (0, "consistent")
    assert found.model == "llama.cpp, 2 layers of 2 heads (2 of keys and values)"
    with pytest.raises(ValueError, match="leave out --feed, --readout"):
        audits.audit("llamacpp:", feed="stream")
