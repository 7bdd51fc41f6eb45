"""What does not fit into memory is refused before anything is drawn, and nothing else is."""

import pytest

import kvfloor
from kvfloor.experiments.audits import instances, memory
from kvfloor.experiments.audits.instances import MODELS, Instance
from kvfloor.experiments.audits.memory import available_bytes, must_fit, numpy_bytes, transformer_bytes
from kvfloor.experiments.game.randomness import Randomness

GIB = 1 << 30
HUGE = [2**31, 10**18, 10**400]


class Drawn(Exception):
    """Something was drawn."""


@pytest.fixture
def sixteen(monkeypatch):
    """Let 16 GiB be free, and nothing be drawn."""

    def drawn(*_):
        raise Drawn

    monkeypatch.setattr(memory, "available_bytes", lambda: 16 * GIB)
    monkeypatch.setattr(instances, "instance", drawn)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["tokens", "dim", "value_dim"])
@pytest.mark.parametrize("size", HUGE)
def test_sizes_that_no_memory_holds_are_refused_before_anything_is_drawn(sixteen, model, name, size):
    with pytest.raises(
        ValueError, match=rf"an audit with .*{name} .* MiB of memory, and 16,384 are free"
    ) as told:
        kvfloor.audit("dense", model=model, **{name: size})
    assert len(str(told.value)) < 200


@pytest.mark.parametrize(
    "other", [{"levels": 10**18}, {"sides": "keys", "dim": 1 << 20}, {"sides": "both", "tokens": 1 << 31}]
)
def test_so_are_levels_and_keys_with_too_many_bits(sixteen, other):
    with pytest.raises(ValueError, match="MiB of memory"):
        kvfloor.audit("dense", **other)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sizes", [{}, {"dim": 256}, {"value_dim": 1}])
def test_what_fits_is_drawn(sixteen, model, sizes):
    with pytest.raises(Drawn):
        kvfloor.audit("dense", model=model, **sizes)


def test_a_million_tokens_fit():
    assert numpy_bytes(Instance("attention", 1 << 20, 64, 64, 2, "values")) < 2 * GIB


@pytest.mark.parametrize("asked", [
    Instance("attention", 300, 16, 5, 3, "values"), Instance("attention", 100, 16, 5, 2, "both"),
    Instance("tensor4", 60, 32, 5, 2, "values"), Instance("tensor2", 20, 16, 5, 2, "values"),
    Instance("visual", 400, 16, 5, 2, "values"),
], ids=lambda asked: f"{asked.model} {asked.sides}")  # fmt: skip
def test_the_estimate_counts_what_is_there(asked):
    encoding = instances.instance(asked, Randomness(0, "memory"))
    stream = encoding.encode(encoding.problem.sample(Randomness(0, "memory").secret()))
    written = sum(array.size for array in stream.arrays)
    asked_all = encoding.queries(range(encoding.problem.length)).size
    needed = 3 * 4 * written + 4 * asked_all + 8 * encoding.problem.length
    # A pyramid may stop short of the tokens asked for, and queries for values are fewer than those for bits.
    assert 0.6 * needed < numpy_bytes(asked) < 1.8 * needed


def test_transformers_are_estimated_too():
    with pytest.raises(ValueError, match="tokens over 2\\^59, dim 64 needs"):
        must_fit(transformer_bytes(10**18, 64, 1), tokens=10**18, dim=64)
    must_fit(transformer_bytes(512, 64, 1), tokens=512, dim=64)


def test_free_memory_is_known_here_and_may_be_unknown_elsewhere(monkeypatch):
    free = available_bytes()
    assert free is None or 1 << 20 < free < 1 << 50
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    must_fit(10**400, tokens=1)
