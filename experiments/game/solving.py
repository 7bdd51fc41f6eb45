"""Readers that solve for the values: they know the coins and the cache's code, but of the message only answers."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.reductions.encodings.protocol import Tokens

if TYPE_CHECKING:
    from kvfloor.experiments.game.hosts.host import Host

__all__ = ["Answered", "solve"]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a reader that solves for the values is given; nothing in it but the outputs depends on x.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        The public keys.
    token : Tokens
        Bob's token.
    queries : ndarray, shape (m, d)
        What Bob asked.
    outputs : ndarray, shape (m, d_v)
        What he was answered.
    levels : ndarray, shape (q,)
        What a value can be.
    """

    keys: NDArray[Any]
    token: Tokens
    queries: NDArray[Any]
    outputs: NDArray[Any]
    levels: NDArray[np.float64]


def solve(host: "Host", readers: Sequence[str], answered: Answered, coins: Coins) -> NDArray[np.float64]:
    """Return what each reader takes the values for, shape (r, n, d_v); NaN from one who had to give up.

    A reader gives up if the cache's code, which it runs on values of its own, ends in an error; it says so
    on standard error.
    """
    found = np.full((len(readers), len(answered.keys), answered.outputs.shape[1]), np.nan)
    for estimate, reader in zip(found, readers, strict=True):
        try:
            estimate[:] = _estimate(host, reader, answered, coins)
        except Exception as error:
            print(f"the reader {reader!r} had to give up: {error}", file=sys.stderr)
    return found


def _estimate(host: "Host", reader: str, answered: Answered, coins: Coins) -> NDArray[np.float64]:
    """Return what one reader takes the values for."""
    # Only who solves pays for importing SciPy; every audit starts Alice and Bob.
    from kvfloor.reductions.bounds.readers import least_squares, likeliest, probed_weights, softmax_weights

    keys, levels, outputs = answered.keys, answered.levels, answered.outputs

    def answers(values: NDArray[np.float64]) -> NDArray[Any]:
        payload = host.write(Tokens(keys, values.astype(keys.dtype)), coins).payload
        return host.ask(payload, answered.token, answered.queries, coins)

    if reader == "least-squares":
        weights = softmax_weights(keys, answered.token.keys, answered.queries)
        return least_squares(weights, outputs, levels)
    weights, offset = probed_weights(len(keys), outputs.shape[1], answers)
    probed = least_squares(weights, outputs - offset, levels)
    return probed if reader == "probe" else likeliest(probed, outputs, levels, answers)
