"""What the numbers of an audit say about each other."""

from typing import Literal, TypeAlias

from kvfloor.experiments.game.hosts.host import Accounts
from kvfloor.experiments.game.protocol import Transcript

__all__ = ["MEANINGS", "Verdict", "verdict"]

Verdict: TypeAlias = Literal["consistent", "saves nothing", "does nothing", "impossible"]

MEANINGS: dict[Verdict, str] = {
    "impossible": "more was decoded than crossed the wire: a side channel or a miscount",
    "saves nothing": "the tensors take no less than the full cache, whatever the method says",
    "does nothing": "the method ran, and the cache is as large as the full cache and answers everything",
    "consistent": "what was decoded fits what crossed the wire",
}


def verdict(transcript: Transcript, accounts: Accounts | None) -> Verdict:
    """Return the verdict on a play.

    - "impossible": more bits are certified than crossed.
    - "saves nothing": what is allocated is not below the full cache, although the method says so.
    - "does nothing": so it is, the method does not even say otherwise, and every symbol was decoded. That is
      how a method looks that was never switched on. A cache that is meant to hold the whole stream as it is
      (`Accounts.compresses` is false: a DynamicCache or StaticCache without a window) promises nothing and is
      "consistent"; and so is one whose host gives no accounts, ours in NumPy among them: what they allocate
      is not known.
    - "consistent": none of these.

    Parameters
    ----------
    transcript : Transcript
        What crossed and what was decoded.
    accounts : Accounts or None
        The other counts, if the host gives any.

    Returns
    -------
    str
        The verdict; `MEANINGS` has a sentence for each.
    """
    if transcript.impossible():
        return "impossible"
    if accounts is not None and accounts.allocated_bits >= accounts.full_cache_bits:
        nominal = accounts.nominal_bits
        if nominal is not None and nominal < accounts.full_cache_bits:
            return "saves nothing"
        if nominal is not None and accounts.compresses and transcript.errors == 0:
            return "does nothing"
    return "consistent"
