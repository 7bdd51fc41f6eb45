"""Quantisation after a random rotation, which makes every coordinate follow one known law."""

import functools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import whole
from kvfloor.attention.caches.base.projection import project, rotation
from kvfloor.attention.caches.quantised.frame import NormedCodes, QuantisedCache
from kvfloor.attention.checks import Matrix

__all__ = ["TurboQuant", "lloyd_max"]

_ROUNDS = 300


class TurboQuant(QuantisedCache):
    """Keys and values as norms, and codes of their rotated directions, b bits a coordinate (TurboQuant).

    A coordinate of a uniformly rotated unit vector has a law that is known, so its best scalar quantiser
    (Lloyd, Max) is known to both sides without being sent. This is the variant for the mean squared error.

    References
    ----------
    A. Zandieh et al. TurboQuant: Online Vector Quantization with Near-optimal Distortion Rate,
    arXiv:2504.19874.
    """

    name: ClassVar[str] = "turboquant"
    source: ClassVar[str] = "arXiv:2504.19874 (TurboQuant)"

    bits: int = whole("bits a coordinate", 1, 8, default=2)

    def _begin(self) -> None:
        self._keys = _Rotated("keys", self.dim, self.bits, (self.coins.seed, 0))
        self._values = _Rotated("values", self.value_dim, self.bits, (self.coins.seed, 1))


class _Rotated(NormedCodes):
    """One matrix: the norms of its rows in float16, and codes of their rotated directions."""

    def __init__(self, name: str, columns: int, bits: int, seed: tuple[int, int]) -> None:
        super().__init__(name, "codes", columns, 1 << bits)
        self._columns, self._bits, self._seed = columns, bits, seed

    @functools.cached_property
    def _rotation(self) -> NDArray[np.float64]:
        """The rotation, made when it is first needed."""
        return rotation(self._columns, *self._seed)

    def _coded(self, rows: Matrix, lengths: Matrix) -> NDArray[Any]:
        directions = project(rows / np.where(lengths > 0, lengths, 1.0), self._rotation)
        centroids = lloyd_max(self._columns, self._bits)
        return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, directions).astype(np.uint8)

    def _decoded(self, lengths: Matrix, codes: NDArray[Any]) -> Matrix:
        directions: Matrix = lloyd_max(self._columns, self._bits)[codes] @ self._rotation
        return directions * lengths


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
