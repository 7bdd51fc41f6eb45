"""One play against a shipped compressor, counted in every way that claims and tables need."""

import numpy as np

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.engines.transformers.library import needed
from kvfloor.attention.engines.transformers.model import Model
from kvfloor.attention.engines.transformers.sessions import surviving
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.measured import Compressed
from kvfloor.experiments.game.protocol import play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.encodings.protocol import Rows

__all__ = ["counted"]

ROUNDING = 2.0**-16  # entries are at most 1/2: a token moved by less is still that token


def counted(host: TransformerCache, tokens: int, dim: int, randomness: Randomness) -> Compressed:
    """Play once and return everything that tables and claims need, as JSON values.

    Parameters
    ----------
    host : TransformerCache
        The compressor and its model; it is played in this process.
    tokens, dim : int
        Facts n, and dimension d of a head.
    randomness : Randomness
        The streams of this play.

    Returns
    -------
    Compressed
        The counts, whether what the cache holds are tokens of the stream ("drops_only"), and then
        "kept_entries" of "all_entries" (head, token) and whether it keeps the same tokens for other values
        ("chosen_blindly").

    Raises
    ------
    ValueError
        If a parameter is wrong or the compressor fails.
    """
    needed("torch").set_num_threads(1)
    encoding = host.encoding(tokens, dim, randomness)
    problem, coins = encoding.problem, Coins(randomness.coins_seed(), encoding.public_keys)
    played = play_in_full(encoding, host, randomness)
    accounts, transcript = played.written.accounts, played.transcript
    assert accounts is not None
    stream = encoding.encode(problem.sample(randomness.secret()))
    kept = _kept(host, stream, played.written.payload, coins)
    other = encoding.encode(problem.sample(randomness.positions()))  # independent of x
    again = _kept(host, other, host.write(other, coins).payload, coins)
    model = Model.parse(host.model)
    return {
        "full_cache_bits": accounts.full_cache_bits,
        "nominal_bits": accounts.nominal_bits,
        "allocated_bits": accounts.allocated_bits,
        "peak_bits": accounts.peak_bits,
        "masked_entries": accounts.masked_entries,
        "compresses": accounts.compresses,
        "wire_bits": transcript.wire_bits,
        "errors": transcript.errors,
        "symbols": transcript.symbols,
        "certified_bits": transcript.certificate().certified_bits,
        "drops_only": kept is not None,
        "chosen_blindly": kept is not None and kept == again,
        "kept_entries": None if kept is None else sum(map(len, kept)),
        "all_entries": tokens * model.layers * model.kv_heads,
    }


def _kept(host: TransformerCache, stream: Rows, payload: bytes, coins: Coins) -> list[list[int]] | None:
    """Return which tokens each head keeps, or None unless all that it holds are tokens of the stream."""
    full = TransformerCache("transformers:DynamicCache", host.model, "prefill")
    found = surviving(payload)
    original = surviving(full.write(stream, coins).payload)
    if found is None or original is None:
        return None
    kept = []
    for (keys, values), (all_keys, all_values) in zip(found, original, strict=True):
        there = keys.any(axis=1) | values.any(axis=1)  # room that is still empty holds no token
        tokens = np.argmax(keys[there] @ all_keys.T, axis=1)  # keys of one length: the nearest
        off = np.abs(np.hstack([keys[there] - all_keys[tokens], values[there] - all_values[tokens]]))
        if off.size and off.max() > ROUNDING:
            return None
        kept.append(sorted(set(tokens.tolist())))
    return kept
