"""Several readers in a play and in an audit: who wins, what it costs, and when only the threshold may read."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import kvfloor
from kvfloor.experiments.game.protocol import Asking, Transcript, play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.reading import READERS, fitting_readers
from kvfloor.experiments.show.command import main
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.bounds.certificates import one_shot_certificate
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

RANDOMNESS = Randomness(3, "readers")


def instance(tokens=96, value_dim=16):
    keys = Keys.drawn("gaussian", tokens, 16, RANDOMNESS.keys(), np.float32)
    return ValuesEncoding.build(keys, value_dim, accuracy=TYPICAL)


def read(cache, reader, positions=None, **options):
    return play(instance(), cache, RANDOMNESS, asking=Asking(positions, (reader,)), **options)


def test_the_best_reader_counts_and_the_first_of_equals():
    each = {reader: read("linear:features=96", reader).errors for reader in READERS[:3]}
    best = play(instance(), "linear:features=96", RANDOMNESS, asking=Asking(readers=READERS[:3]))
    assert best.errors == min(each.values()) == each[best.reader]
    assert best.reader == "probe"
    assert best.readers == 3
    assert play(instance(), "dense", RANDOMNESS, asking=Asking(readers=READERS)).reader == "threshold"


def test_the_certificate_pays_for_the_choice():
    one, four = (Transcript(10**6, 40, 4096, 4096, 2, "probe", readers).certificate() for readers in (1, 4))
    assert one.certified_bits - four.certified_bits == pytest.approx(2)
    assert one.significance_log2 == four.significance_log2 == -40
    with pytest.raises(ValueError, match="decoders must be at least 1, got 0"):
        one_shot_certificate(64, 0, decoders=0)


def test_the_best_of_many_guesses_would_be_accused_without_the_payment():
    """Tiny instances, an empty message, 2^10 guesses at random: at t = 0 the best beats Theorem A too often.

    With the prefix of 64 bits left out, a string of N = 20 bits and r = 1024 guesses, the inequality is
    violated with probability at most 2^-t only if t + log2 r is charged. Here at t = 2, over 400 instances,
    the frequency must not exceed 1/4 by more than Hoeffding allows at 1e-6; and without the payment it does.
    """
    rng, plays, guesses, length = np.random.default_rng(0), 400, 1024, 20
    rates = {}
    for decoders in (guesses, 1):
        accused = 0
        for _ in range(plays):
            x = rng.integers(0, 2, length)
            errors = int((rng.integers(0, 2, (guesses, length)) != x).sum(axis=1).min())
            found = one_shot_certificate(length, errors, significance_bits=2.0, decoders=decoders)
            proved = found.capacity_bits - found.log2_ball - 2.0 - np.log2(decoders)
            accused += proved >= 0
        rates[decoders] = accused / plays
    allowed = 0.25 + np.sqrt(np.log(1e6) / (2 * plays))
    assert rates[guesses] <= allowed < rates[1]


@pytest.mark.parametrize(("cache", "reader"), [
    ("linear:features=96", "probe"),
    ("lowrank:key_rank=4,value_rank=16", "probe"),
    ("qjl:sketch_bits=12", "probe"),
])  # fmt: skip
def test_solving_reads_what_the_threshold_misses(cache, reader):
    assert read(cache, reader).errors < 0.7 * read(cache, "threshold").errors


def test_exact_answers_at_a_low_query_norm_are_solved_with_public_weights():
    """At C = 2 neighbours drown a token's bit in the answer; the exact map is invertible all the same."""
    keys = Keys.drawn("gaussian", 96, 16, RANDOMNESS.keys())
    encoding = ValuesEncoding.build(keys, 16, accuracy=TYPICAL, query_norm=2.0)
    errors = {
        reader: play(encoding, "dense:dtype=float64", RANDOMNESS, asking=Asking(readers=(reader,))).errors
        for reader in ("threshold", "least-squares")
    }
    assert errors["threshold"] > 100
    assert errors["least-squares"] == 0


def test_solving_cannot_read_what_is_not_there():
    """Half of the tokens are gone: whoever reads guesses their bits (Hoeffding at 1e-6 over 768 bits)."""
    for reader in READERS[:3]:
        found = read("window:kept_tokens=48", reader)
        slack = np.sqrt(np.log(1e6) / (2 * 48 * 16))
        assert found.errors >= (0.5 - slack) * 48 * 16
        assert not found.impossible()


def test_the_likeliest_string_is_no_worse_than_its_start():
    encoding = instance(tokens=16, value_dim=8)
    errors = {
        reader: play(encoding, "linear:features=16", RANDOMNESS, asking=Asking(readers=(reader,))).errors
        for reader in ("threshold", "probe", "likelihood")
    }
    assert errors["likelihood"] <= errors["probe"] < errors["threshold"]


def test_a_reader_whose_probes_fail_gives_up_and_the_others_read(tmp_path, monkeypatch, capfd):
    (tmp_path / "kvfloor_picky.py").write_text(
        "from kvfloor.attention.caches.dense import Dense\n"
        "class Picky(Dense):\n"
        "    def _append(self, keys, values):\n"
        "        if len(values) > 1 and not values.any(): raise ValueError('nothing to keep')\n"
        "        super()._append(keys, values[:, ::-1])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = kvfloor.audit("kvfloor_picky:Picky", tokens=64, dim=16, seed=1)
    assert found.reader in ("threshold", "least-squares")
    assert "nothing to keep" in capfd.readouterr().err


def test_an_audit_says_who_read():
    found = kvfloor.audit("linear", tokens=128, dim=32, seed=1)
    assert found.readers == ("threshold", "least-squares", "probe")
    assert found.reader == "probe"
    alone = kvfloor.audit("linear", tokens=128, dim=32, seed=1, readers=("threshold",))
    assert alone.reader == "threshold"
    assert alone.certified_bits < found.certified_bits < found.wire_bits
    assert found.verdict == "consistent"


def test_the_command_takes_readers_and_names_the_best():
    arguments = ["audit", "linear", "--tokens", "128", "--dim", "32", "--seed", "1", "--reader", "probe"]
    shown = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert (shown["reader"], shown["readers"]) == ("probe", ["probe"])
    (line,) = [
        row
        for row in CliRunner().invoke(main, arguments).stdout.splitlines()
        if row.split()[:1] == ["reader"]
    ]
    assert line.split()[1] == "probe"
    wrong = CliRunner().invoke(main, ["audit", "linear", "--reader", "oracle"])
    assert wrong.exit_code == 2
    assert "threshold, least-squares, probe, likelihood" in wrong.stderr


def test_only_the_threshold_reads_samples_noise_and_keys():
    keys = KeysEncoding.build(Keys.drawn("gaussian", 64, 8, RANDOMNESS.keys()), Layout.of_half(16, 4))
    assert fitting_readers(keys, True) == fitting_readers(instance(), False) == ("threshold",)
    assert fitting_readers(instance(tokens=64), True) == READERS
    assert fitting_readers(instance(tokens=1025, value_dim=1), True) == ("threshold",)
    with pytest.raises(ValueError, match="probe needs every answer"):
        read("dense", "probe", positions=5)
    with pytest.raises(ValueError, match="probe needs every answer"):
        read("dense", "probe", eta=0.1)
    with pytest.raises(ValueError, match="in values alone"):
        play(keys, "dense", RANDOMNESS, asking=Asking(readers=("probe",)))
    for readers in ((), ("probe", "probe"), ("oracle",)):
        with pytest.raises(ValueError, match="readers must be different ones of threshold"):
            play(instance(), "dense", RANDOMNESS, asking=Asking(readers=readers))
