"""How far back a last token can see through layers of windows (theory 19)."""

import numpy as np

from kvfloor.reductions.checks import Doubles

__all__ = ["last_output", "reach"]


def last_output(rows: Doubles, window: int, layers: int, rng: np.random.Generator) -> Doubles:
    """Return the last token's row after layers of causal softmax attention to windows, with random matrices.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Tokens.
    window : int
        Tokens that a token attends to, itself among them.
    layers : int
        L.
    rng : numpy.random.Generator
        Draws queries', keys' and values' matrices of every layer.

    Returns
    -------
    ndarray, shape (d,)
        With residual connections.
    """
    dim = rows.shape[1]
    for _ in range(layers):
        query, key, value = rng.standard_normal((3, dim, dim)) / np.sqrt(dim)
        found = np.empty_like(rows)
        for token in range(len(rows)):
            seen = rows[max(0, token - window + 1) : token + 1]
            scores = seen @ (key @ (query.T @ rows[token]))
            weights = np.exp(scores - scores.max())
            found[token] = rows[token] + (weights / weights.sum()) @ seen @ value
        rows = found
    last: Doubles = rows[-1]
    return last


def reach(tokens: int, window: int, layers: int, rng: np.random.Generator) -> int:
    """Return how many tokens before the last one change its output, the farthest of them.

    Parameters
    ----------
    tokens : int
        Length of the stream, beyond any reach.
    window, layers, rng
        As of `last_output`.

    Returns
    -------
    int
        Distance of the farthest token whose row matters to a single bit of the output.
    """
    seed = int(rng.integers(1 << 62))
    rows = rng.standard_normal((tokens, 4))
    before = last_output(rows, window, layers, np.random.default_rng(seed))
    for distance in range(tokens - 1, 0, -1):
        changed = rows.copy()
        changed[-1 - distance] += 1
        if (last_output(changed, window, layers, np.random.default_rng(seed)) != before).any():
            return distance
    return 0
