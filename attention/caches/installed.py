"""Caches of other packages, which announce them as entry points of the group ``kvfloor.caches``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "announced", "load"]

GROUP = "kvfloor.caches"


def announced() -> dict[str, "EntryPoint"]:
    """Return the entry points of installed packages, by name; nothing of theirs is imported.

    Returns
    -------
    dict of str to EntryPoint
        By ascending name; of two with one name the first that is found.
    """
    # Alice and Bob start up often, and mostly with caches that come along.
    from importlib.metadata import entry_points

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, point)
    return dict(sorted(found.items()))


def load(point: "EntryPoint") -> Callable[..., Any]:
    """Return the factory that an entry point stands for, importing its package.

    Parameters
    ----------
    point : EntryPoint
        One of `announced`.

    Returns
    -------
    callable
        ``factory(dim, value_dim, coins, **parameters)``.

    Raises
    ------
    ValueError
        If it cannot be imported, or is not callable; the message is one sentence.
    """
    package = "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # an import runs code of somebody else
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot import {point.name!r} of {package} ({point.value}): {type(error).__name__}: {reason}"
        ) from None
    if not callable(found):
        raise ValueError(
            f"{point.name!r} of {package} ({point.value}) is a {type(found).__name__}, "
            "expected a cache class or a function"
        )
    factory: Callable[..., Any] = found
    return factory
