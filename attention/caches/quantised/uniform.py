"""Uniform quantisation of keys and values in groups, as KIVI does it."""

from typing import Any, ClassVar

from numpy.typing import NDArray

from kvfloor.attention.caches.base import parameter, whole, word
from kvfloor.attention.caches.public.public_keys import PublicKeyCache
from kvfloor.attention.caches.quantised.frame import CodedMatrix, Groups, Halves, QuantisedCache
from kvfloor.attention.caches.wire import Field
from kvfloor.attention.checks import Matrix, integer

__all__ = ["Uniform", "UniformValues"]

_AXES = ("channel", "token")
_LARGEST_GROUP = 1 << 20
_UNQUANTISED = 16


def _bits(name: str, value: object) -> int:
    """Return a number of bits that a number may have."""
    if value == _UNQUANTISED:
        return _UNQUANTISED
    try:
        return integer(name, value, 1, 8)
    except ValueError as error:
        raise ValueError(f"{error}, or {_UNQUANTISED} for float16") from None


class Uniform(QuantisedCache):
    """Asymmetric b-bit quantisation: keys per channel and values per token, in groups (KIVI).

    References
    ----------
    Z. Liu et al. KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache. ICML 2024, arXiv:2402.02750.
    """

    name: ClassVar[str] = "uniform"
    source: ClassVar[str] = "arXiv:2402.02750 (KIVI)"

    bits: int = parameter("bits per code, 1 to 8, or 16: no codes, every number in float16", _bits, default=2)
    key_bits: int | None = parameter("bits for keys alone, in the place of `bits`", _bits, default=None)
    value_bits: int | None = parameter("bits for values alone", _bits, default=None)
    group_size: int = whole("numbers in a group", 1, _LARGEST_GROUP, default=32)
    key_axis: str = word("along what keys are grouped, see `Groups`", _AXES, default="channel")
    value_axis: str = word("along what values are grouped", _AXES, default="token")

    def _begin(self) -> None:
        self._keys = self._coded("keys", self.dim, self.key_bits or self.bits, self.key_axis)
        self._values = self._coded("values", self.value_dim, self.value_bits or self.bits, self.value_axis)

    def _coded(self, name: str, columns: int, bits: int, axis: str) -> CodedMatrix:
        """Return the keys or the values: quantised, or as they are."""
        return (
            Halves(name, columns)
            if bits == _UNQUANTISED
            else Groups(name, columns, bits, self.group_size, axis)
        )


class UniformValues(PublicKeyCache):
    """Asymmetric b-bit quantisation of the values alone, per token, with public keys.

    What `Uniform` does to values, where keys cost nothing: the price of precision by itself (theory 3).
    """

    name: ClassVar[str] = "uniform-values"
    source: ClassVar[str] = "arXiv:2402.02750 (KIVI), values alone"

    bits: int = whole("bits per code", 1, 8, default=2)
    group_size: int = whole("channels in a group", 1, _LARGEST_GROUP, default=32)

    def _begin(self) -> None:
        super()._begin()
        self._groups = Groups("values", self.value_dim, self.bits, self.group_size, "token")

    def _append_values(self, values: Matrix) -> None:
        self._groups.extend(*self._groups.quantise(values))

    def _values(self) -> Matrix:
        return self._groups.matrix()

    def _value_arrays(self) -> tuple[NDArray[Any], ...]:
        return self._groups.arrays()

    def _value_layout(self, public_tokens: int, *counts: int) -> tuple[Field, ...]:
        return self._groups.layout(public_tokens)

    def _restore_values(
        self, public_tokens: int, counts: tuple[int, ...], arrays: list[NDArray[Any]]
    ) -> None:
        self._groups.extend(*arrays)
