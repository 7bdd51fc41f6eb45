"""What is measured of keys: known geometries come out as they are, and a real model's is none of the hard ones."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from kvfloor.attention.engines.plain.files import PACKAGES
from kvfloor.attention.engines.plain.forward import LayerTrace
from kvfloor.attention.engines.plain.texts import TEXTS, text_of
from kvfloor.experiments.audits import structure as measuring
from kvfloor.experiments.audits.structure import MEASURES, hard_structure, structure
from kvfloor.experiments.show.command import main


@pytest.fixture(scope="module")
def real():
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"needs the extra real-keys: {package} is not installed")
    return structure("prose", 48)


def measured(keys, queries):
    """Return what is measured of one head."""
    trace = LayerTrace(queries[None].astype(np.float32), keys[None].astype(np.float32), keys[None])
    return next(measuring._heads(3, trace))


def test_orthogonal_keys_are_as_far_apart_as_keys_can_be():
    found = measured(np.eye(16), 400 * np.eye(16))
    assert (found.layer, found.head) == (3, 0)
    assert found.incoherence == found.median_cosine == 0
    assert found.rank == pytest.approx(15)  # the centre is taken out
    assert found.clusters == 1
    assert found.query_norm == pytest.approx(100)
    assert found.entropy < 1e-9


def test_keys_in_few_places_are_clusters():
    rng = np.random.default_rng(0)
    places = rng.standard_normal((4, 8))
    keys = places[rng.integers(0, 4, 200)] + 1e-3 * rng.standard_normal((200, 8))
    found = measured(keys, np.zeros((200, 8)))
    assert found.clusters == 4 / 200
    assert found.rank < 3.5
    assert found.neighbour_cosine > 0.999
    # Flat attention to the first p tokens has entropy ln p.
    assert found.entropy == pytest.approx(np.mean(np.log(np.arange(101, 201))), abs=1e-5)


def test_the_hard_instance_is_hard():
    found = hard_structure(256, 64, 30.0, np.random.default_rng(1))
    assert found.clusters == 1
    assert found.query_norm == pytest.approx(30)
    assert abs(found.median_cosine) < 0.01
    assert found.incoherence < 0.7
    assert found.rank == pytest.approx(1 / (1 / 64 + 1 / 256), rel=0.05)  # Marchenko and Pastur


def test_a_real_model_is_not(real):
    assert [(each.layer, each.head) for each in real] == [
        (layer, head) for layer in range(30) for head in range(3)
    ]
    hard = hard_structure(48, 64, 30.0, np.random.default_rng(2))
    for measure in ("incoherence", "median_cosine", "neighbour_cosine", "entropy"):
        assert np.median([getattr(each, measure) for each in real]) > getattr(hard, measure), measure
    assert np.median([each.rank for each in real]) < hard.rank
    assert max(each.entropy for each in real) <= np.log(48)


def test_texts_are_long_enough(real):
    from kvfloor.attention.engines.plain.files import shipped_model
    from kvfloor.attention.engines.plain.words import tokenized

    for name in TEXTS:
        assert len(tokenized(shipped_model(), text_of(name))) >= 1024


def test_the_command_draws_and_tells(real, tmp_path):
    arguments = ["structure", "--tokens", "48", "--figures", str(tmp_path)]
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert len(found["heads"]) == 90
    assert set(found["hard"]) == {"layer", "head", *MEASURES}
    assert {path.name for path in tmp_path.iterdir()} == {"structure.svg", "structure.png"}
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False).stdout
    assert "effective rank of the keys" in shown
    wrong = CliRunner().invoke(main, ["structure", "--text", "poem", "--figures", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "text is 'poem', expected one of prose, rhyme" in wrong.stderr
