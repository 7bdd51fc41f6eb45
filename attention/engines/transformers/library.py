"""The optional packages behind the models: imported where they are used, quietly and without downloads."""

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from types import ModuleType

__all__ = ["EXTRA", "INSTALL", "NotInstalledError", "missing", "needed", "offline", "quiet"]

EXTRA = ("torch", "transformers", "kvpress")
"""The packages that everything here needs."""

INSTALL = "install it with `make transformers`, or with pip: torch==2.13.0, then kvfloor[transformers]"
"""What to do about a missing one."""


class NotInstalledError(ValueError):
    """An optional package is missing; the message says how to install it."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' warnings and logs to themselves: what matters becomes an error or a result."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def missing(packages: Iterable[str]) -> tuple[str, ...]:
    """Return those of some packages that cannot be imported.

    Parameters
    ----------
    packages : iterable of str
        Names of top-level packages.

    Returns
    -------
    tuple of str
        The missing ones, in their order.
    """
    return tuple(name for name in packages if importlib.util.find_spec(name) is None)


def offline() -> None:
    """Let the libraries of this process and its children download nothing, unless HF_HUB_OFFLINE is set."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@functools.cache
def needed(name: str) -> ModuleType:
    """Import a package or module of the extra `transformers`.

    Nothing is downloaded unless HF_HUB_OFFLINE=0 is set: weights that a compressor would fetch are then
    reported as missing.

    Parameters
    ----------
    name : str
        Such as "torch" or "optimum.quanto".

    Returns
    -------
    module
        The module.

    Raises
    ------
    NotInstalledError
        If the package is not installed.
    """
    if lacking := missing((name.partition(".")[0],)):
        raise NotInstalledError(f"{lacking[0]} is not installed; {INSTALL}")
    offline()
    with quiet():
        return importlib.import_module(name)
