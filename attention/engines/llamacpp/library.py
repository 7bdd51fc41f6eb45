"""llama.cpp as a C library: the functions that are used, typed, and what it logs."""

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from types import ModuleType
from typing import Any

from kvfloor.attention.engines.transformers.library import NotInstalledError, missing

__all__ = ["EXTRA", "INSTALL", "PINNED", "Batch", "Blob", "UnknownBuildError", "library", "logged", "needed"]

EXTRA = ("xllamacpp", "gguf")
"""The packages that everything here needs."""

PINNED = "xllamacpp==2026.10.11549"
"""The build of llama.cpp that this module was written against."""

INSTALL = "install it with `make llamacpp`, or with pip: kvfloor[llamacpp]"
"""What to do about a missing one."""


class UnknownBuildError(ValueError):
    """The library is not laid out as this package expects; the message says which build is."""


class Blob(ctypes.Structure):
    """A parameter struct that is passed by value: larger than any of theirs, its words are found by their defaults."""

    _fields_ = [("words", c_uint32 * 128)]


class Batch(ctypes.Structure):
    """The library's `llama_batch`."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


_LOG = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # what each returns, and what it takes
    "llama_backend_init": (None,),
    "llama_batch_free": (None, Batch),
    "llama_batch_init": (Batch, c_int32, c_int32, c_int32),
    "llama_context_default_params": (Blob,),
    "llama_decode": (c_int32, c_void_p, Batch),
    "llama_free": (None, c_void_p),
    "llama_get_logits": (POINTER(c_float), c_void_p),
    "llama_get_memory": (c_void_p, c_void_p),
    "llama_init_from_model": (c_void_p, c_void_p, Blob),
    "llama_log_set": (None, _LOG, c_void_p),
    "llama_memory_seq_pos_max": (c_int32, c_void_p, c_int32),
    "llama_memory_seq_rm": (c_bool, c_void_p, c_int32, c_int32, c_int32),
    "llama_model_default_params": (Blob,),
    "llama_model_free": (None, c_void_p),
    "llama_model_get_vocab": (c_void_p, c_void_p),
    "llama_model_load_from_file": (c_void_p, c_char_p, Blob),
    "llama_model_n_embd": (c_int32, c_void_p),
    "llama_n_batch": (c_uint32, c_void_p),
    "llama_n_ctx": (c_uint32, c_void_p),
    "llama_n_seq_max": (c_uint32, c_void_p),
    "llama_n_threads": (c_int32, c_void_p),
    "llama_n_ubatch": (c_uint32, c_void_p),
    "llama_state_seq_get_data": (c_size_t, c_void_p, c_void_p, c_size_t, c_int32),
    "llama_state_seq_get_size": (c_size_t, c_void_p, c_int32),
    "llama_state_seq_set_data": (c_size_t, c_void_p, c_void_p, c_size_t, c_int32),
    "llama_tokenize": (c_int32, c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    "llama_vocab_n_tokens": (c_int32, c_void_p),
}

_lines: list[str] = []


def _keep(level: int, text: bytes, user_data: Any) -> None:
    """Keep what the library logs, the last lines of it."""
    del level, user_data
    _lines.append(text.decode(errors="replace"))
    del _lines[:-4096]


_KEEP = _LOG(_keep)  # as long as the library may call it


def logged(*, forget: bool = False) -> str:
    """Return what the library has logged since the last time that it was to be forgotten.

    Parameters
    ----------
    forget : bool
        Whether the next call starts from here.

    Returns
    -------
    str
        Its last lines.
    """
    text = "".join(_lines)
    if forget:
        _lines.clear()
    return text


@functools.cache
def needed(name: str) -> ModuleType:
    """Import a package of the extra `llamacpp`.

    Parameters
    ----------
    name : str
        Such as "gguf".

    Returns
    -------
    module
        The module.

    Raises
    ------
    NotInstalledError
        If the package is not installed.
    """
    if lacking := missing((name,)):
        raise NotInstalledError(f"{lacking[0]} is not installed; {INSTALL}")
    return importlib.import_module(name)


@functools.cache
def library() -> Any:
    """Load the library, its functions typed; the Python side of xllamacpp is not imported.

    Returns
    -------
    ctypes.CDLL
        The library, with its log kept for `logged`.

    Raises
    ------
    NotInstalledError
        If xllamacpp is not installed.
    UnknownBuildError
        If the extension module lacks a function.
    """
    found = importlib.util.find_spec("xllamacpp")
    if found is None or found.origin is None:
        raise NotInstalledError(f"xllamacpp is not installed; {INSTALL}")
    modules = sorted(Path(found.origin).parent.glob("xllamacpp*.so"))
    if not modules:
        raise unknown_build("has no extension module")
    loaded = ctypes.CDLL(str(modules[0]))
    for name, (returned, *taken) in _FUNCTIONS.items():
        if not hasattr(loaded, name):
            raise unknown_build(f"lacks the function {name}")
        function = getattr(loaded, name)
        function.restype, function.argtypes = returned, taken
    loaded.llama_log_set(_KEEP, None)
    loaded.llama_backend_init()
    return loaded


def unknown_build(reason: str) -> UnknownBuildError:
    """Return the error of a build that is not the one expected.

    Parameters
    ----------
    reason : str
        What is wrong with it, to be put after its name.

    Returns
    -------
    UnknownBuildError
        One sentence.
    """
    version = importlib.metadata.version("xllamacpp")
    return UnknownBuildError(f"xllamacpp {version} {reason}; install {PINNED}")
