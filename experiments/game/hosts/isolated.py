"""Any host with its parties in fresh processes, for audits: nothing but bytes and public coins between them."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.experiments.engine.rows import fits
from kvfloor.experiments.game.hosts.host import Accounts, Host, Written
from kvfloor.experiments.game.parcels import Parcel
from kvfloor.experiments.game.processes import CacheFailedError, Parties
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
        Runs them; with the best isolation and the limits that are usual here by default.
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
        return Written(reply.payload, self._accounts(reply.facts))

    def ask(self, payload: bytes, token: Stream, queries: NDArray[Any], coins: Coins) -> NDArray[Any]:
        """Run Bob's process; see `Host`."""
        parcel = self._parcel(token, coins, {"queries": queries}, payload)
        width = max(1, token.dim, token.value_dim)
        outputs = self._call("Bob's", bob, parcel, 8 * width * len(queries)).arrays.get("outputs")
        return self._numbers("Bob's", outputs, (len(queries), None))

    def solve(self, readers: Sequence[str], answered: Answered, coins: Coins) -> NDArray[np.float64]:
        """Run a third process, which never sees the message; see `Host`."""
        known = {name: getattr(answered, name) for name in ("queries", "outputs", "levels")}
        parcel = self._parcel(answered.token, coins, known, readers=list(readers))
        shape = (len(readers), len(answered.keys), answered.outputs.shape[1])
        found = self._call("the reader's", reader, parcel, 8 * prod(shape)).arrays.get("found")
        return self._numbers("the reader's", found, shape, finite=False).astype(np.float64, copy=False)

    def _call(
        self, party: str, function: Callable[[Parcel], Parcel], parcel: Parcel, at_most: int | None = None
    ) -> Parcel:
        """Let a party call one of the functions below."""
        parties = self.parties or Parties(self.name)
        return parties.call(party, f"{__name__}:{function.__name__}", parcel, at_most)

    def _numbers(
        self, party: str, found: NDArray[Any] | None, shape: tuple[int | None, ...], *, finite: bool = True
    ) -> NDArray[Any]:
        """Return what a party left if it is real numbers of a shape: anybody may have written it."""
        expected = f"{self.name}: {party} process left {{}}, expected real numbers of shape {shape}"
        if found is None or found.dtype.kind != "f" or len(found.shape) != len(shape):
            what = "nothing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise CacheFailedError(expected.format(what))
        if any(there not in (None, here) for here, there in zip(found.shape, shape, strict=True)):
            raise CacheFailedError(expected.format(f"an array of shape {found.shape}"))
        if finite and not np.isfinite(found).all():
            raise CacheFailedError(expected.format("NaN or infinity"))
        return found

    def _accounts(self, facts: Mapping[str, Any]) -> Accounts | None:
        """Return the accounts that Alice's process gave, if they are any."""
        if not facts:
            return None
        kinds = get_type_hints(Accounts)
        if facts.keys() != kinds.keys() or not all(fits(facts[name], kind) for name, kind in kinds.items()):
            raise CacheFailedError(f"{self.name}: Alice's process left accounts that are none")
        return Accounts(**facts)

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
