"""What attention reads: queries, keys and values whose shapes agree."""

from dataclasses import dataclass

import numpy as np

from kvfloor.attention.checks import Matrix, matrix, token_block

__all__ = ["Inputs", "demand_causal"]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Queries, keys and values, in their common type.

    Parameters
    ----------
    queries : array_like, shape (m, d)
        Queries; where attention is causal one for each token, and query i sees tokens 0..i.
    keys : array_like, shape (n, d)
        Keys of n >= 1 tokens, in the stream's order.
    values : array_like, shape (n, d_v)
        Their values.

    Raises
    ------
    ValueError
        If shapes disagree or an entry is not finite.
    """

    queries: Matrix
    keys: Matrix
    values: Matrix

    def __post_init__(self) -> None:
        keys, values = token_block(self.keys, self.values, None, None)
        queries = matrix("queries", self.queries, keys.shape[1])
        dtype = np.result_type(queries, keys, values)
        for name, array in (("queries", queries), ("keys", keys), ("values", values)):
            object.__setattr__(self, name, array.astype(dtype, copy=False))

    def matching(self, name: str, array: object, columns: int | None = None) -> Matrix:
        """Return an argument as a matrix with a row for each query, and so many columns if a number is given.

        Parameters
        ----------
        name : str
            What it is called, for the error message.
        array : array_like, shape (m, columns)
            The argument.
        columns : int, optional
            The number of columns that is expected.

        Returns
        -------
        ndarray, shape (m, columns)
            The argument.

        Raises
        ------
        ValueError
            If it is no such matrix.
        """
        rows, count = np.shape(np.asarray(array))[:1], len(self.queries)
        if rows != (count,):
            raise ValueError(f"{name} have {rows[0] if rows else 0} rows, expected one for each of {count}")
        return matrix(name, array, columns)

    def with_upstream(self, upstream: object) -> tuple["Inputs", Matrix]:
        """Return these and the gradient of a loss with respect to the outputs (m, d_v), in their common type."""
        g = self.matching("upstream", upstream, self.values.shape[1])
        dtype = np.result_type(self.queries, g)
        if dtype == self.queries.dtype:
            return self, g.astype(dtype, copy=False)
        return Inputs(*(array.astype(dtype) for array in (self.queries, self.keys, self.values))), g


def demand_causal(queries: Matrix, keys: Matrix) -> None:
    """Raise ValueError unless there is one query for each token."""
    if len(queries) != len(keys):
        raise ValueError(
            f"causal attention takes one query for each token, got {len(queries)} queries and {len(keys)} keys"
        )
