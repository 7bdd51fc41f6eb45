"""docs/template: the problem and the encoding that CONTRIBUTING tells people to copy work as they stand."""

import doctest
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.atlas.arrows import REDUCTIONS
from kvfloor.reductions.atlas.graph import atlas, paths, push
from kvfloor.reductions.atlas.nodes import SOFTMAX
from kvfloor.reductions.atlas.reduction import Shape
from kvfloor.reductions.keys.known import Keys

FOLDER = Path(__file__).parents[2] / "docs" / "template"


@pytest.fixture(scope="module")
def template():
    """Import the template's encoding from its folder, as its copy in the package would be."""
    sys.path.insert(0, str(FOLDER))
    try:
        import encoding
    finally:
        sys.path.remove(str(FOLDER))
    yield encoding
    del sys.modules["encoding"], sys.modules["problem"]


@given(st.integers(0, 2**32 - 1))
def test_every_pair_is_read_under_worst_case_noise(template, seed):
    rng = np.random.default_rng(seed)
    encoding = template.example()
    x = encoding.problem.sample(rng)
    pairs = rng.integers(0, encoding.tokens, (50, 2))
    tokens = encoding.encode(x)
    weights = np.exp(encoding.queries(pairs) @ tokens.keys.T)
    outputs = weights @ tokens.values / weights.sum(axis=1, keepdims=True)
    for end in (1 - template.ETA, 1, 1 + template.ETA):
        assert encoding.decode(end * outputs, pairs).tolist() == encoding.problem.answer(x, pairs).tolist()


def test_it_plays_through_any_cache(template):
    randomness = Randomness(1, "template")
    encoding = template.example(tokens=128, dim=2048)
    whole = play(encoding, "dense", randomness, eta=template.ETA)
    assert whole.errors == 0
    assert 128 - 105 < whole.certificate().certified_bits < whole.wire_bits
    assert play(encoding, "window:kept_tokens=64", randomness).errors > 10


def test_too_much_noise_breaks_it(template):
    assert play(template.example(), "dense", Randomness(1, "template"), eta=0.5).errors > 0


def test_its_arrow_carries_a_bound(template):
    graph = atlas([*REDUCTIONS, template.ARROW])
    assert (template.ARROW,) in list(paths(SOFTMAX, graph))
    shape = Shape(tokens=150, dim=160, value_dim=4, eta=0.1)
    floor = push((template.ARROW,), shape)
    assert floor.bits == pytest.approx(150 - 104)
    encoding = template.ARROW.encoding(shape, np.random.default_rng(0))
    assert encoding.query_norm == pytest.approx(floor.instance.query_norm)
    assert play(encoding, "dense", Randomness(2, "arrow"), eta=0.1).errors == 0
    assert push((template.ARROW,), Shape(tokens=150, dim=100, value_dim=4)) is None


def test_what_is_no_question_is_refused(template):
    encoding = template.example(tokens=8)
    for wrong, sentence in ((np.zeros((1, 3), int), "pairs of positions"), (np.array([[0, 8]]), r"0\.\.7")):
        with pytest.raises(ValueError, match=sentence):
            encoding.queries(wrong)
    with pytest.raises(ValueError, match="below 1/3"):
        template.SumsEncoding(Keys(np.ones((2, 4)) / 2))


def test_its_example_is_right(template):
    found = doctest.testmod(sys.modules["problem"], extraglobs={"np": np})
    assert (found.attempted, found.failed) == (2, 0)
