"""INDEX in the values beside whatever keys there are: a trained model's, say, at its own queries' norms (theory 17)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from kvfloor.reductions.checks import Floats, check_count, check_outputs
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols

__all__ = ["AddressedEncoding", "attention_to", "sharpest_queries"]

STEPS = 20  # of sharpening: what more of them add is below a hundredth of a bit an entry


@dataclass(frozen=True, slots=True, eq=False)
class AddressedEncoding:
    """INDEX on n d_v symbols: token l has any public key, a public query that asks for it, and a row of the string.

    Values are q equally spaced levels from -1 to 1. An output is the public share of the token asked for times
    its level, plus what the others add; it is divided by that share and read as the nearest level. Nothing is
    proved of decoding: how much of it succeeds is what is measured, and the certificate counts (theory 1).

    `sharpest` chooses the queries.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Any rows: public coins.
    addresses : ndarray, shape (n, d)
        The query that asks for each token; scores are inner products.
    value_dim : int
        Value dimension d_v, at least 1.
    alphabet : int
        Levels q, at least 2.

    Raises
    ------
    ValueError
        If a shape or a number is not as described.
    """

    keys: Floats
    addresses: Floats
    value_dim: int
    alphabet: int = 2

    guarantee = None

    def __post_init__(self) -> None:
        check_count("value_dim", self.value_dim)
        check_count("alphabet", self.alphabet, 2)
        if self.keys.ndim != 2 or self.keys.shape != self.addresses.shape:
            shapes = f"{self.keys.shape} and {self.addresses.shape}"
            raise ValueError(f"keys and addresses must be matrices of one shape, got {shapes}")

    @classmethod
    def sharpest(cls, keys: Floats, norms: Floats, value_dim: int, alphabet: int = 2) -> Self:
        """Ask for each token with the query of a given norm that `sharpest_queries` finds.

        Parameters
        ----------
        keys, value_dim, alphabet
            Those of the class.
        norms : ndarray, shape (n,)
            Length of the query that asks for each token, positive.

        Returns
        -------
        AddressedEncoding
            The encoding.

        Raises
        ------
        ValueError
            If an argument is not as described.
        """
        return cls(keys, sharpest_queries(keys, norms), value_dim, alphabet)

    @property
    def problem(self) -> Index:
        """INDEX on n d_v symbols."""
        return Index(self.tokens * self.value_dim, self.alphabet)

    @property
    def tokens(self) -> int:
        """Number n of tokens Alice writes."""
        return len(self.keys)

    @property
    def dim(self) -> int:
        """Key dimension d."""
        return int(self.keys.shape[1])

    @property
    def query_norm(self) -> float:
        """The length of the longest query."""
        return float(np.linalg.norm(self.addresses, axis=1).max())

    @property
    def public_keys(self) -> Floats:
        """The keys, shape (n, d): public coins."""
        return self.keys

    def encode(self, x: Symbols) -> Tokens:
        """Return the keys, and the levels of the symbols as values; see `Encoding.encode`."""
        rows = self.problem.check_string(x).reshape(self.tokens, self.value_dim)
        return Tokens(self.keys, np.linspace(-1.0, 1.0, self.alphabet).astype(self.keys.dtype)[rows])

    def reader_token(self) -> Tokens:
        """Return no token: real keys leave nothing to fill up."""
        return Tokens(self.keys[:0], np.zeros((0, self.value_dim), self.keys.dtype))

    def queries(self, indices: Symbols) -> Floats:
        """Return the query of every token that holds a symbol asked for, ascending; see `Encoding.queries`."""
        return self.addresses[np.unique(self.problem.check_indices(indices) // self.value_dim)]

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the levels nearest to outputs over the share of the token asked for; see `Encoding.decode`."""
        token, channel = np.divmod(self.problem.check_indices(indices), self.value_dim)
        asked, row = np.unique(token, return_inverse=True)
        read = check_outputs(outputs, len(asked), self.value_dim)[row, channel]
        if self.alphabet > 2:  # the sign needs no share
            scores = attention_to(self.addresses[asked], self.keys)
            read = read / scores[np.arange(len(asked)), asked][row]
        places = np.clip(np.rint((read + 1) / 2 * (self.alphabet - 1)), 0, self.alphabet - 1)
        symbols: Symbols = (read > 0 if self.alphabet == 2 else places).astype(self.problem.dtype)
        return symbols


def attention_to(queries: Floats, keys: Floats) -> Floats:
    """Return the shares of attention that queries give to keys.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        Queries.
    keys : ndarray, shape (n, d)
        Keys; scores are inner products.

    Returns
    -------
    ndarray, shape (m, n)
        Rows of sum 1.
    """
    scores: Floats = queries @ keys.T
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def sharpest_queries(keys: Floats, norms: Floats, steps: int = STEPS) -> Floats:
    """Return for each key a query of given norm under which it gets a large share of the attention.

    The logarithm of the share is concave in the query, and its gradient is the key minus the mean of the keys
    by their shares; at the best query of a norm the two are parallel. From the direction of the key minus the
    mean of all, each step goes part of the way to the gradient's direction, half at first and half of that
    wherever it did not help.

    Parameters
    ----------
    keys : ndarray, shape (n, d)
        Keys.
    norms : ndarray, shape (n,)
        Length of each query, positive.
    steps : int
        How often.

    Returns
    -------
    ndarray, shape (n, d)
        Row i asks for key i.

    Raises
    ------
    ValueError
        If the shapes differ or a norm is not positive.
    """
    if norms.shape != keys.shape[:1] or not (norms > 0).all():
        raise ValueError(f"norms must be {len(keys)} positive numbers, got shape {norms.shape}")
    lengths, each = norms[:, None].astype(keys.dtype), np.arange(len(keys))
    best = trial = _directions(keys - keys.mean(axis=0))
    shares, towards = np.full(len(keys), -1.0), np.zeros_like(keys)
    part = np.full((len(keys), 1), 1.0, keys.dtype)
    for _ in range(steps + 1):
        attention = attention_to(trial * lengths, keys)
        better = attention[each, each] > shares
        shares = np.where(better, attention[each, each], shares)
        best = np.where(better[:, None], trial, best)
        towards = np.where(better[:, None], _directions(keys - attention @ keys), towards)
        part = np.where(better[:, None], np.minimum(part, 0.5), part / 2)
        trial = _directions((1 - part) * best + part * towards)
    return np.asarray(best * lengths)


def _directions(rows: Floats) -> Floats:
    """Return rows over their lengths; what is 0 stays 0."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: Floats = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return directions
