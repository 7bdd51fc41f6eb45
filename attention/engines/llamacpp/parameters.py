"""Where the fields of llama.cpp's context parameters lie: found by their defaults, set by name.

The struct grows from build to build. Its fields keep their order and their defaults, so a field is looked for
between landmarks: the sizes at the start, four enums of -1 (the last is flash attention), four floats of -1,
then the first two adjacent ones (the types of keys and values, f16), then six booleans. A build without these
landmarks is refused; `kvfloor.attention.engines.llamacpp.proof.proved` shows by use that the fields found
are the right ones.
"""

import functools
import struct
from dataclasses import dataclass

from kvfloor.attention.engines.llamacpp.library import Blob, library, unknown_build

__all__ = ["FLASH", "TYPES", "Fields", "fields", "find"]

TYPES = {
    "f32": (0, 1, 4),
    "f16": (1, 1, 2),
    "bf16": (30, 1, 2),
    "q8_0": (8, 32, 34),
    "q5_1": (7, 32, 24),
    "q5_0": (6, 32, 22),
    "q4_1": (3, 32, 20),
    "q4_0": (2, 32, 18),
    "iq4_nl": (20, 32, 18),
}
"""The types that a cache takes: ggml's number of each, entries of a block, and bytes of a block."""

FLASH = {"auto": -1, "off": 0, "on": 1}
"""The ways to ask for flash attention."""

_SIZES = ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")
_SIZE_DEFAULTS = (512, 2048, 512, 1)
_BOOLS = ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")
_BOOL_DEFAULTS = bytes((0, 1, 1, 1, 1, 0))
_MINUS_ONE = 0xFFFFFFFF
_FLOAT_MINUS_ONE = struct.unpack("<I", struct.pack("<f", -1.0))[0]


@dataclass(frozen=True, slots=True)
class Fields:
    """Places in the struct.

    Parameters
    ----------
    words : mapping of str to int
        The 32-bit word of each number.
    bools : int
        The byte at which the booleans start.
    """

    words: dict[str, int]
    bools: int

    def made(self, **given: int) -> Blob:
        """Return the default parameters with some changed.

        Parameters
        ----------
        **given : int
            Names of the library's own fields.

        Returns
        -------
        Blob
            To be passed by value.
        """
        parameters: Blob = library().llama_context_default_params()
        data = bytearray(bytes(parameters))
        for name, value in given.items():
            if name in _BOOLS:
                data[self.bools + _BOOLS.index(name)] = bool(value)
            else:
                struct.pack_into("<i", data, 4 * self.words[name], value)
        return Blob.from_buffer_copy(data)


def find(words: list[int]) -> Fields | None:
    """Return where the fields are in a struct with default values.

    Parameters
    ----------
    words : list of int
        Its 32-bit words; what follows the struct may be anything.

    Returns
    -------
    Fields or None
        None if a landmark is missing.
    """
    if tuple(words[:4]) != _SIZE_DEFAULTS:
        return None
    enums = _run(words, [_MINUS_ONE] * 4, 4)
    floats = _run(words, [_FLOAT_MINUS_ONE] * 4, (enums or 0) + 4)
    types = _run(words, [1, 1], (floats or 0) + 4)
    if enums is None or floats is None or types is None:
        return None
    threads = [at for at in range(4, enums - 1) if words[at] == words[at + 1] != 0]
    after = next((at for at in range(types + 2, len(words)) if words[at]), None)
    if len(threads) != 1 or after is None:
        return None
    data = struct.pack(f"<{len(words)}I", *words)
    if data[4 * after : 4 * after + len(_BOOL_DEFAULTS)] != _BOOL_DEFAULTS:
        return None
    found = dict(zip(_SIZES, range(4), strict=True))
    found |= {"n_threads": threads[0], "n_threads_batch": threads[0] + 1, "flash_attn_type": enums + 3}
    return Fields(found | {"type_k": types, "type_v": types + 1}, 4 * after)


@functools.cache
def fields() -> Fields:
    """Return where the fields of the library's context parameters are.

    Returns
    -------
    Fields
        By the defaults of this build.

    Raises
    ------
    UnknownBuildError
        If they are not where they are looked for.
    """
    found = find(list(library().llama_context_default_params().words))
    if found is None:
        raise unknown_build("has context parameters of another layout")
    return found


def _run(words: list[int], pattern: list[int], start: int) -> int | None:
    """Return the first place from `start` on where the words are `pattern`."""
    places = range(start, len(words) - len(pattern) + 1)
    return next((at for at in places if words[at : at + len(pattern)] == pattern), None)
