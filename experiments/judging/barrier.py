"""What the barriers of several input models have in common: their grids and their checks.

A row's parameters name its ``size`` n, the ``cache`` it plays ("exact" or "packed"), the accuracy ``eta`` of
the adversary and, in a sweep of the query norm, its ``norm_share`` of the guaranteed one. What was measured is
``errors``, ``symbols``, ``wire_bits`` and ``certified_bits``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.judging.claim import Cell, Check, Scale, cells
from kvfloor.experiments.judging.plays import HEADER_BITS, carries, decodes
from kvfloor.experiments.judging.rows import where
from kvfloor.experiments.judging.scaling import exponent, exponent_interval
from kvfloor.reductions.bounds.certificates import PREFIX_BITS

__all__ = ["CARRIES", "CHECKS", "DECODES", "ETAS", "GROWS", "LOST_BITS", "PACKED", "false_cells", "growth_cells",
           "judge_barrier", "norm_shares"]  # fmt: skip

DECODES = "every bit decodes at the guaranteed query norm under worst-case noise"
CARRIES = "the wire carries more than is certified"
GROWS = "certified bits grow with the stated exponent"
PACKED = "packing takes one bit per bit"
CHECKS = (DECODES, CARRIES, GROWS, PACKED)

ETAS = (0.0, 0.5, 0.9)

LOST_BITS = 40 + PREFIX_BITS + 1
"""What a certificate without errors falls short of the hidden bits by: a bit is for the rounding of the ball."""

HEADERS_BITS = 3 * HEADER_BITS  # of a payload and those of two sides
Bounds = Callable[[int], tuple[float, float]]


def growth_cells(sizes: Sequence[int]) -> list[Cell]:
    """Return guaranteed instances over sizes: exact caches at every eta, packed ones at one of them."""
    exact = cells(keys="gaussian", cache="exact", size=sizes, eta=ETAS)
    return exact + cells(keys="gaussian", cache="packed", size=sizes, eta=0.5)


def norm_shares(scale: Scale) -> list[float]:
    """Return shares of the guaranteed query norm, for a sweep."""
    return [round(share, 4) for share in np.linspace(0.2, 1.1, 19 if scale == "quick" else 46).tolist()]


def false_cells(
    sizes: Sequence[int],
    caches: Sequence[str] = ("exact",),
    etas: Sequence[float] = (0.0, 0.5),
    **change: Any,
) -> list[Cell]:
    """Return a few instances with something false about them."""
    return [{**cell, **change} for cell in cells(keys="gaussian", cache=caches, size=sizes, eta=etas)]


def judge_barrier(records: Sequence[Record], bounds: Bounds) -> list[Check]:
    """Check decoding, certificates, their exponent and packing on the rows that bear on each.

    Parameters
    ----------
    records : sequence of Record
        Rows of a claim or of one of its controls.
    bounds : callable
        From a size n to two multiples c n^k of the same power k, in bits, between which theory puts the
        number of hidden bits. A certificate without errors is at most t + 64 bits below it, so both bound
        the exponent.

    Returns
    -------
    list of Check
        Those of `CHECKS` that some row bears on.
    """
    proved = [r for r in records if r.parameters.get("norm_share", 1.0) >= 1]
    exact = where(proved, cache="exact")
    checks = []
    if exact:
        checks.append(decodes(DECODES, exact, plays="instances"))
    if proved:
        checks.append(carries(CARRIES, proved))
    grown = _growth(exact, bounds)
    if grown:
        inside = all(low <= found <= high for found, low, high in grown.values())
        checks.append(Check(GROWS, inside, {"exponent_least_most": grown}))
    packed = where(proved, cache="packed")
    if packed:
        excess = [r.measured["wire_bits"] - r.measured["symbols"] for r in packed]
        lean = all(0 <= bits <= HEADERS_BITS for bits in excess)
        checks.append(Check(PACKED, lean, {"bits_beyond_one_per_bit": excess}))
    return checks


def _growth(exact: Sequence[Record], bounds: Bounds) -> dict[str, tuple[float, float, float]]:
    """Return, for each series of sizes, the exponent of the certified bits and the ends it must keep to."""
    series: dict[str, dict[int, float]] = {}
    for record in exact:
        name = f"{record.parameters['keys']}, eta = {record.parameters['eta']:g}"
        series.setdefault(name, {})[record.parameters["size"]] = record.measured["certified_bits"]
    found = {}
    for name, bits in series.items():
        if len(bits) > 1:
            sizes = sorted(bits)
            least, most = zip(*(bounds(size) for size in sizes), strict=True)
            ends = exponent_interval(sizes, [bound - LOST_BITS for bound in least], most)
            found[name] = (exponent(sizes, [bits[size] for size in sizes]), *ends)
    return found
