"""INDEX against compressors as they ship: Alice and Bob each hold a transformer, its cache crosses as bytes.

Alice's model reads the facts while the compressor works. Bob's model has the same weights, which do not
depend on x, and an embedding table that holds his questions alone.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.transformers import sessions
from kvfloor.attention.engines.transformers.compressors import Compressor
from kvfloor.attention.engines.transformers.library import needed
from kvfloor.attention.engines.transformers.model import Model
from kvfloor.experiments.game.protocol import Transcript
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.problems.strings import Symbols
from kvfloor.reductions.weights.transformer import ONE, TransformerEncoding

__all__ = ["Accounts", "Party", "Played", "Setting", "measure", "play"]

Party = Callable[..., tuple[dict[str, Any], bytes]]
Runner = Callable[..., tuple[dict[str, Any], bytes]]
Readout = Literal["rows", "tokens"]
ROUNDING = 2.0**-16  # entries are at most 1/2: a token moved by less is still that token


@dataclass(frozen=True, slots=True)
class Setting:
    """How a compressor meets INDEX.

    Parameters
    ----------
    compressor : str
        Such as "kvpress:SnapKVPress,compression_ratio=0.5"; see `kvfloor.attention.engines.transformers.compressors`.
    model : Model
        The transformer.
    tokens, dim : int
        Facts n, and dimension d of a head.
    feed : str
        "prefill", "stream" or "auto"; see `kvfloor.attention.engines.transformers.sessions.write`.
    readout : str
        "rows": all bits of a fact from one hidden state. "tokens": one greedily generated token is one bit.
    """

    compressor: str
    model: Model = field(default_factory=Model)
    tokens: int = 512
    dim: int = 64
    feed: sessions.Feed = "auto"
    readout: Readout = "rows"

    def __post_init__(self) -> None:
        for name, allowed in (("feed", ("auto", "prefill", "stream")), ("readout", ("rows", "tokens"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}")


@dataclass(frozen=True, slots=True)
class Accounts:
    """The other ways to count a cache.

    Parameters
    ----------
    nominal_bits : float or None
        What the method says that it keeps.
    allocated_bits : int
        What the tensors of the cache occupy: storages whole and once, scales, zero points, masks, indices.
    full_cache_bits : int
        Keys and values of all tokens in the model's number format.
    masked_entries : int
        Entries (head, token) that are still there but masked.
    """

    nominal_bits: float | None
    allocated_bits: int
    full_cache_bits: int
    masked_entries: int

    @property
    def saves_nothing(self) -> bool:
        """Whether the tensors take no less than the full cache although the method says so."""
        nominal = self.nominal_bits
        return nominal is not None and nominal < self.full_cache_bits <= self.allocated_bits


@dataclass(frozen=True, slots=True)
class Played:
    """One play: what was decoded, what was counted, and the message itself."""

    transcript: Transcript
    accounts: Accounts
    payload: bytes

    @property
    def verdict(self) -> Literal["consistent", "saves nothing", "impossible"]:
        """What the numbers say about each other."""
        if self.transcript.impossible():
            return "impossible"
        return "saves nothing" if self.accounts.saves_nothing else "consistent"


def play(setting: Setting, randomness: Randomness, *, runner: Runner | None = None) -> Played:
    """Play INDEX once against a compressor.

    Parameters
    ----------
    setting : Setting
        What plays, and how.
    randomness : Randomness
        The streams of this play.
    runner : callable, optional
        ``runner(party, *arguments)`` calls a party; in this process by default.

    Returns
    -------
    Played
        The transcript, the accounts and the payload.
    """
    run = runner or _here
    encoding = encoding_of(setting, randomness)
    x = encoding.problem.sample(randomness.secret())
    facts, payload = run(alice, setting, encoding, encoding.encode(x), randomness.coins_seed())
    _, decoded = run(bob, setting, encoding, payload)
    y = np.frombuffer(decoded, np.uint8)
    symbols = encoding.problem.length
    if y.shape != (symbols,):
        raise ValueError(f"Bob must return {symbols} bits; got {len(y)}")
    transcript = Transcript(8 * len(payload), int((y != x).sum()), symbols, symbols, 2)
    return Played(transcript, Accounts(**facts), payload)


def encoding_of(setting: Setting, randomness: Randomness) -> TransformerEncoding:
    """Return the encoding of a play: its keys are public coins."""
    model = setting.model
    return TransformerEncoding.draw(
        setting.tokens,
        setting.dim,
        randomness.keys(),
        layers=model.layers,
        kv_heads=model.kv_heads,
        group=model.group,
    )


def alice(
    setting: Setting, encoding: TransformerEncoding, facts: NDArray[np.float32], seed: int
) -> tuple[dict[str, Any], bytes]:
    """Do Alice's half: return her accounts and her message."""
    compressor = Compressor.parse(setting.compressor)
    written = sessions.write(
        setting.model, encoding.weights(), encoding.dim, compressor, facts, seed, setting.feed
    )
    accounts = Accounts(
        written.nominal_bits, written.allocated_bits, written.full_cache_bits, written.masked_entries
    )
    return asdict(accounts), written.payload


def bob(setting: Setting, encoding: TransformerEncoding, payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Do Bob's half: return every bit that he reads, a byte each."""
    compressor = Compressor.parse(setting.compressor)
    arguments = (setting.model, encoding.weights(), encoding.dim, compressor, payload, setting.tokens)
    if setting.readout == "tokens":
        questions = encoding.bit_questions(np.arange(encoding.problem.length))
        said = sessions.read(*arguments, questions, generate=True)
        return {}, (said == ONE).astype(np.uint8).tobytes()
    hidden = sessions.read(*arguments, encoding.row_questions(np.arange(setting.tokens)))
    return {}, encoding.read_rows(hidden).tobytes()


def measure(setting: Setting, randomness: Randomness) -> dict[str, Any]:
    """Play once and return everything that tables and claims need, as JSON values.

    Parameters
    ----------
    setting : Setting
        What plays, and how.
    randomness : Randomness
        The streams of this play.

    Returns
    -------
    dict
        The counts, the verdict, whether what the cache holds are tokens of the stream ("drops_only"), and
        then "kept_entries" of "all_entries" (head, token) and whether it keeps the same tokens for other
        values ("chosen_blindly").

    Raises
    ------
    ValueError
        If a parameter is wrong or the compressor fails.
    """
    needed("torch").set_num_threads(1)
    played = play(setting, randomness)
    encoding = encoding_of(setting, randomness)
    kept = _kept(encoding, setting, played.payload, encoding.problem.sample(randomness.secret()))
    other = encoding.problem.sample(randomness.positions())  # independent of x
    _, payload = alice(setting, encoding, encoding.encode(other), randomness.coins_seed())
    again = _kept(encoding, setting, payload, other)
    transcript = played.transcript
    return {
        **asdict(played.accounts),
        "wire_bits": transcript.wire_bits,
        "errors": transcript.errors,
        "symbols": transcript.symbols,
        "certified_bits": transcript.certificate().certified_bits,
        "verdict": played.verdict,
        "drops_only": kept is not None,
        "chosen_blindly": kept is not None and kept == again,
        "kept_entries": None if kept is None else sum(map(len, kept)),
        "all_entries": setting.tokens * setting.model.layers * setting.model.kv_heads,
    }


def _kept(
    encoding: TransformerEncoding, setting: Setting, payload: bytes, x: Symbols
) -> list[list[int]] | None:
    """Return which tokens each head keeps, or None unless all that it holds are tokens of the stream."""
    full = Setting("transformers:DynamicCache", setting.model, setting.tokens, setting.dim, "prefill")
    found = sessions.surviving(payload)
    original = sessions.surviving(alice(full, encoding, encoding.encode(x), 0)[1])
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


def _here(party: Party, *arguments: Any) -> tuple[dict[str, Any], bytes]:
    """Call a party in this process."""
    return party(*arguments)
