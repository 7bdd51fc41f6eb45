"""How CACHE names a thing: one of ours, one of a library, or anybody's ``package.module:Thing``."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from kvfloor.attention.caches import CACHES, resolve
from kvfloor.attention.caches.named.installed import announced
from kvfloor.attention.engines.transformers.compressors import LIBRARIES

__all__ = ["Kind", "kind_of", "named"]

Kind: TypeAlias = Literal["numpy", "transformers", "llamacpp"]


def named(cache: str | Callable[..., Any]) -> str:
    """Return the name under which fresh processes find a cache.

    Parameters
    ----------
    cache : str or callable
        A name, or a factory that can be imported.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        If a factory cannot be imported under its own name.
    """
    if isinstance(cache, str):
        return cache
    module, name = getattr(cache, "__module__", None), getattr(cache, "__qualname__", "<unnamed>")
    if module in (None, "__main__") or "<" in name or "." in name:
        raise ValueError(
            f"a cache must be importable by fresh processes, and {name} of {module} is not; "
            "define it at the top of a module"
        )
    return f"{module}:{name}"


def kind_of(cache: str) -> Kind:
    """Return which kind of host holds a cache; a wrong name of ours is told at once.

    Parameters
    ----------
    cache : str
        ``kvpress:...`` and ``transformers:...`` stand for what these libraries ship, ``llamacpp:...`` for
        that engine's own, anything else for a cache in NumPy as `kvfloor.attention.caches.resolve` takes it.

    Returns
    -------
    str
        The kind.

    Raises
    ------
    ValueError
        If it is a name of ours and a wrong one.
    """
    if cache.partition(":")[0] in LIBRARIES:
        return "transformers"
    if cache.partition(":")[0] == "llamacpp":
        return "llamacpp"
    for side in cache.split("+"):
        head, _, rest = side.partition(":")
        if head in CACHES or not (rest or head in announced()):
            resolve(side)
    return "numpy"
