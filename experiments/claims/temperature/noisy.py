"""One play whose answers are handed out as they are, so that an adversary of additive accuracy may move them."""

from dataclasses import dataclass

import numpy as np

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.softmax import softmax_attention
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.checks import Floats
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.problems.strings import Questions, Symbols

__all__ = ["Answers", "answered"]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What Bob was told, and what only the judge knows.

    Parameters
    ----------
    x : ndarray, shape (N,)
        Alice's string.
    questions : ndarray
        Those of the reconstruction of all of it.
    outputs : ndarray, shape (m, d_v)
        The cache's answers.
    exact : ndarray, shape (m, d_v)
        Attention itself.
    wire_bits : int
        8 x the bytes that crossed.
    """

    x: Symbols
    questions: Questions
    outputs: Floats
    exact: Floats
    wire_bits: int

    @property
    def largest_error(self) -> float:
        """The largest entry of outputs - exact, in magnitude."""
        return float(np.abs(self.outputs - self.exact).max())


def answered(encoding: Encoding, cache: str, randomness: Randomness) -> Answers:
    """Play once, asking all questions of the reconstruction.

    Parameters
    ----------
    encoding : Encoding
        Of one stream of keys and values.
    cache : str
        As `kvfloor.attention.caches.resolve` takes it; "exact" is attention itself, in float64.
    randomness : Randomness
        Of this play.

    Returns
    -------
    Answers
        Outputs are float64.
    """
    problem, host = encoding.problem, NumpyCache("dense:dtype=float64" if cache == "exact" else cache)
    x = problem.sample(randomness.secret())
    coins = Coins(randomness.coins_seed(), encoding.public_keys)
    stream, token = encoding.encode(x), encoding.reader_token()
    assert isinstance(stream, Tokens)
    assert isinstance(token, Tokens)
    payload = host.write(stream, coins).payload
    questions = problem.reconstruction(np.arange(problem.length))
    queries = encoding.queries(questions)
    keys, values = np.concatenate([stream.keys, token.keys]), np.concatenate([stream.values, token.values])
    exact = softmax_attention(queries.astype(np.float64), keys, values)
    outputs = exact if cache == "exact" else host.ask(payload, token, queries, coins)
    return Answers(x, questions, outputs.astype(np.float64), exact, 8 * len(payload))
