"""What an audit found: one record, whatever held the cache."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from kvfloor.experiments.audits.verdict import MEANINGS, Verdict

__all__ = ["Audit"]

HOST_GIVEN = ("feed", "readout", "nominal_bits", "allocated_bits", "peak_bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Where a cache stands between the floor and the full cache.

    Parameters
    ----------
    cache : str
        The cache as it was named.
    model : str
        Input model: "attention", "tensor4", "tensor2" or "visual"; or the transformer that holds the cache.
    feed, readout : str or None
        How a transformer was fed and read, see `kvfloor.experiments.game.hosts.transformers.TransformerCache`.
    tokens, dim, value_dim, alphabet : int
        n, d, d_v and q of the instance; for a transformer d_v counts the bits of a token in all heads.
    sides : str
        Where the instance hides its symbols: "values", "keys" or "both".
    seed : int
        Root seed; the same seed repeats the audit.
    asked : int
        Symbols asked: all of them, or a uniform sample drawn after the message was fixed.
    capacity_bits : float
        N log2 q, what the instance holds.
    full_cache_bits : int
        Keys and values of the stream as they are: in the transformer's number format, else in float16.
    nominal_bits : float or None
        What the method says that it keeps.
    allocated_bits, peak_bits : int or None
        What the cache occupies in the end, and the most while the stream was written.
    wire_bits : int
        8 x the bytes that crossed from Alice's process to Bob's.
    reader : str
        Who read best, of `kvfloor.experiments.game.reading.READERS`.
    readers : tuple of str
        Who was to read; the certificate pays log2 of their number.
    errors : int
        Wrong symbols among those asked, of the best reader.
    accuracy : float
        1 - errors / asked.
    certified_bits : int
        The cache carries more than this, wrong with probability at most 2^significance_log2; rounded down.
    significance_log2 : float
        log2 of the certificate's error probability.
    frontier_bits : int
        N R(1 - accuracy), rounded down: the fewest bits that any cache needs for this accuracy (Shannon).
    verdict : str
        See `kvfloor.experiments.audits.verdict.verdict`.
    seconds : float
        Wall time.
    """

    cache: str
    model: str
    feed: str | None = None
    readout: str | None = None
    tokens: int
    dim: int
    value_dim: int
    alphabet: int
    sides: str
    seed: int
    asked: int
    capacity_bits: float
    full_cache_bits: int
    nominal_bits: float | None = None
    allocated_bits: int | None = None
    peak_bits: int | None = None
    wire_bits: int
    reader: str
    readers: tuple[str, ...]
    errors: int
    accuracy: float
    certified_bits: int
    significance_log2: float
    frontier_bits: int
    verdict: Verdict
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, without those that only other hosts give."""
        lacking = HOST_GIVEN if self.allocated_bits is None else ()
        return {name: value for name, value in asdict(self).items() if name not in lacking}

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield the lines of the table: name, number, meaning."""
        shape = f"n = {self.tokens:,}, d = {self.dim}, d_v = {self.value_dim}"
        where = f"{_MODELS.get(self.model, '')}{shape}, in the {_SIDES[self.sides]}"
        others = ", ".join(name for name in self.readers if name != self.reader)
        full = "float16 cache", "keys and values as they are"
        yield "hidden", f"{self.capacity_bits:,.0f} bits", where
        if self.allocated_bits is not None:
            full = "full cache", f"{full[1]} ({self.model})"
            said = "nothing" if self.nominal_bits is None else f"{self.nominal_bits:,.0f} bits"
            yield "nominal", said, "what the method says that it keeps"
            yield "allocated", f"{self.allocated_bits:,} bits", "what the tensors of the cache occupy"
        if self.peak_bits is not None:
            yield (
                "peak",
                f"{self.peak_bits:,} bits",
                "the most that they occupied while the stream was written",
            )
        per_bit = f"{self.wire_bits / self.capacity_bits:.3f} for each hidden bit"
        yield "on the wire", f"{self.wire_bits:,} bits", per_bit
        yield "decoded", f"{self.accuracy:.2%}", f"{self.errors:,} errors in {self.asked:,} symbols asked"
        yield (
            "reader",
            self.reader,
            f"read no worse than {others}" if others else "the only one that was asked",
        )
        certainty = f"wrong with probability at most 2^{self.significance_log2:g}"
        yield "certified", f"{self.certified_bits:,} bits", certainty
        yield "frontier", f"{self.frontier_bits:,} bits", "no cache of this accuracy can take less"
        yield full[0], f"{self.full_cache_bits:,} bits", full[1]
        yield "seed", str(self.seed), "repeats this audit"
        yield "verdict", self.verdict, MEANINGS[self.verdict]

    def __str__(self) -> str:
        rows = list(self.rows())
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{name:{widths[0]}}   {number:{widths[1]}}   {meaning}" for name, number, meaning in rows]
        return "\n".join([f"audit of {self.cache}", *lines])


_MODELS = {
    "tensor4": "on either of two sides: ",
    "tensor2": "n^2 opaque rows: ",
    "visual": "in all maps but the last, at most n tokens: ",
}
_SIDES = {"values": "values", "keys": "keys", "both": "keys and values"}
