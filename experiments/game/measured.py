"""What several claims measure in a play; a claim's ``measure`` is annotated with such a type, and rows are held to it."""

from typing import TypedDict

from kvfloor.experiments.game.protocol import Transcript

__all__ = [
    "Certified",
    "Compressed",
    "Decoded",
    "Estimated",
    "Instanced",
    "certified",
    "decoded",
    "instanced",
]


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


class Estimated(TypedDict):
    """Errors of mean estimates of both sums of attention, and what bounds them, for each query."""

    tau_error: list[float]
    tau_variance: list[float]
    tau_largest: list[float]
    z_error: list[float]
    z_variance: list[float]
    z_largest: list[float]


def decoded(transcript: Transcript) -> Decoded:
    """Return what a play left behind, as it is stored."""
    return {"errors": transcript.errors, "symbols": transcript.symbols, "wire_bits": transcript.wire_bits}


def certified(transcript: Transcript) -> Certified:
    """Return what a play left behind, with what it certifies."""
    return {**decoded(transcript), "certified_bits": transcript.certificate().certified_bits}


def instanced(transcript: Transcript, incoherence: float, query_norm: float) -> Instanced:
    """Return what a play left behind, with what it certifies and what its instance guarantees."""
    return {**certified(transcript), "incoherence": incoherence, "query_norm": query_norm}
