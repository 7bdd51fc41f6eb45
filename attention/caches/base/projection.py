"""Public random matrices, and products with them that do not depend on how rows come in blocks."""

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix

__all__ = ["gaussian", "norms", "project", "rotation"]

Doubles = NDArray[np.float64]


def gaussian(rows: int, columns: int, *seed: int) -> Doubles:
    """Return a matrix of independent standard normal entries.

    Parameters
    ----------
    rows, columns : int
        Its shape.
    *seed : int
        What it is drawn from: equal seeds give equal matrices.

    Returns
    -------
    ndarray of float64, shape (rows, columns)
        The matrix.
    """
    return np.random.default_rng(seed).standard_normal((rows, columns))


def rotation(dim: int, *seed: int) -> Doubles:
    """Return a uniformly random orthogonal matrix.

    Parameters
    ----------
    dim : int
        Its size, at least 1.
    *seed : int
        What it is drawn from.

    Returns
    -------
    ndarray of float64, shape (dim, dim)
        Orthonormal rows.

    References
    ----------
    F. Mezzadri. How to generate random matrices from the classical compact groups. Notices AMS 54, 2007.
    """
    q, r = np.linalg.qr(gaussian(dim, dim, *seed))
    rotated: Doubles = q * np.sign(np.diagonal(r))
    return rotated


def project(rows: Matrix, matrix: Doubles) -> Doubles:
    """Return the product of rows with the transpose of a matrix, the same for a row whatever comes with it.

    A product of matrices may round a row differently in blocks of different sizes, and what is rounded to
    codes must not: so the sum over coordinates is spelt out, in their order.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Vectors.
    matrix : ndarray, shape (m, d)
        Directions.

    Returns
    -------
    ndarray of float64, shape (n, m)
        Inner products.
    """
    products = np.zeros((len(rows), len(matrix)))
    for coordinate, directions in zip(rows.T, matrix.T, strict=True):
        products += coordinate[:, None].astype(np.float64) * directions
    return products


def norms(rows: Matrix) -> Doubles:
    """Return Euclidean norms of rows, the same for a row whatever comes with it.

    Parameters
    ----------
    rows : ndarray, shape (n, d)
        Vectors.

    Returns
    -------
    ndarray of float64, shape (n, 1)
        Their norms.
    """
    squares = np.square(rows, dtype=np.float64)
    lengths: Doubles = np.sqrt(project(squares, np.ones((1, squares.shape[1]))))
    return lengths
