"""What decoding one query of tensor attention takes, counted: operations, and numbers read (theory 7)."""

from dataclasses import dataclass

from kvfloor.attention.checks import integer

__all__ = ["NUMBER_BYTES", "DecodeCost", "Sizes"]

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


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of tensor attention, and what a query costs in each form.

    Parameters
    ----------
    tokens, dim, value_dim : int
        n tokens a side, dimensions d of keys and d_v of values, each at least 1.

    Raises
    ------
    ValueError
        If one of them is no such number.
    """

    tokens: int
    dim: int
    value_dim: int

    def __post_init__(self) -> None:
        for name in ("tokens", "dim", "value_dim"):
            integer(name, getattr(self, name), 1, 1 << 30)

    def four_caches(self) -> DecodeCost:
        """Return the cost of two matrix products over four caches, 2 n (d + d_v) numbers.

        K1 diag(q) takes n d multiplications, its product with K2^T and that of the weights with V2 2 n^2 d and
        2 n^2 d_v operations, the product with V1 and the sum over the first side 2 n d_v, the weights' sum n^2.
        """
        n, d, d_v = self.tokens, self.dim, self.value_dim
        operations = n * d + 2 * n * n * (d + d_v) + 2 * n * d_v + n * n
        return DecodeCost(operations, n * n, NUMBER_BYTES * 2 * n * (d + d_v), 0)

    def two_caches(self) -> DecodeCost:
        """Return the cost of ordinary attention over n^2 stored rows of d + d_v numbers."""
        pairs, columns = self.tokens**2, self.dim + self.value_dim
        return DecodeCost(2 * pairs * columns + pairs, pairs, NUMBER_BYTES * pairs * columns, 0)

    def rows_formed(self) -> DecodeCost:
        """Return the cost of forming these rows from four caches, written once, and then attending to them."""
        rows, formed = self.two_caches(), self.tokens**2 * (self.dim + self.value_dim)
        read = rows.bytes_read + self.four_caches().bytes_read
        return DecodeCost(rows.operations + formed, rows.exponentials, read, NUMBER_BYTES * formed)
