"""Any stream through a transformer: its logits are the outputs of every head, and every encoding decodes from them."""

import numpy as np
import pytest

from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.encodings.keys import KeysEncoding, Layout
from kvfloor.reductions.encodings.levels import Levels
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.streams.heads import MultiHeadEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.weights.compiler import Shape
from kvfloor.reductions.weights.passage import Passage


def carried(forward, passage, tokens, reader, queries):
    """Return the outputs of the heads at queries after tokens and the reader's."""
    facts = np.vstack([passage.tokens(tokens), passage.tokens(reader)])
    questions = passage.questions(queries)
    _, logits = forward(passage.shape, passage.weights(), facts, questions)
    return passage.outputs(logits, questions)


def test_the_logits_are_the_outputs_of_every_head(forward, model_case):
    shape = Shape(dim=model_case.dim, **model_case.sizes)
    columns = np.prod(shape.channels)
    rng = np.random.default_rng(0)
    keys, values, queries = rng.standard_normal((3, 30, columns))
    passage = Passage(shape, np.linalg.norm(queries.reshape(30, -1, shape.dim), axis=2).max())
    outputs = carried(forward, passage, Tokens(keys, values), Tokens(keys[:1], values[:1]), queries)
    for head in range(columns // shape.dim):
        at = slice(head * shape.dim, (head + 1) * shape.dim)
        all_keys, all_values = (
            np.vstack([keys[:, at], keys[:1, at]]),
            np.vstack([values[:, at], values[:1, at]]),
        )
        scores = np.hstack(
            [queries[:, at] @ all_keys.T, np.zeros((30, 1))]
        )  # a question's own key and value are 0
        weights = np.exp(scores - scores.max(1, keepdims=True))
        expected = (weights / weights.sum(1, keepdims=True))[:, :-1] @ all_values
        # What layers add to rows moves the scale of later ones: |values|^2 is up to 3 a channel here, not 1.
        assert np.abs(outputs[:, at] - expected).max() < 1e-3


def heads_of(kind, shape, tokens, rng):
    """Return an encoding a head."""
    for _ in range(shape.layers * shape.kv_heads):
        if kind == "keys":
            addresses = Keys.drawn("gaussian", tokens, shape.dim // 2, rng)
            yield KeysEncoding.build(addresses, Layout.of_half(shape.dim, shape.dim, both=True))
        else:
            keys = Keys.drawn("gaussian", tokens, shape.dim, rng)
            yield ValuesEncoding.build(keys, shape.dim, Levels.equal(8), TYPICAL, query_norm=90.0)


@pytest.mark.parametrize("kind", ["values", "keys"])
@pytest.mark.parametrize("shape", [Shape(1, 1, 1, 32), Shape(2, 2, 2, 32)], ids=str)
def test_every_encoding_decodes_from_it(forward, shape, kind):
    rng = np.random.default_rng(1)
    encoding = MultiHeadEncoding(tuple(heads_of(kind, shape, 24, rng)))
    x, indices = encoding.problem.sample(rng), np.arange(0, encoding.problem.length, 13)
    passage = Passage(shape, 3 * encoding.query_norm)
    queries = encoding.queries(indices)
    outputs = carried(forward, passage, encoding.encode(x), encoding.reader_token(), queries)
    assert np.array_equal(encoding.decode(outputs, indices), x[indices])


def test_a_query_norm_must_be_one():
    for norm in (0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="query_norm must be positive and finite"):
            Passage(Shape(), norm)


def test_a_row_too_long_for_its_ballast_is_told():
    passage = Passage(Shape(dim=4), 1.0, divisor=2.0)
    with pytest.raises(ValueError, match="a row is longer than"):
        passage.tokens(Tokens(np.full((1, 4), 20.0), np.zeros((1, 4))))
