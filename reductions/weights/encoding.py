"""INDEX in a model's weights as an encoding: facts and questions are rows of its embedding table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.checks import Floats, check_outputs
from kvfloor.reductions.encodings.protocol import Rows
from kvfloor.reductions.problems.index import Index
from kvfloor.reductions.problems.strings import Symbols
from kvfloor.reductions.weights.transformer import ONE, TransformerEncoding

__all__ = ["Readout", "WeightsEncoding"]

Readout: TypeAlias = Literal["rows", "tokens"]


@dataclass(frozen=True, slots=True, eq=False)
class WeightsEncoding:
    """A compiled model (`kvfloor.reductions.weights.transformer`) and how its answers are read.

    Parameters
    ----------
    compiled : TransformerEncoding
        The model's matrices, facts and questions.
    readout : str
        "rows": a question asks for all bits of a fact, the answer is the last hidden state. "tokens": it
        asks for one bit, and the answer is the token that the model says next.

    Raises
    ------
    ValueError
        If there is no such readout.
    """

    compiled: TransformerEncoding
    readout: Readout = "rows"

    def __post_init__(self) -> None:
        if self.readout not in get_args(Readout):
            raise ValueError(f"readout is {self.readout!r}, expected one of {', '.join(get_args(Readout))}")

    @property
    def problem(self) -> Index:
        """INDEX on the n R bits of all facts."""
        return self.compiled.problem

    @property
    def tokens(self) -> int:
        """Number n of facts."""
        return self.compiled.tokens

    @property
    def dim(self) -> int:
        """Dimension d of a head."""
        return self.compiled.dim

    @property
    def value_dim(self) -> int:
        """R, the bits that the values of one fact hold in all layers and heads."""
        return self.compiled.bits_per_token

    @property
    def query_norm(self) -> float:
        """The scores' scale beta."""
        return self.compiled.query_norm

    @property
    def guarantee(self) -> Guarantee | None:
        """None: `TransformerEncoding.required_query_norm` proves decoding for keys of known incoherence."""
        return None

    @property
    def public_keys(self) -> Floats | None:
        """The keys, shape (n, d): with them the weights are public."""
        return self.compiled.keys

    def encode(self, x: Symbols) -> Rows:
        """Return Alice's facts for a string of shape (N,)."""
        return Rows(self.compiled.encode(x))

    def reader_token(self) -> Rows:
        """Return Bob's tokens: none, his questions are tokens themselves."""
        return Rows(np.zeros((0, len(self.compiled.stream)), np.float32))

    def queries(self, indices: Symbols) -> Floats:
        """Return the distinct questions, shape (m, H), that answer the positions of shape (k,)."""
        distinct, _ = self._asked(indices)
        ask = self.compiled.row_questions if self.readout == "rows" else self.compiled.bit_questions
        return ask(distinct)

    def decode(self, outputs: Floats, indices: Symbols) -> Symbols:
        """Return the bits, shape (k,), read from hidden states (m, H) or from generated tokens (m, 1)."""
        distinct, place = self._asked(indices)
        rows = self.readout == "rows"
        outputs = check_outputs(outputs, len(distinct), len(self.compiled.stream) if rows else 1)
        if not rows:
            said: Symbols = (outputs[place, 0] == ONE).astype(np.uint8)
            return said
        bits: Symbols = self.compiled.read_rows(outputs)[place, np.asarray(indices) % self.value_dim]
        return bits

    def _asked(self, indices: Symbols) -> tuple[Symbols, Symbols]:
        """Return the distinct facts or bits asked for, and which of them answers each position."""
        indices = self.problem.check_indices(indices)
        distinct, place = np.unique(
            indices // self.value_dim if self.readout == "rows" else indices, return_inverse=True
        )
        return distinct, place
