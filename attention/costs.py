"""What decoding one query of tensor attention takes, counted: operations, and numbers read (theory 7)."""

from dataclasses import dataclass

from kvfloor.attention.checks import integer

__all__ = ["DecodeCost", "four_cache_cost", "kronecker_cost", "two_cache_cost"]

NUMBER_BYTES = 4


@dataclass(frozen=True, slots=True)
class DecodeCost:
    """What one query takes over n^2 pairs.

    Parameters
    ----------
    operations : int
        Multiplications and additions.
    exponentials : int
        Exponentials: one a pair, in every form.
    bytes_read : int
        Bytes of stored float32 keys and values that are read.
    bytes_written : int
        Bytes of products that are formed and written before they are read again.
    """

    operations: int
    exponentials: int
    bytes_read: int
    bytes_written: int


def four_cache_cost(tokens: int, dim: int, value_dim: int) -> DecodeCost:
    """Return the cost of two matrix products over four caches.

    K1 diag(q) takes n d multiplications, its product with K2^T and that of the weights with V2 2 n^2 d and
    2 n^2 d_v operations, the product with V1 and the sum over the first side 2 n d_v, the weights' sum n^2.

    Parameters
    ----------
    tokens, dim, value_dim : int
        n, d and d_v, at least 1.

    Returns
    -------
    DecodeCost
        With 2 n (d + d_v) numbers read.
    """
    n, d, d_v = _checked(tokens, dim, value_dim)
    operations = n * d + 2 * n * n * (d + d_v) + 2 * n * d_v + n * n
    return DecodeCost(operations, n * n, NUMBER_BYTES * 2 * n * (d + d_v), 0)


def two_cache_cost(tokens: int, dim: int, value_dim: int) -> DecodeCost:
    """Return the cost of ordinary attention over n^2 stored rows.

    Parameters
    ----------
    tokens, dim, value_dim : int
        n, d and d_v, at least 1.

    Returns
    -------
    DecodeCost
        With n^2 (d + d_v) numbers read.
    """
    n, d, d_v = _checked(tokens, dim, value_dim)
    operations = 2 * n * n * (d + d_v) + n * n
    return DecodeCost(operations, n * n, NUMBER_BYTES * n * n * (d + d_v), 0)


def kronecker_cost(tokens: int, dim: int, value_dim: int) -> DecodeCost:
    """Return the cost of forming the n^2 rows from four caches, and then attending to them.

    Parameters
    ----------
    tokens, dim, value_dim : int
        n, d and d_v, at least 1.

    Returns
    -------
    DecodeCost
        That of two caches, n^2 (d + d_v) multiplications more, and the rows written once.
    """
    n, d, d_v = _checked(tokens, dim, value_dim)
    rows = two_cache_cost(n, d, d_v)
    formed = n * n * (d + d_v)
    read = rows.bytes_read + four_cache_cost(n, d, d_v).bytes_read
    return DecodeCost(rows.operations + formed, rows.exponentials, read, NUMBER_BYTES * formed)


def _checked(tokens: int, dim: int, value_dim: int) -> tuple[int, int, int]:
    """Return the sizes if they are positive integers."""
    n = integer("tokens", tokens, 1, 1 << 30)
    return n, integer("dim", dim, 1, 1 << 30), integer("value_dim", value_dim, 1, 1 << 30)
