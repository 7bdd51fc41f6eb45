"""Quantisation after a random rotation, which makes every coordinate follow one known law."""

import functools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins, Rows, StreamCache
from kvfloor.attention.caches.formats import round_to
from kvfloor.attention.caches.projection import norms, project, rotation
from kvfloor.attention.caches.wire import Codes, Field, Floats
from kvfloor.attention.checks import Matrix, integer

__all__ = ["TurboQuant", "lloyd_max"]

_ROUNDS = 300


class TurboQuant(StreamCache):
    """Keys and values as norms, and codes of their rotated directions, b bits a coordinate (TurboQuant).

    A coordinate of a uniformly rotated unit vector has a law that is known, so its best scalar quantiser
    (Lloyd, Max) is known to both sides without being sent. This is the variant for the mean squared error.

    Parameters
    ----------
    dim, value_dim : int
        Numbers of columns of keys and values.
    coins : Coins
        Its seed draws the two rotations.
    bits : int
        Bits a coordinate, 1 to 8.

    References
    ----------
    A. Zandieh et al. TurboQuant: Online Vector Quantization with Near-optimal Distortion Rate,
    arXiv:2504.19874.
    """

    name: ClassVar[str] = "turboquant"
    source: ClassVar[str] = "arXiv:2504.19874 (TurboQuant)"

    def __init__(self, dim: int, value_dim: int, coins: Coins, *, bits: int = 2) -> None:
        super().__init__(dim, value_dim, coins)
        self.bits = integer("bits", bits, 1, 8)
        self._keys = _Rotated("keys", self.dim, self.bits, (coins.seed, 0))
        self._values = _Rotated("values", self.value_dim, self.bits, (coins.seed, 1))

    def _append(self, keys: Matrix, values: Matrix) -> None:
        quantised = self._keys.quantise(keys), self._values.quantise(values)
        self._keys.extend(*quantised[0])
        self._values.extend(*quantised[1])

    def _tokens(self) -> tuple[Matrix, Matrix]:
        return self._keys.matrix(), self._values.matrix()

    def _state(self) -> tuple[tuple[int, ...], tuple[NDArray[Any], ...]]:
        arrays = (*self._keys.arrays(), *self._values.arrays())
        return (len(arrays[0]),), arrays

    def _layout(self, *counts: int) -> tuple[Field, ...]:
        return (*self._keys.layout(counts[0]), *self._values.layout(counts[0]))

    def _restore(self, counts: tuple[int, ...], arrays: list[NDArray[Any]]) -> None:
        self._keys.extend(*arrays[:2])
        self._values.extend(*arrays[2:])


class _Rotated:
    """One matrix: the norms of its rows in float16, and codes of their rotated directions."""

    def __init__(self, name: str, columns: int, bits: int, seed: tuple[int, ...]) -> None:
        self._name, self._columns, self._bits, self._seed = name, columns, bits, seed
        self._norms = Rows(1, np.float32)
        self._codes = Rows(columns, np.uint8)

    @functools.cached_property
    def _rotation(self) -> NDArray[np.float64]:
        """The rotation, made when it is first needed."""
        return rotation(self._columns, *self._seed)

    def quantise(self, rows: Matrix) -> tuple[Matrix, NDArray[Any]]:
        """Return what `extend` takes for the next rows: norms and codes."""
        lengths = norms(rows)
        directions = project(rows / np.where(lengths > 0, lengths, 1.0), self._rotation)
        centroids = lloyd_max(self._columns, self._bits)
        codes = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, directions)
        return round_to("float16", lengths, f"norms of {self._name}"), codes.astype(np.uint8)

    def extend(self, lengths: Matrix, codes: NDArray[Any]) -> None:
        """Take in new rows."""
        self._norms.extend(lengths)
        self._codes.extend(codes)

    def matrix(self) -> Matrix:
        """Return the matrix that is stood for."""
        directions: Matrix = lloyd_max(self._columns, self._bits)[self._codes.array] @ self._rotation
        return np.asarray(directions * self._norms.array, np.float32)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the state, as `layout` describes it."""
        return self._norms.array, self._codes.array

    def layout(self, rows: int) -> tuple[Field, ...]:
        """Return the fields of the state when there are so many rows."""
        return (
            Floats(f"norms of {self._name}", (rows, 1), "float16", low=0.0),
            Codes(f"codes of {self._name}", (rows, self._columns), 1 << self._bits),
        )


@functools.cache
def lloyd_max(dim: int, bits: int) -> NDArray[np.float64]:
    """Return the quantiser of least mean squared error for a coordinate of a random unit vector.

    The coordinate x has density proportional to (1 - x^2)^((d-3)/2), so that its mass and mean over an
    interval are closed forms. From the asymptotically best start (points with density proportional to the
    cube root of the law's) each point is moved to the mean of its cell, 300 times.

    Parameters
    ----------
    dim : int
        Dimension d of the unit vector; 1 is taken as 2.
    bits : int
        log2 of the number of points, 1 to 8.

    Returns
    -------
    ndarray of float64, shape (2^bits,)
        The points, ascending.

    References
    ----------
    S. Lloyd. Least squares quantization in PCM. IEEE Trans. Inf. Theory 28, 1982; J. Max, 1960.
    """
    # Only a cache that quantises pays for importing it.
    from scipy.special import betainc, betaincinv, gammaln

    half = (max(dim, 2) - 1) / 2
    cells = (np.arange(1 << bits) + 0.5) / (1 << bits)
    start = betaincinv(0.5, (max(dim, 2) / 3 + 1) / 2, np.abs(2 * cells - 1))
    points = np.sign(cells - 0.5) * np.sqrt(start)
    scale = np.exp(gammaln(half + 0.5) - gammaln(half)) / np.sqrt(np.pi) / (2 * half)
    for _ in range(_ROUNDS):
        edges = np.concatenate([[-1.0], (points[1:] + points[:-1]) / 2, [1.0]])
        below = np.sign(edges) * betainc(0.5, half, edges**2) / 2
        points = -scale * np.diff((1 - edges**2) ** half) / np.diff(below)
    fixed: NDArray[np.float64] = points
    fixed.setflags(write=False)
    return fixed
