"""The two halves of a run: a writer feeds tokens to the engine's cache, a reader asks what arrived."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.llamacpp.contexts import opened
from kvfloor.attention.engines.llamacpp.proof import proved
from kvfloor.attention.engines.llamacpp.settings import Settings

__all__ = ["Written", "read", "write"]

QUESTIONS = 256  # asked in one pass, one after the other at the end of the stream


@dataclass(frozen=True, slots=True)
class Written:
    """What the writer leaves behind.

    Parameters
    ----------
    payload : bytes
        The sequence, as the engine writes it: positions, a header a layer, blocks of keys and values.
    nominal_bits : float
        What the types say that keys and values take, scales included.
    allocated_bits : int
        The buffers that the engine has allocated for them.
    full_cache_bits : int
        Keys and values of all tokens in float16, the engine's default.
    rotated : bool
        Whether the engine rotated keys or values.
    """

    payload: bytes
    nominal_bits: float
    allocated_bits: int
    full_cache_bits: int
    rotated: bool


def write(
    settings: Settings,
    weights: Mapping[str, NDArray[Any]],
    dim: int,
    rows: NDArray[np.float32],
    architecture: str = "llama",
) -> Written:
    """Feed tokens to a model and return its cache as bytes.

    Parameters
    ----------
    settings : Settings
        What is under audit.
    weights : mapping of str to ndarray
        The model's matrices.
    dim : int
        Dimension of a head.
    rows : ndarray of float32, shape (n, H)
        Embeddings, one token each.
    architecture : str
        The model's class.

    Returns
    -------
    Written
        The payload and the accounts.

    Raises
    ------
    ValueError
        If the extra is missing, a parameter is wrong, or the engine refuses.
    """
    proved()
    layers = sum(name.endswith(".query") for name in weights)
    kv_heads = len(weights["0.key"]) // dim
    with opened(weights, dim, settings, len(rows), architecture) as context:
        context.feed(rows)
        return Written(
            context.state(),
            settings.nominal_bits(layers, kv_heads, dim, len(rows)),
            8 * context.buffer_bytes,
            2 * 16 * len(rows) * layers * kv_heads * dim,
            context.rotated,
        )


def read(
    settings: Settings,
    weights: Mapping[str, NDArray[Any]],
    dim: int,
    payload: bytes,
    tokens: int,
    questions: NDArray[np.float32],
    *,
    first: NDArray[np.float32] | None = None,
    architecture: str = "llama",
) -> NDArray[np.float32]:
    """Ask a cache that arrived as bytes.

    Parameters
    ----------
    settings, weights, dim, architecture
        As the writer had them.
    payload : bytes
        What `write` left.
    tokens : int
        Length of the stream.
    questions : ndarray of float32, shape (m, H)
        Embeddings, one question each. Those of one pass see the earlier ones' keys and values, unless the
        cache slides: then each is asked alone, right behind the stream.
    first : ndarray of float32, shape (r, H), optional
        The reader's own tokens, appended before all questions.

    Returns
    -------
    ndarray of float32, shape (m, V)
        The logits at each question.

    Raises
    ------
    WireError
        If the engine takes the payload for damaged.
    ValueError
        As in `write`.
    """
    proved()
    own = 0 if first is None else len(first)
    together = 1 if settings.sliding_window else QUESTIONS
    with opened(weights, dim, settings, tokens + own + together, architecture) as context:
        context.restore(payload)
        if first is not None and own:
            context.feed(first)
        length = context.length
        answers = []
        for start in range(0, len(questions), together):
            found = context.feed(questions[start : start + together], answers=True)
            assert found is not None
            answers.append(found)
            context.forget(length)
        return np.concatenate(answers)
