"""Lossy covering codes on the bits of values: below one bit per bit, beside the Shannon frontier (theory 1).

The three codes are perfect and cyclic: the balls of radius t round their codewords tile all blocks, and a
codeword is a multiple of the generator polynomial. So a block has one nearest codeword, told by its
remainder.
"""

import itertools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Rows
from kvfloor.attention.caches.public.public_keys import PublicKeyCache
from kvfloor.attention.caches.wire import Codes, Field
from kvfloor.attention.checks import Matrix

__all__ = ["CoveringCode", "Golay", "Hamming", "PerfectCode", "Repetition"]


def _remainder(polynomial: int, generator: int) -> int:
    """Return the remainder of a polynomial over GF(2)."""
    while (excess := polynomial.bit_length() - generator.bit_length()) >= 0:
        polynomial ^= generator << excess
    return polynomial


class PerfectCode:
    """A perfect cyclic binary code, with tables that find the nearest codeword.

    Parameters
    ----------
    length : int
        Bits in a block, at most 31.
    generator : int
        The generator polynomial, bit i for x^i.
    radius : int
        How many errors it corrects.
    """

    def __init__(self, length: int, generator: int, radius: int) -> None:
        self.length = length
        self.parity_bits = generator.bit_length() - 1
        self.message_bits = length - self.parity_bits
        # The codeword of a message is m(x) x^r + (m(x) x^r mod g): its upper bits are the message itself.
        remainders = [_remainder(1 << place, generator) for place in range(length)]
        self._parity = np.zeros(1 << self.message_bits, np.uint32)
        messages = np.arange(1 << self.message_bits, dtype=np.uint32)
        for place in range(self.message_bits):
            self._parity ^= (messages >> place & 1) * np.uint32(remainders[self.parity_bits + place])
        # Every remainder belongs to exactly one pattern of at most `radius` errors, since the code is
        # perfect.
        self._errors = np.zeros(1 << self.parity_bits, np.uint32)
        for weight in range(1, radius + 1):
            for places in itertools.combinations(range(length), weight):
                syndrome = 0
                for place in places:
                    syndrome ^= remainders[place]
                self._errors[syndrome] = sum(1 << place for place in places)

    def nearest(self, blocks: NDArray[Any]) -> NDArray[Any]:
        """Return the messages of the codewords nearest to blocks.

        Parameters
        ----------
        blocks : ndarray of uint32
            Blocks of `length` bits, the first bit the most significant.

        Returns
        -------
        ndarray of uint32
            Messages of `message_bits` bits.
        """
        syndromes = self._parity[blocks >> self.parity_bits] ^ (blocks & ((1 << self.parity_bits) - 1))
        messages: NDArray[Any] = (blocks ^ self._errors[syndromes]) >> self.parity_bits
        return messages

    def codewords(self, messages: NDArray[Any]) -> NDArray[Any]:
        """Return the codewords of messages.

        Parameters
        ----------
        messages : ndarray of uint32
            Messages of `message_bits` bits.

        Returns
        -------
        ndarray of uint32
            Blocks of `length` bits.
        """
        blocks: NDArray[Any] = messages << self.parity_bits | self._parity[messages]
        return blocks


class CoveringCode(PublicKeyCache):
    """A cache of binary values that keeps, of every block of bits, only the message of the nearest codeword.

    The bits of the values of public tokens form one stream, token after token, and are cut into blocks of
    the code's length. An incomplete last block is kept as it is.
    """

    code: ClassVar[PerfectCode]

    def _begin(self) -> None:
        super()._begin()
        self._messages = Rows(1, np.uint32)
        self._rest: NDArray[np.uint8] = np.empty(0, np.uint8)

    def _append_values(self, values: Matrix) -> None:
        bits = values.astype(np.bool_)
        if not np.array_equal(bits, values):
            raise ValueError(
                f"{self.name} met the value {values[bits != values][0]:g}, expected only 0 and 1"
            )
        stream = np.concatenate([self._rest, bits.reshape(-1).view(np.uint8)])
        complete, rest = np.split(stream, [len(stream) // self.code.length * self.code.length])
        blocks = np.zeros(len(complete) // self.code.length, np.uint32)
        for bit in complete.reshape(-1, self.code.length).T:
            blocks <<= 1
            blocks |= bit
        self._messages.extend(self.code.nearest(blocks)[:, None])
        self._rest = rest.copy()

    def _values(self) -> Matrix:
        codewords = self.code.codewords(self._messages.array)
        bits = codewords >> np.arange(self.code.length - 1, -1, -1, dtype=np.uint32) & 1
        return np.concatenate([bits.reshape(-1), self._rest]).reshape(-1, self.value_dim).astype(np.float32)

    def _value_arrays(self) -> tuple[NDArray[Any], ...]:
        return self._messages.array, self._rest

    def _value_layout(self, public_tokens: int, *counts: int) -> tuple[Field, ...]:
        blocks, rest = divmod(public_tokens * self.value_dim, self.code.length)
        return (
            Codes("messages", (blocks, 1), 1 << self.code.message_bits),
            Codes("bits of the last block", (rest,), 2),
        )

    def _restore_values(
        self, public_tokens: int, counts: tuple[int, ...], arrays: list[NDArray[Any]]
    ) -> None:
        self._messages.replace(arrays[0].astype(np.uint32))
        self._rest = arrays[1]


class Repetition(CoveringCode):
    """Binary values through the repetition code [3,1]: 1/3 bit per bit, a quarter of them wrong."""

    name: ClassVar[str] = "repetition"
    source: ClassVar[str] = "repetition code as a covering code"
    code: ClassVar[PerfectCode] = PerfectCode(3, 0b111, 1)


class Hamming(CoveringCode):
    """Binary values through the Hamming code [7,4]: 4/7 bit per bit, an eighth of them wrong."""

    name: ClassVar[str] = "hamming"
    source: ClassVar[str] = "R. W. Hamming, 1950 (as a covering code)"
    code: ClassVar[PerfectCode] = PerfectCode(7, 0b1011, 1)


class Golay(CoveringCode):
    """Binary values through the Golay code [23,12]: 12/23 bit per bit, 12.4 % of them wrong."""

    name: ClassVar[str] = "golay"
    source: ClassVar[str] = "M. J. E. Golay, 1949 (as a covering code)"
    code: ClassVar[PerfectCode] = PerfectCode(23, 0b1100_0111_0101, 3)
