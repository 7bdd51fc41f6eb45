"""A run in two halves: a writer feeds tokens to the engine's cache, a reader asks what arrived."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.llamacpp.contexts import opened
from kvfloor.attention.engines.llamacpp.proof import proved
from kvfloor.attention.engines.llamacpp.settings import Settings

__all__ = ["Session", "Written"]

POSITION_BYTES = 12  # a token's position and sequences, at least
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


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """A model whose cache is the engine's; its writer and its reader each make it anew.

    Parameters
    ----------
    settings : Settings
        What is under audit.
    weights : mapping of str to ndarray
        The model's matrices, as in `kvfloor.attention.engines.llamacpp.files.write_model`.
    dim : int
        Dimension of a head.
    architecture : str
        The model's class.
    """

    settings: Settings
    weights: Mapping[str, NDArray[Any]]
    dim: int
    architecture: str = "llama"

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return sum(name.endswith(".query") for name in self.weights)

    @property
    def kv_heads(self) -> int:
        """Key-value heads of a layer."""
        return len(self.weights["0.key"]) // self.dim

    def write(self, rows: NDArray[np.float32]) -> Written:
        """Feed tokens to the model and return its cache as bytes.

        Parameters
        ----------
        rows : ndarray of float32, shape (n, H)
            Embeddings, one token each.

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
        sizes = self.layers, self.kv_heads, self.dim, len(rows)
        with opened(self.weights, self.dim, self.settings, len(rows), self.architecture) as context:
            context.feed(rows)
            nominal, full = self.settings.nominal_bits(*sizes), Settings().nominal_bits(*sizes)
            return Written(context.state(), nominal, 8 * context.buffer_bytes, int(full), context.rotated)

    def read(
        self, payload: bytes, questions: NDArray[np.float32], first: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Ask a cache that arrived as bytes.

        Parameters
        ----------
        payload : bytes
            What `write` left.
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
            If the engine takes the payload for damaged; it may as well end the process.
        ValueError
            As in `write`.
        """
        proved()
        together = 1 if self.settings.sliding_window else QUESTIONS
        room = self._most_tokens(payload) + (0 if first is None else len(first)) + together
        with opened(self.weights, self.dim, self.settings, room, self.architecture) as context:
            context.restore(payload)
            if first is not None and len(first):
                context.feed(first)
            length, answers = context.length, []
            for start in range(0, len(questions), together):
                answers.append(context.feed(questions[start : start + together], answers=True))
                context.forget(length)
            return np.concatenate([found for found in answers if found is not None])

    def _most_tokens(self, payload: bytes) -> int:
        """Return how many tokens a payload can hold: each takes its position, and its rows where no layer slides."""
        kept = sum(not self.settings.slides(layer) for layer in range(self.layers))
        row = self.settings.entry_bits * self.kv_heads * self.dim / 8
        return len(payload) // int(POSITION_BYTES + kept * row)
