"""Any host with its parties in fresh processes, for audits: nothing but bytes and public coins between them."""

import contextlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.game.hosts.host import Accounts, Host, Written
from kvfloor.experiments.game.processes import Parcel, Parties
from kvfloor.experiments.game.solving import Answered
from kvfloor.reductions.encodings.protocol import Stream, Tokens, stream_of

__all__ = ["Isolated"]

KEYS = "coins"  # the public keys cross under this name


@dataclass(frozen=True, slots=True)
class Isolated(Host):
    """Each party of a host in a fresh process.

    Parameters
    ----------
    host : Host
        What Alice and Bob each make anew.
    parties : Parties, optional
        Runs them; without it every party pays for its own start.
    """

    host: Host
    parties: Parties | None = None

    @property
    def name(self) -> str:
        """The cache as it was named."""
        return self.host.name

    def write(self, stream: Stream, coins: Coins) -> Written:
        """Run Alice's process; see `Host`."""
        reply = self._call("Alice's", alice, self._parcel(stream, coins))
        return Written(reply.payload, Accounts(**reply.facts) if reply.facts else None)

    def ask(self, payload: bytes, token: Stream, queries: NDArray[Any], coins: Coins) -> NDArray[Any]:
        """Run Bob's process; see `Host`."""
        return self._call("Bob's", bob, self._parcel(token, coins, {"queries": queries}, payload)).arrays[
            "outputs"
        ]

    def solve(self, readers: Sequence[str], answered: Answered, coins: Coins) -> NDArray[np.float64]:
        """Run a third process, which never sees the message; see `Host`."""
        known = {name: getattr(answered, name) for name in ("queries", "outputs", "levels")}
        parcel = self._parcel(answered.token, coins, known, readers=list(readers))
        return self._call("the reader's", reader, parcel).arrays["found"]

    def _call(self, party: str, function: Callable[[Parcel], Parcel], parcel: Parcel) -> Parcel:
        """Let a party call one of the functions below."""
        with contextlib.ExitStack() as own:
            parties = self.parties or own.enter_context(Parties(self.name))
            return parties.call(party, f"{__name__}:{function.__name__}", parcel)

    def _parcel(
        self,
        stream: Stream,
        coins: Coins,
        arrays: dict[str, NDArray[Any]] | None = None,
        payload: bytes = b"",
        **facts: Any,
    ) -> Parcel:
        """Return what a party is given."""
        public = {} if coins.keys is None else {KEYS: coins.keys}
        values = {field.name: getattr(self.host, field.name) for field in fields(cast(Any, self.host))}
        host = {"kind": [type(self.host).__module__, type(self.host).__name__], "fields": values}
        asked = {"host": host, "seed": coins.seed, "stream": [*stream.named], **facts}
        return Parcel(asked, {**stream.named, **(arrays or {}), **public}, payload)


def alice(parcel: Parcel) -> Parcel:
    """Do Alice's half of what a parcel asks."""
    host, stream, coins = _given(parcel)
    written = host.write(stream, coins)
    return Parcel(asdict(written.accounts) if written.accounts else {}, payload=written.payload)


def bob(parcel: Parcel) -> Parcel:
    """Do Bob's half."""
    host, stream, coins = _given(parcel)
    return Parcel(arrays={"outputs": host.ask(parcel.payload, stream, parcel.arrays["queries"], coins)})


def reader(parcel: Parcel) -> Parcel:
    """Solve for the values."""
    host, stream, coins = _given(parcel)
    assert coins.keys is not None
    assert isinstance(stream, Tokens)
    answers = {name: parcel.arrays[name] for name in ("queries", "outputs", "levels")}
    answered = Answered(coins.keys, stream, **answers)
    return Parcel(arrays={"found": host.solve(parcel.facts["readers"], answered, coins)})


def _given(parcel: Parcel) -> tuple[Host, Stream, Coins]:
    """Return host, stream and coins of a parcel."""
    module, name = parcel.facts["host"]["kind"]
    host: Host = getattr(importlib.import_module(module), name)(**parcel.facts["host"]["fields"])
    stream = stream_of({each: parcel.arrays[each] for each in parcel.facts["stream"]})
    return host, stream, Coins(parcel.facts["seed"], parcel.arrays.get(KEYS))
