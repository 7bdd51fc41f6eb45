"""llama.cpp's block formats without llama.cpp: what its cache stores, byte for byte."""

import contextlib
import functools
import importlib
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, word
from kvfloor.attention.caches.quantised.frame import CodedMatrix, QuantisedCache
from kvfloor.attention.caches.wire import Codes, Field, WireError
from kvfloor.attention.checks import Matrix

__all__ = ["Blocks", "hadamard"]

TYPES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
BLOCK = 32  # numbers that share a scale, and in q5_1 and q4_1 an offset
ROTATED = 64  # channels that are rotated together


class Blocks(QuantisedCache):
    """Keys and values in llama.cpp's blocks of 32, with its rotation or without.

    A block holds a scale in float16 and a code of 4, 5 or 8 bits a number; the types that end in 1 hold an
    offset, too. Rows are filled up with zeros to whole blocks, and those are sent. The rotation is that of a
    Hadamard matrix on every 64 channels, where 64 divides their number; elsewhere there is none.

    References
    ----------
    ggml, its formats q4_0 to q8_0, as `gguf.quants` implements them in NumPy.
    """

    name: ClassVar[str] = "blocks"
    source: ClassVar[str] = "llama.cpp's formats, by gguf"

    type_k: str = word("format of keys", TYPES, default="q8_0")
    type_v: str = word("format of values", TYPES, default="q8_0")
    rotation: str = word("whether channels are rotated before", ("on", "off"), default="off")

    def _begin(self) -> None:
        _gguf()
        rotation = self.rotation == "on"
        self._keys = _Blocks("keys", self.dim, self.type_k, rotation)
        self._values = _Blocks("values", self.value_dim, self.type_v, rotation)

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        super()._restore(counts, arrays)
        if not all(np.isfinite(matrix).all() for matrix in self._tokens()):
            raise WireError("blocks hold a scale or an offset that is not finite")


class _Blocks(CodedMatrix):
    """One matrix in blocks of a type, a row after the other."""

    def __init__(self, name: str, columns: int, kind: str, rotation: bool) -> None:
        self._name, self._columns, self._rotates = name, columns, rotation and columns % ROTATED == 0
        self._type = _gguf().GGMLQuantizationType[kind.upper()]
        self._padding = -columns % BLOCK
        self._blocks = Rows(
            (columns + self._padding) // BLOCK * _gguf().GGML_QUANT_SIZES[self._type][1], np.uint8
        )

    def __len__(self) -> int:
        return len(self._blocks)

    def quantise(self, rows: Matrix) -> tuple[NDArray[Any], ...]:
        """Return the rows in blocks."""
        rows = hadamard(rows.astype(np.float32)) if self._rotates else rows.astype(np.float32)
        with np.errstate(all="ignore"):
            blocks = _gguf().quants.quantize(np.pad(rows, ((0, 0), (0, self._padding))), self._type)
            if not np.isfinite(self._read(blocks)).all():
                raise ValueError(
                    f"{self._name} are too large for the float16 scales of {self._type.name.lower()}"
                )
        return (blocks,)

    def extend(self, *coded: NDArray[Any]) -> None:
        """Take in blocks."""
        self._blocks.extend(coded[0])

    def matrix(self) -> Matrix:
        """Return the matrix, rotated back."""
        with np.errstate(all="ignore"):
            return self._read(self._blocks.array)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the blocks."""
        return (self._blocks.array,)

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return their field."""
        return (Codes(f"blocks of {self._name}", (rows, self._blocks.array.shape[1]), 256),)

    def _read(self, blocks: NDArray[Any]) -> Matrix:
        """Return what blocks stand for."""
        if not len(blocks):
            return np.empty((0, self._columns), np.float32)
        rows = _gguf().quants.dequantize(np.ascontiguousarray(blocks), self._type)[:, : self._columns]
        return hadamard(rows) if self._rotates else rows


def hadamard(rows: Matrix) -> Matrix:
    """Return rows with every 64 channels multiplied by Sylvester's Hadamard matrix, over 8: its own inverse.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        64 divides d.

    Returns
    -------
    ndarray, shape (n, d)
        Of the same dtype, the same for a row whatever comes with it.
    """
    parts = rows.reshape(len(rows), -1, ROTATED)
    half = 1
    while half < ROTATED:
        pairs = parts.reshape(len(rows), -1, 2, half)
        parts = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        half *= 2
    rotated: Matrix = parts.reshape(rows.shape) / rows.dtype.type(ROTATED**0.5)
    return rotated


@functools.cache
def _gguf() -> ModuleType:
    """Return the package gguf with its formats; ValueError on how to install it."""
    with contextlib.suppress(ImportError):
        importlib.import_module("gguf.quants")
        return importlib.import_module("gguf")
    raise ValueError("gguf is not installed; install it with `make llamacpp`, or with pip: kvfloor[llamacpp]")
