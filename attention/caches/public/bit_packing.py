"""Exact bit packing: the least cache for values of a finite alphabet under public keys."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows, whole
from kvfloor.attention.caches.public.public_keys import PublicKeyCache
from kvfloor.attention.caches.wire import Codes, Field, Floats, WireError
from kvfloor.attention.checks import Matrix

__all__ = ["BitPack"]

_LARGEST_ALPHABET = 1 << 16


class BitPack(PublicKeyCache):
    """Values of a finite alphabet in ceil(log2 q) bits each, with public keys; optionally of some tokens.

    The alphabet is the set of the q distinct values that occur, sent along in float64; one bit is spent
    where it has a single value. With `kept_tokens` only the first so many public tokens keep their values,
    and the others are answered with the middle of the alphabet's range: time sharing, the baseline that
    codes must beat (theory 1).
    """

    name: ClassVar[str] = "bitpack"
    source: ClassVar[str] = "ours"
    count_names: ClassVar[tuple[str, ...]] = ("tokens", "other_tokens", "alphabet")

    kept_tokens: int | None = whole("public tokens that keep their values; all if None", 1, default=None)

    def _begin(self) -> None:
        super()._begin()
        self._alphabet: NDArray[np.float64] = np.empty(0)
        self._codes = Rows(self.value_dim, np.uint16)
        self._dropped = 0

    def _append_values(self, values: Matrix) -> None:
        kept = (
            values[: self._room(len(self._codes) + len(values)) - len(self._codes)] + 0.0
        )  # -0.0 becomes 0.0
        codes = _codes(self._alphabet, kept)
        if codes is None:
            alphabet = np.union1d(self._alphabet, kept)
            if len(alphabet) > _LARGEST_ALPHABET:
                raise ValueError(
                    f"{self.name} met {len(alphabet)} distinct values, expected at most {_LARGEST_ALPHABET}"
                )
            renamed = np.searchsorted(alphabet, self._alphabet).astype(np.uint16)
            self._codes.replace(renamed[self._codes.array])
            self._alphabet = alphabet
            codes = np.searchsorted(alphabet, kept)
        self._codes.extend(codes)
        self._dropped += len(values) - len(kept)

    def _values(self) -> Matrix:
        with np.errstate(over="ignore"):  # what does not fit float32 is not equal below
            narrow = self._alphabet.astype(np.float32)
        alphabet = narrow if np.array_equal(narrow, self._alphabet) else self._alphabet
        kept: Matrix = alphabet[self._codes.array]
        if not self._dropped:
            return kept
        middle = (alphabet[0] + alphabet[-1]) / 2
        return np.concatenate([kept, np.full((self._dropped, self.value_dim), middle, alphabet.dtype)])

    def _value_arrays(self) -> tuple[NDArray[Any], ...]:
        return self._alphabet, self._codes.array

    def _value_counts(self) -> tuple[int, ...]:
        return (len(self._alphabet),)

    def _value_layout(self, public_tokens: int, *counts: int) -> tuple[Field, ...]:
        alphabet, kept = counts[0], self._room(public_tokens)
        if not (alphabet > 0) == (kept > 0) or alphabet > min(_LARGEST_ALPHABET, kept * self.value_dim):
            raise WireError(f"an alphabet of {alphabet} values cannot come from {kept} tokens")
        return (
            Floats("alphabet", (alphabet,), "float64"),
            Codes("codes of values", (kept, self.value_dim), max(alphabet, 2)),
        )

    def _restore_values(
        self, public_tokens: int, counts: tuple[int, ...], arrays: list[NDArray[Any]]
    ) -> None:
        self._alphabet, codes = arrays
        if (np.diff(self._alphabet) <= 0).any() or np.signbit(self._alphabet[self._alphabet == 0]).any():
            raise WireError("the alphabet is not in order")
        if not np.array_equal(np.flatnonzero(np.bincount(codes.reshape(-1))), np.arange(counts[0])):
            raise WireError("the values that occur are not those of the alphabet")
        self._codes.replace(codes.astype(np.uint16))
        self._dropped = public_tokens - len(codes)

    def _room(self, tokens: int) -> int:
        """Return how many of so many public tokens keep their values."""
        return tokens if self.kept_tokens is None else min(tokens, self.kept_tokens)


def _codes(alphabet: NDArray[np.float64], values: Matrix) -> NDArray[np.intp] | None:
    """Return the places of values in a sorted alphabet, or None if one is not in it."""
    if not len(alphabet):
        return None if values.size else np.empty(values.shape, np.intp)
    codes = np.minimum(np.searchsorted(alphabet, values), len(alphabet) - 1)
    return codes if np.array_equal(alphabet[codes], values) else None
