"""What several claims measure in a play; a claim's ``measure`` is annotated with such a type, and rows are held to it."""

from typing import TypedDict

__all__ = ["Certified", "Compressed", "Decoded", "Instanced"]


class Decoded(TypedDict):
    """Wrong symbols among all that are hidden, and 8 x the bytes that crossed."""

    errors: int
    symbols: int
    wire_bits: int


class Certified(Decoded):
    """A play with what it certifies."""

    certified_bits: float


class Instanced(Certified):
    """A play with what its instance guarantees: the incoherence of the keys and the norm of the queries."""

    incoherence: float
    query_norm: float


class Compressed(Certified):
    """A play through a compressor inside of a transformer, counted in every way."""

    full_cache_bits: int
    nominal_bits: float | None
    allocated_bits: int
    peak_bits: int | None
    masked_entries: int
    compresses: bool
    drops_only: bool
    chosen_blindly: bool
    kept_entries: int | None
    all_entries: int
