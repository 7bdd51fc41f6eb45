"""Texts that come along, and what the shipped model's attention is given on them."""

import functools
from importlib.resources import files

from threadpoolctl import threadpool_limits

from kvfloor.attention.checks import integer, one_of
from kvfloor.attention.engines.plain.files import read_model, shipped_model
from kvfloor.attention.engines.plain.forward import LayerTrace, traces
from kvfloor.attention.engines.plain.words import tokenized

__all__ = ["MOST_TOKENS", "TEXTS", "text_of", "traced"]

TEXTS = ("prose", "rhyme")
"""The first chapter of "Pride and Prejudice" (Jane Austen, 1813), and a rhyme of ours."""

MOST_TOKENS = 1024
"""Tokens that every text has."""


def text_of(name: str) -> str:
    """Return a text by its name in ``TEXTS``; ValueError if there is none."""
    file = f"{one_of('text', name, TEXTS)}.txt"
    return (files("kvfloor.attention.engines.plain") / file).read_text(encoding="utf-8")


@functools.lru_cache(1)
def traced(name: str, tokens: int = MOST_TOKENS) -> list[LayerTrace]:
    """Return what every layer's attention is given on a text, by the shipped model; kept for the next call.

    Parameters
    ----------
    name : str
        A name in ``TEXTS``.
    tokens : int
        How many of its first tokens, from 1 to ``MOST_TOKENS``.

    Returns
    -------
    list of LayerTrace
        One a layer.

    Raises
    ------
    ValueError
        If there is no such text; `NotInstalledError` if the extra is not installed.
    """
    integer("tokens", tokens, 1, MOST_TOKENS)
    path, text = shipped_model(), text_of(name)
    with threadpool_limits(1):  # small products: more threads wait for each other
        return traces(read_model(path), tokenized(path, text)[:tokens])
