"""A text as tokens, by llama.cpp's own tokenizer."""

import ctypes
from ctypes import c_int32
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.llamacpp.library import library

__all__ = ["tokenized"]


def tokenized(path: Path, text: str) -> NDArray[np.int32]:
    """Return the tokens of a text.

    Parameters
    ----------
    path : Path
        A model file with a vocabulary.
    text : str
        The text.

    Returns
    -------
    ndarray of int32, shape (n,)
        Tokens, none added at the start or the end.

    Raises
    ------
    ValueError
        If the file cannot be read or the text has no tokens.
    """
    lib = library()
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    if not model:
        raise ValueError(f"llama.cpp cannot load {path}")
    try:
        data = text.encode()
        room = len(data) + 8
        found = (c_int32 * room)()
        count = lib.llama_tokenize(
            lib.llama_model_get_vocab(model), data, len(data), found, room, False, False
        )
    finally:
        lib.llama_model_free(model)
    if count < 1:
        raise ValueError(f"a text of {len(text)} characters has no tokens")
    return np.frombuffer(ctypes.string_at(found, 4 * count), np.int32).copy()
