"""What every reduction is: a way to write a string into tokens and to answer questions about it by attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.reductions.problems.strings import Problem, Questions, Symbols

Floats: TypeAlias = NDArray[np.floating[Any]]


class Stream:
    """Consecutive tokens as equally long arrays, in the order in which a cache is given them.

    Fields alternate between keys (n, d) and values (n, d_v), or there is one of whole tokens.

    Raises
    ------
    ValueError
        If an array is no matrix, or their numbers of rows, or of columns of keys or of values, differ.
    """

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arrays = self.arrays
        if any(array.ndim != 2 for array in arrays) or len({len(array) for array in arrays}) > 1:
            shapes = " and ".join(str(array.shape) for array in arrays)
            names = " and ".join(self.named)
            raise ValueError(f"{names} must be matrices with one row per token, got shapes {shapes}")
        if any(a.shape[1] != b.shape[1] for a, b in zip(arrays, arrays[2:], strict=False)):
            shapes = " and ".join(str(array.shape) for array in arrays)
            raise ValueError(f"both sides of a stream must have the same columns, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    @property
    def named(self) -> dict[str, Floats]:
        """The arrays by their names, in order."""
        return {name: getattr(self, name) for name in type(self).__slots__}

    @property
    def arrays(self) -> tuple[Floats, ...]:
        """The arrays, in order."""
        return tuple(self.named.values())

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return int(self.arrays[0].shape[1])

    @property
    def value_dim(self) -> int:
        """Value dimension d_v."""
        return int(self.arrays[1].shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Tokens(Stream):
    """Keys and values of consecutive tokens.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        One key per token.
    values : ndarray, shape (n, d_v)
        One value per token.
    """

    keys: Floats
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class TensorTokens(Stream):
    """Keys and values of consecutive tokens on both sides of tensor attention (theory 7).

    Parameters
    ----------
    keys1, keys2 : ndarray, shape (n, d)
        One key per token and side.
    values1, values2 : ndarray, shape (n, d_v)
        One value per token and side.
    """

    keys1: Floats
    values1: Floats
    keys2: Floats
    values2: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Rows(Stream):
    """Tokens of which only their embeddings are known: rows of a model's embedding table (theory 12).

    Parameters
    ----------
    rows : ndarray, shape (n, H)
        One row per token.
    """

    rows: Floats

    @property
    def value_dim(self) -> int:
        """The number H of columns: keys and values are both made of them."""
        return self.dim


def stream_of(named: Mapping[str, Floats]) -> Stream:
    """Return the stream whose arrays have these names.

    Parameters
    ----------
    named : mapping of str to ndarray
        What `Stream.named` returned.

    Returns
    -------
    Stream
        The stream.

    Raises
    ------
    ValueError
        If no stream has arrays of these names.
    """
    for kind in (Tokens, TensorTokens, Rows):
        if set(kind.__slots__) == set(named):
            return kind(**named)
    raise ValueError(f"no stream consists of {', '.join(named)}")


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
    """A reduction from a communication problem to attention over a cache.

    `decode` is monotone in every output entry, and each answer depends on the outputs of its own question. An
    encoding is therefore right on every (1 +- eta)-approximation exactly when it is right on (1 - eta) O and on
    (1 + eta) O, O the exact outputs.
    """

    @property
    def problem(self) -> Problem:
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
        """The n keys, shape (n, d), when they are public coins and x lives in the values; else None.

        The keys of two sides stand side by side, shape (n, 2 d).
        """

    def encode(self, x: Symbols) -> Stream:
        """Return Alice's n tokens.

        Parameters
        ----------
        x : ndarray of int, shape (N,)
            Alice's string.

        Returns
        -------
        Stream
            n tokens, in the order of the stream.
        """

    def reader_token(self) -> Stream:
        """Return Bob's token, which does not depend on x, or his tokens where they come many at a time.

        Returns
        -------
        Stream
            His tokens; there may be none.
        """

    def queries(self, questions: Questions, /) -> Floats:
        """Return the distinct queries that answer these questions.

        Parameters
        ----------
        questions : ndarray
            k questions of the problem, in any order: for INDEX positions in 0..N-1.

        Returns
        -------
        ndarray, shape (m, d)
            Pairwise different queries, m <= k.
        """

    def decode(self, outputs: Floats, questions: Questions, /) -> Symbols:
        """Return the answers read from the outputs of `queries(questions)`.

        Parameters
        ----------
        outputs : ndarray, shape (m, d_v)
            One row for each query, in their order.
        questions : ndarray
            The questions asked.

        Returns
        -------
        ndarray of int, shape (k,)
            Answers, in the order of `questions`.
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
