"""Caches of other packages, which announce them as entry points of the group ``kvfloor.caches``."""

from collections.abc import Callable
from types import BuiltinFunctionType
from typing import TYPE_CHECKING

from kvfloor.attention.caches.base import Factory
from kvfloor.attention.caches.named.registry import CACHES, Registered, registered

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "announced", "announced_factory", "installed_caches", "load"]

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


def load(what: str, imported: Callable[[], object]) -> Factory:
    """Return somebody else's factory; whatever goes wrong while it is imported is one sentence.

    Parameters
    ----------
    what : str
        What it is called, for the message.
    imported : callable
        Imports it.

    Returns
    -------
    Factory
        What it returned.

    Raises
    ------
    ValueError
        If it cannot be imported, or is neither a class nor a function written in Python.
    """
    try:
        found = imported()
    except (Exception, SystemExit) as error:  # an import runs code of somebody else
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot import {what}: {type(error).__name__}: {reason}") from None
    if not callable(found) or isinstance(found, BuiltinFunctionType):
        raise ValueError(f"{what} is a {type(found).__name__}, expected a cache class or a function")
    return found


def announced_factory(point: "EntryPoint") -> Factory:
    """Return the factory that an entry point stands for, importing its package; see `load`."""
    return load(f"{point.name!r} of {_package(point) or 'an unknown package'} ({point.value})", point.load)


def installed_caches() -> tuple[dict[str, Registered], dict[str, str]]:
    """Return the caches that other packages announce as entry points of the group ``kvfloor.caches``.

    Their packages are imported for it.

    Returns
    -------
    caches : dict of str to Registered
        Those that can be made, by name; where the factory has no ``source``, its package is the source.
    broken : dict of str to str
        What is wrong with each of the others, in one sentence.
    """
    caches, broken = {}, {}
    for name, point in announced().items():
        try:
            if name in CACHES:
                raise ValueError(f"the name {name!r} of {point.value} is taken by a cache that comes along")
            factory = announced_factory(point)
            caches[name] = registered(name, factory, str(getattr(factory, "source", _package(point))))
        except (TypeError, ValueError) as error:
            broken[name] = str(error)
    return caches, broken


def _package(point: "EntryPoint") -> str:
    """Return the package of an entry point and its version, if they are known."""
    return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
