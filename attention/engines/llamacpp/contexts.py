"""A model with a cache: tokens in, logits out, the state of a sequence as the engine's own bytes."""

import contextlib
import ctypes
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.engines.llamacpp.files import write_model
from kvfloor.attention.engines.llamacpp.library import library, logged, unknown_build
from kvfloor.attention.engines.llamacpp.parameters import FLASH, TYPES, fields
from kvfloor.attention.engines.llamacpp.settings import Settings

__all__ = ["TOGETHER", "Context", "EngineFailedError", "opened", "opened_file"]

TOGETHER = 512
"""Tokens that the engine computes at once."""

_BUFFER = re.compile(
    r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells, +(\d+) layers, +\d+/(\d+) seqs\), "
    r"K \((\w+)\): +[\d.]+ MiB, V \((\w+)\)"
)
_ENTRIES = re.compile(r"n_embd_[kv]_gqa += (\d+)")
_ROTATED = re.compile(r"n_rot_[kv] = (\d+)")


class EngineFailedError(ValueError):
    """The engine refuses what it was asked; the message is its own, in one line."""


@dataclass(slots=True)
class Context:
    """One cache of one model.

    Parameters
    ----------
    handle : int
        The library's own.
    width : int
        Channels H of a row.
    vocabulary : int
        Logits a token.
    sequence : int
        The sequence that is written and read.
    room : int
        Tokens that it has room for.
    buffer_bytes : int
        What the engine has allocated for keys and values of all sequences.
    rotated : bool
        Whether it rotates keys or values.
    """

    handle: int
    width: int
    vocabulary: int
    sequence: int
    room: int
    buffer_bytes: int
    rotated: bool

    @property
    def length(self) -> int:
        """Tokens of the sequence, by the last position."""
        memory = library().llama_get_memory(self.handle)
        return int(library().llama_memory_seq_pos_max(memory, self.sequence)) + 1

    def feed(self, tokens: NDArray[Any], *, answers: bool = False) -> NDArray[np.float32] | None:
        """Append tokens to the sequence.

        Parameters
        ----------
        tokens : ndarray of float32, shape (m, H), or of int32, shape (m,)
            Embeddings, or numbers in the vocabulary.
        answers : bool
            Whether their logits are asked for.

        Returns
        -------
        ndarray of float32, shape (m, V), or None
            The logits.

        Raises
        ------
        EngineFailedError
            If the engine cannot take them.
        """
        lib, count, start = library(), len(tokens), self.length
        if start + count > self.room:
            raise EngineFailedError(f"llama.cpp has room for {self.room} tokens, not for {start + count}")
        embedded = tokens.ndim == 2
        given = np.ascontiguousarray(tokens, np.float32 if embedded else np.int32)
        batch = lib.llama_batch_init(count, self.width if embedded else 0, 1)
        try:
            batch.n_tokens = count
            ctypes.memmove(batch.embd if embedded else batch.token, given.ctypes.data, given.nbytes)
            for token in range(count):
                batch.pos[token], batch.n_seq_id[token], batch.logits[token] = start + token, 1, answers
                batch.seq_id[token][0] = self.sequence
            if status := lib.llama_decode(self.handle, batch):
                raise EngineFailedError(f"llama.cpp cannot take {count} tokens: llama_decode gives {status}")
        finally:
            lib.llama_batch_free(batch)
        if not answers:
            return None
        return np.ctypeslib.as_array(lib.llama_get_logits(self.handle), (count, self.vocabulary)).copy()

    def forget(self, length: int) -> None:
        """Drop all tokens of the sequence from position `length` on."""
        memory = library().llama_get_memory(self.handle)
        if not library().llama_memory_seq_rm(memory, self.sequence, length, -1):
            raise EngineFailedError(f"llama.cpp cannot drop the tokens from {length} on")

    def state(self) -> bytes:
        """Return the sequence as the engine's own bytes."""
        size = library().llama_state_seq_get_size(self.handle, self.sequence)
        found = ctypes.create_string_buffer(size)
        written = library().llama_state_seq_get_data(self.handle, found, size, self.sequence)
        return found.raw[:written]

    def restore(self, payload: bytes) -> None:
        """Take a sequence from bytes.

        Raises
        ------
        WireError
            If the engine does not take them whole; what is no state of its own may as well end its process.
        """
        taken = library().llama_state_seq_set_data(self.handle, payload, len(payload), self.sequence)
        if taken != len(payload) or not payload:
            raise WireError(f"llama.cpp takes {taken} bytes of a state of {len(payload)}{_complaint()}")


@contextlib.contextmanager
def opened(
    weights: Mapping[str, NDArray[Any]],
    dim: int,
    settings: Settings,
    tokens: int,
    architecture: str = "llama",
) -> Iterator[Context]:
    """Give a new model with an empty cache for as long as a block runs.

    Parameters
    ----------
    weights : mapping of str to ndarray
        As in `kvfloor.attention.engines.llamacpp.files.write_model`.
    dim : int
        Dimension of a head.
    settings : Settings
        The cache.
    tokens : int
        How many tokens a sequence has room for.
    architecture : str
        The model's class.

    Yields
    ------
    Context
        The model and its cache.

    Raises
    ------
    ValueError
        If the extra is not installed or a parameter is wrong; `EngineFailedError` if the engine refuses it.
    """
    with tempfile.TemporaryDirectory(prefix="kvfloor-") as folder:
        path = Path(folder) / "model.gguf"
        write_model(path, weights, dim, settings, architecture)
        with opened_file(path, settings, tokens) as context:
            yield context


@contextlib.contextmanager
def opened_file(path: Path, settings: Settings, tokens: int) -> Iterator[Context]:
    """Give the model in a file with an empty cache for as long as a block runs.

    Parameters
    ----------
    path : Path
        A model file.
    settings : Settings
        The cache; its window is the file's.
    tokens : int
        How many tokens a sequence has room for.

    Yields
    ------
    Context
        The model and its cache.

    Raises
    ------
    EngineFailedError
        If the engine refuses the file or the settings.
    """
    lib = library()
    logged(forget=True)
    model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    if not model:
        raise EngineFailedError(f"llama.cpp cannot load the model{_complaint()}")
    parameters = fields().made(
        n_ctx=tokens * (1 if settings.unified else settings.sequences),
        n_batch=max(tokens, TOGETHER),
        n_ubatch=TOGETHER,
        n_seq_max=settings.sequences,
        n_threads=1,
        n_threads_batch=1,
        flash_attn_type=FLASH[settings.flash],
        type_k=TYPES[settings.type_k][0],
        type_v=TYPES[settings.type_v][0],
        swa_full=False,
        kv_unified=settings.unified,
    )
    handle = None
    try:
        with _rotation(settings.rotation):
            handle = lib.llama_init_from_model(model, parameters)
        if not handle:
            raise EngineFailedError(f"llama.cpp refuses the cache{_complaint()}")
        sizes = lib.llama_model_n_embd(model), lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        yield Context(handle, *sizes, settings.sequences - 1, tokens, _buffer_bytes(), _rotates())
    finally:
        if handle:
            lib.llama_free(handle)
        lib.llama_model_free(model)


@contextlib.contextmanager
def _rotation(wanted: bool) -> Iterator[None]:
    """Turn the rotation of quantised caches on or off while a context is made."""
    name = "LLAMA_ATTN_ROT_DISABLE"
    before = os.environ.pop(name, None)
    if not wanted:
        os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _buffer_bytes() -> int:
    """Return the bytes of the buffers that the engine reports, exactly: by cells, layers and types."""
    text, total = logged(), 0
    entries = [int(found) for found in _ENTRIES.findall(text)]  # of a token's keys and values in a layer
    for mebibytes, cells, layers, streams, *types in _BUFFER.findall(text):
        row = sum(n * TYPES[t][2] // TYPES[t][1] for n, t in zip(entries, types, strict=True))
        size = int(cells) * int(layers) * int(streams) * row
        if abs(size / 2**20 - float(mebibytes)) > 0.00501:  # reported to two decimals
            raise unknown_build(f"reports a cache of {mebibytes} MiB where its types give {size} bytes")
        total += size
    if not total:
        raise unknown_build("reports no size of its cache")
    return total


def _rotates() -> bool:
    """Return whether the engine says that it rotates."""
    return any(int(size) for size in _ROTATED.findall(logged()))


def _complaint() -> str:
    """Return what the engine logged last of an error, or else last, as a remark."""
    lines = [line.strip() for line in logged().splitlines() if line.strip()]
    told = [line for line in lines if "error" in line] or lines
    return f": {told[-1]}" if told else ""
