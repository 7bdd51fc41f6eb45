"""What every reduction is: a way to write a string into tokens and to answer questions about it by attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.strings import Problem, Questions, Symbols


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

        Raises
        ------
        ValueError
            If `x` is not a string of the problem.
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

        Raises
        ------
        ValueError
            If there is no question, or one is not of the problem.
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

        Raises
        ------
        ValueError
            If a shape or a question does not fit.
        """


class PublicKeys:
    """What an encoding has whose keys are public coins, so that x lives in the values alone: tokens as it has keys."""

    __slots__: tuple[str, ...] = ()
    keys: Keys

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.keys)

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return self.keys.dim

    @property
    def public_keys(self) -> Floats:
        """The keys, shape (n, d): public coins."""
        return self.keys.rows


def zero_tokens(keys: Keys, value_dim: int, count: int = 1) -> Tokens:
    """Return tokens of a reader whose keys and values are 0, of the dimension and type of the keys."""
    zeros = np.zeros((count, keys.dim + value_dim), keys.dtype)
    return Tokens(zeros[:, : keys.dim], zeros[:, keys.dim :])


class Inside:
    """What an encoding has that puts the tokens of another into a longer stream: the other's questions and answers.

    Everything but `encode`, `tokens`, `reader_token` and `public_keys` is that of `inside`, a field of whoever
    inherits this.
    """

    __slots__: tuple[str, ...] = ()
    inside: Encoding

    @property
    def problem(self) -> Problem:
        """The problem of the instance within."""
        return self.inside.problem

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return self.inside.dim

    @property
    def value_dim(self) -> int:
        """Value dimension d_v."""
        return self.inside.value_dim

    @property
    def query_norm(self) -> float:
        """The query norm C."""
        return self.inside.query_norm

    @property
    def guarantee(self) -> Guarantee | None:
        """When decoding from the whole stream is proved."""
        return self.inside.guarantee

    def queries(self, questions: Questions, /) -> Floats:
        """Return the queries of the instance within; see `Encoding.queries`."""
        return self.inside.queries(questions)

    def decode(self, outputs: Floats, questions: Questions, /) -> Symbols:
        """Return the answers read as the instance within reads them; see `Encoding.decode`."""
        return self.inside.decode(outputs, questions)
