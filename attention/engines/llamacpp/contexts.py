"""A model with a cache: tokens in, logits out, the state of a sequence as the engine's own bytes."""

import contextlib
import ctypes
import functools
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.wire import WireError
from kvfloor.attention.engines.llamacpp.files import write_model
from kvfloor.attention.engines.llamacpp.library import library, logged, unknown_build
from kvfloor.attention.engines.llamacpp.parameters import FLASH, TYPES, fields
from kvfloor.attention.engines.llamacpp.settings import Settings

__all__ = ["Context", "EngineFailedError", "opened"]

TOGETHER = 512  # tokens that the engine computes at once
_BUFFER = re.compile(
    r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells, +(\d+) layers, +\d+/(\d+) seqs\), "
    r"K \((\w+)\): +[\d.]+ MiB, V \((\w+)\)"
)
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

    def feed(self, rows: NDArray[np.float32], *, answers: bool = False) -> NDArray[np.float32] | None:
        """Append tokens to the sequence.

        Parameters
        ----------
        rows : ndarray of float32, shape (m, H)
            Their embeddings.
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
        rows = np.ascontiguousarray(rows, np.float32)
        start = self.length
        if start + len(rows) > self.room:
            raise EngineFailedError(f"llama.cpp has room for {self.room} tokens, not for {start + len(rows)}")
        batch = library().llama_batch_init(len(rows), self.width, 1)
        try:
            batch.n_tokens = len(rows)
            ctypes.memmove(batch.embd, rows.ctypes.data, rows.nbytes)
            for token in range(len(rows)):
                batch.pos[token], batch.n_seq_id[token], batch.logits[token] = start + token, 1, answers
                batch.seq_id[token][0] = self.sequence
            if status := library().llama_decode(self.handle, batch):
                raise EngineFailedError(
                    f"llama.cpp cannot take {len(rows)} tokens: llama_decode gives {status}"
                )
        finally:
            library().llama_batch_free(batch)
        if not answers:
            return None
        found = np.ctypeslib.as_array(library().llama_get_logits(self.handle), (len(rows), self.vocabulary))
        return found.copy()

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
    EngineFailedError
        If the engine refuses the settings.
    ValueError
        If the extra is not installed, the build is unknown or a parameter is wrong.
    """
    proved()
    with _opened(weights, dim, settings, tokens, architecture) as context:
        yield context


@contextlib.contextmanager
def _opened(
    weights: Mapping[str, NDArray[Any]], dim: int, settings: Settings, tokens: int, architecture: str
) -> Iterator[Context]:
    """Do what `opened` does, on trust."""
    lib = library()
    with tempfile.TemporaryDirectory(prefix="kvfloor-") as folder:
        path = Path(folder) / "model.gguf"
        write_model(path, weights, dim, settings, architecture)
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
        head = weights["unembed"]
        reported = _buffer_bytes(len(weights["0.key"])), _rotates()
        yield Context(handle, head.shape[1], len(head), settings.sequences - 1, tokens, *reported)
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


def _buffer_bytes(entries: int) -> int:
    """Return the bytes of the buffers that the engine reports, given the entries of a token's keys in a layer."""
    total = 0
    for mebibytes, cells, layers, streams, type_k, type_v in _BUFFER.findall(logged()):
        rows = [entries * TYPES[t][2] // TYPES[t][1] for t in (type_k, type_v)]
        size = int(cells) * int(layers) * int(streams) * sum(rows)
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
    """Return the last thing that the engine logged, as a remark."""
    lines = [line.strip() for line in logged().splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""


@functools.cache
def proved() -> None:
    """Show on a tiny model that the library does what its parameters say.

    Raises
    ------
    UnknownBuildError
        If sizes are not those that were asked for, a token's state is not of the types that were asked for,
        or a switch has no effect.
    """
    weights = _tiny()
    asked = Settings("f32", "f16", flash="off", sequences=2)
    grown = {}
    for settings in (asked, replace(asked, type_k="q8_0"), replace(asked, unified=True, flash="on")):
        with _opened(weights, 32, settings, 768, "llama") as context:
            lib, got = library(), {}
            for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_threads"):
                got[name] = getattr(lib, f"llama_{name}")(context.handle)
            expected = {
                "n_ctx": 768 * (1 if settings.unified else 2),
                "n_batch": 768,
                "n_ubatch": TOGETHER,
                "n_seq_max": 2,
                "n_threads": 1,
            }
            words = (
                f"flash_attn = {'enabled' if settings.flash == 'on' else 'disabled'}",
                (f"kv_unified = {'true' if settings.unified else 'false'}"),
            )
            told = re.sub(" +", " ", logged())
            if got != expected or not all(word in told for word in words):
                raise unknown_build(f"takes {expected} and {', '.join(words)} for {got}")
            sizes = []
            for _ in range(2):
                context.feed(np.ones((1, context.width), np.float32))
                sizes.append(len(context.state()))
            grown[settings.type_k, settings.flash] = sizes[1] - sizes[0]
    with (
        contextlib.suppress(EngineFailedError),
        _opened(weights, 32, replace(asked, type_v="q8_0"), 256, "llama"),
    ):
        raise unknown_build("takes a type of values for one of keys, or flash attention for something else")
    if grown["f32", "off"] - grown["q8_0", "off"] != 32 * 4 - 34 or grown["f32", "on"] != grown["f32", "off"]:
        raise unknown_build(f"stores a token in {grown} bytes, which are not those of the types asked for")


def _tiny() -> dict[str, NDArray[np.float32]]:
    """Return the matrices of a model of one layer and one head of 32 channels that does nothing."""
    shapes = {
        "query": (32, 64), "key": (32, 64), "value": (32, 64), "output": (64, 32),
        "gate": (1, 64), "up": (1, 64), "down": (64, 1),
    }  # fmt: skip
    matrices = {f"0.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return matrices | {"unembed": np.zeros((1, 64), np.float32)}
