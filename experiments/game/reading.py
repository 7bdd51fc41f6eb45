"""The readers: the ways in which an audit reads a string from a cache's answers (theory 1).

"threshold" is `Encoding.decode` on the answers as they are. The others first solve for the values
(`kvfloor.reductions.bounds.readers`, run by `kvfloor.experiments.game.solving.solve`): "least-squares" with the weights of exact
attention over the public keys, "probe" with the weights that the cache shows on public values, "likelihood"
by a search for the string whose simulated answers are nearest.
"""

from collections.abc import Sequence

from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.values import ValuesEncoding

__all__ = ["READERS", "THRESHOLD", "check_readers", "fitting_readers"]

THRESHOLD = "threshold"
READERS = (THRESHOLD, "least-squares", "probe", "likelihood")
SOLVED_TOKENS = 1024  # up to so many tokens an audit solves for the values
SEARCHED_TOKENS = 64  # and up to so many it searches for the likeliest string


def fitting_readers(encoding: Encoding, asked_all: bool) -> tuple[str, ...]:
    """Return the readers that an audit tries on such an instance when none are named.

    Parameters
    ----------
    encoding : Encoding
        The instance.
    asked_all : bool
        Whether all positions are asked.

    Returns
    -------
    tuple of str
        The threshold, and the others as far as they apply and take seconds.
    """
    if not (asked_all and isinstance(encoding, ValuesEncoding)):
        return (THRESHOLD,)
    limits = (encoding.tokens, SOLVED_TOKENS, SOLVED_TOKENS, SEARCHED_TOKENS)
    return tuple(name for name, limit in zip(READERS, limits, strict=True) if encoding.tokens <= limit)


def check_readers(readers: Sequence[str], encoding: Encoding, asked_all: bool) -> None:
    """Raise ValueError unless `readers` can read such a play.

    Parameters
    ----------
    readers : sequence of str
        Names in `READERS`, pairwise different.
    encoding : Encoding
        The instance.
    asked_all : bool
        Whether all positions are asked, exactly as they were answered.

    Raises
    ------
    ValueError
        If a name is unknown or there twice, there are none, or one needs public keys or all answers.
    """
    unknown = [name for name in readers if name not in READERS]
    if unknown or not readers or len(set(readers)) != len(readers):
        given = ", ".join(readers) or "none"
        raise ValueError(f"readers must be different ones of {', '.join(READERS)}; got {given}")
    others = [name for name in readers if name != THRESHOLD]
    if others and not isinstance(encoding, ValuesEncoding):
        raise ValueError(f"the reader {others[0]} solves for values: symbols must be hidden in values alone")
    if others and not asked_all:
        raise ValueError(f"the reader {others[0]} needs every answer as it was given; ask all positions")
