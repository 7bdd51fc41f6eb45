"""What every reduction is: a way to write a string into tokens and to read its symbols by attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reductions.problems import Index, Symbols

Floats: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Keys and values of consecutive tokens.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        One key per token.
    values : ndarray, shape (n, d_v)
        One value per token.

    Raises
    ------
    ValueError
        If the two arrays are not matrices with the same number of rows.
    """

    keys: Floats
    values: Floats

    def __post_init__(self) -> None:
        if self.keys.ndim != 2 or self.values.ndim != 2 or len(self.keys) != len(self.values):
            raise ValueError(
                "keys and values must be matrices with one row per token, "
                f"got shapes {self.keys.shape} and {self.values.shape}"
            )

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Guarantee:
    """When decoding is proved to be free of error (theory 3).

    If the keys have the stated incoherence and the query norm is at least `query_norm`, every entrywise
    (1 +- eta)-approximation of the attention output decodes to the right symbol.

    Parameters
    ----------
    query_norm : float
        A query norm C that suffices, dimensionless.
    incoherence : float
        eps in [0, 1): no two keys have a larger inner product.
    eta : float
        Relative accuracy in [0, 1).
    failure_probability : float
        Probability, over the draw of the keys, that their incoherence is larger; 0 when it was measured.
    """

    query_norm: float
    incoherence: float
    eta: float
    failure_probability: float = 0.0


class Encoding(Protocol):
    """A reduction from INDEX to attention over a cache.

    `decode` is non-decreasing in every output entry. An encoding is therefore right on every
    (1 +- eta)-approximation exactly when it is right on (1 - eta) O and on (1 + eta) O, O the exact outputs.
    """

    @property
    def problem(self) -> Index:
        """The communication problem: N symbols over an alphabet of q."""

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""

    @property
    def dim(self) -> int:
        """Key dimension d."""

    @property
    def value_dim(self) -> int:
        """Value dimension d_v."""

    @property
    def query_norm(self) -> float:
        """The length C that a query gives to the address of the token it asks for."""

    @property
    def guarantee(self) -> Guarantee | None:
        """When decoding is proved, or None where nothing is."""

    @property
    def public_keys(self) -> Floats | None:
        """The n keys, shape (n, d), when they are public coins and x lives in the values; else None."""

    def encode(self, x: Symbols) -> Tokens:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (N,)
            Alice's string.

        Returns
        -------
        Tokens
            n tokens, in the order of the stream.
        """

    def reader_token(self) -> Tokens:
        """Return Bob's token, which does not depend on x.

        Returns
        -------
        Tokens
            At most one token.
        """

    def queries(self, indices: Symbols) -> Floats:
        """Return the distinct queries that answer these positions.

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
            Positions in 0..N-1, any subset in any order.

        Returns
        -------
        ndarray, shape (m, d)
            Pairwise different queries, m <= k.
        """

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the symbols read from the outputs of `queries(indices)`.

        Parameters
        ----------
        outputs : ndarray, shape (m, d_v)
            One row for each query, in their order.
        indices : ndarray of int, shape (k,)
            The positions asked for.

        Returns
        -------
        ndarray of int, shape (k,)
            Symbols in 0..q-1, in the order of `indices`.
        """


def check_outputs(outputs: Floats, queries: int, value_dim: int) -> Floats:
    """Return `outputs` if they answer that many queries, else raise ValueError.

    Parameters
    ----------
    outputs : ndarray
        Candidate outputs.
    queries : int
        Number m of queries that were asked.
    value_dim : int
        Value dimension d_v.

    Returns
    -------
    ndarray, shape (m, d_v)
        The same array.

    Raises
    ------
    ValueError
        If the shape differs.
    """
    outputs = np.asarray(outputs)
    if outputs.shape != (queries, value_dim):
        raise ValueError(f"outputs must have shape {(queries, value_dim)}, got {outputs.shape}")
    return outputs


def check_eta(eta: float) -> float:
    """Return `eta` if it is a relative accuracy, else raise ValueError.

    Parameters
    ----------
    eta : float
        Candidate accuracy.

    Returns
    -------
    float
        The same number.

    Raises
    ------
    ValueError
        If `eta` is not in [0, 1).
    """
    if not 0 <= eta < 1:
        raise ValueError(f"eta must be in [0, 1), got {eta}")
    return eta
