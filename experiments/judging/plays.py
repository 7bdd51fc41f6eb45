"""What rows of plays have in common: their transcripts, and the checks that many claims make of them.

A row of a play measures ``errors``, ``symbols``, ``wire_bits`` and mostly ``certified_bits``.
"""

from collections.abc import Sequence
from typing import Any

from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.protocol import Transcript
from kvfloor.experiments.judging.claim import Check

__all__ = ["CERTIFICATE_BITS", "HEADER_BITS", "accuracy", "carries", "certifies", "decodes", "transcript"]

CERTIFICATE_BITS = 40 + 64 + 1e-3
"""What Theorem A takes off: significance, length prefix, and the rounding of N log2 q (theory 1)."""

HEADER_BITS = 8 * 256
"""What a payload may take beyond its arrays."""


def transcript(row: dict[str, Any], alphabet: int = 2) -> Transcript:
    """Return what was measured of a play that asked every symbol, as the transcript it came from."""
    return Transcript(row["wire_bits"], row["errors"], row["symbols"], row["symbols"], alphabet)


def accuracy(record: Record) -> float:
    """Return the share of symbols decoded rightly."""
    return float(1 - record.measured["errors"] / record.measured["symbols"])


def decodes(name: str, records: Sequence[Record], plays: str = "plays") -> Check:
    """Check that no play has an error; `plays` is what their number is called in the evidence."""
    errors, bits = (sum(r.measured[key] for r in records) for key in ("errors", "symbols"))
    return Check(name, errors == 0, {plays: len(records), "bits": bits, "errors": errors})


def carries(name: str, records: Sequence[Record]) -> Check:
    """Check that every wire carries more than was certified."""
    share = max(r.measured["certified_bits"] / r.measured["wire_bits"] for r in records)
    return Check(name, share < 1, {"largest_certified_share_of_wire": share})


def certifies(name: str, records: Sequence[Record]) -> Check:
    """Check that every play certifies all its bits but those that Theorem A takes off, and sends more."""
    rows = [r.measured for r in records]
    missing = max(row["symbols"] - row["certified_bits"] for row in rows)
    slack = min(row["wire_bits"] - row["certified_bits"] for row in rows)
    evidence = {"plays": len(rows), "most_bits_not_certified": missing, "least_slack_bits": slack}
    return Check(name, missing <= CERTIFICATE_BITS and slack > 0, evidence)
