"""Tensor attention over two caches of opaque rows holds n^2 d_v bits: INDEX in n^2 values (theory 7)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kvfloor.attention.tensor import kronecker_rows
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.barrier import draw_growth, draw_sweep
from kvfloor.experiments.drawing.style import Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Instanced, instanced
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.barrier import (
    CARRIES,
    CHECKS,
    DECODES,
    ETAS,
    GROWS,
    PACKED,
    false_cells,
    growth_cells,
    judge_barrier,
    norm_shares,
)
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.protocol import Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding, required_query_norm
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import equiangular_keys
from kvfloor.reductions.keys.projections import PROJECTIONS, gaussian_keys
from kvfloor.reductions.problems.strings import Symbols

DIM = VALUE_DIM = 64
SWEPT_SIDE = 16
EQUIANGULAR_INCOHERENCE = 0.5
CACHES = {
    "exact": "dense:dtype=float64",
    "packed": "bitpack",
    "window": "window:kept_tokens=64",
    "leaking": LEAKING,
}


class StructuredRows(ValuesEncoding):
    """Rows that are products of two sides: what should be n^2 d_v bits holds 2 n d_v."""

    def encode(self, x: Symbols) -> Tokens:
        """Return rows whose values are products of 2 n rows of the string."""
        tokens = super().encode(x)
        side = round(np.sqrt(self.tokens))
        return Tokens(tokens.keys, kronecker_rows(tokens.values[:side], tokens.values[side : 2 * side]))


def grid(scale: Scale) -> list[Cell]:
    """Return guaranteed instances over n, eta and kinds of keys, and a sweep of the query norm."""
    sizes = (8, 16, 32, 64) if scale == "quick" else (8, 16, 32, 64, 128)
    plain = {"cache": "exact", "size": SWEPT_SIDE, "eta": ETAS}
    others = cells(keys=["rademacher", "hadamard", "equiangular", "structured"], **plain)
    sweep = cells(keys=["equiangular", "gaussian"], **plain, norm_share=norm_shares(scale))
    return growth_cells(sizes) + others + sweep


def measure(parameters: dict[str, Any], randomness: Randomness) -> Instanced:
    """Play one instance on n^2 rows against an adversary that moves every answer by up to eta."""
    side, eta, kind = parameters["size"], parameters["eta"], parameters["keys"]
    rng = randomness.keys()
    if kind == "equiangular":
        keys = equiangular_keys(side * side, EQUIANGULAR_INCOHERENCE).rows
    elif kind == "structured":  # keys may be products, [k_a ; 1] o [1 ; k_b]: the bits are in opaque values
        addresses = gaussian_keys(side, DIM // 2, rng)
        ones = np.ones_like(addresses)
        keys = kronecker_rows(np.hstack([addresses, ones]), np.hstack([ones, addresses])) / np.sqrt(2)
    else:
        keys = PROJECTIONS[kind](side * side, DIM, rng)
    incoherence = Keys(keys).incoherence()
    share = parameters.get("norm_share", 1.0)
    norm = share * required_query_norm(side * side, incoherence, eta)
    if share >= 1:
        norm *= 1 + 1e-6  # the inequality of Theorem B is strict
    variant = parameters.get("variant")
    if variant == "repeated keys":
        keys = np.repeat(keys[::side], side, axis=0)
    make = StructuredRows if variant == "structured rows" else ValuesEncoding
    encoding = make.build(Keys(keys, incoherence), VALUE_DIM, accuracy=Accuracy(eta), query_norm=norm)
    cache = CACHES[parameters.get("really", parameters["cache"])]
    transcript = play(encoding, cache, randomness, eta=eta)
    return instanced(transcript, incoherence, norm)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check decoding, certificates, the exponent 2 and packing."""
    return judge_barrier(records, lambda n: (n * n * VALUE_DIM, n * n * VALUE_DIM))


def draw(records: Sequence[Record]) -> Figure:
    """Draw the bits over n, and what survives the adversary over the query norm."""
    figure, (left, right) = new_figure(2, width=4.8, height=3.9)
    draw_growth(left, records, "hidden: n² d_v", 0.5)
    left.set(xlabel="tokens n of either side: n² opaque rows",
             title=f"a   Two caches of opaque rows: quadratic, d_v = {VALUE_DIM}")  # fmt: skip
    draw_sweep(right, records, ETAS, {"equiangular": "equiangular", "gaussian": "JL"})
    right.set_title(f"b   n = {SWEPT_SIDE}, {SWEPT_SIDE**2} rows: where decoding starts")
    return figure


CLAIM = Claim(
    id="tensor-two-cache",
    title="Two caches of n² opaque rows hold all n² d_v bits",
    source="Chen et al., arXiv:2503.11108; constants ours",
    statement=(
        "If the n² rows of the two caches are opaque (not known to be products of n rows a side), every "
        "(1 ± η)-approximation with C > ln(n² (1+η)/(1−η))/(1−ε) decodes n² d_v bits: quadratic in n. It is the "
        "values that must be opaque; keys may be products. For rows that are products see tensor-structured."
    ),
    theory="7",
    checks=CHECKS,
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "structured rows presented as opaque",
            DECODES,
            false_cells([SWEPT_SIDE], variant="structured rows"),
        ),
        Control("the keys of one side repeated", DECODES, false_cells([SWEPT_SIDE], variant="repeated keys")),
        Control("a window of a fixed number of rows", GROWS, false_cells((8, 16, 32), really="window")),
        Control("state outside the bytes", CARRIES, false_cells([SWEPT_SIDE], really="leaking")),
        Control("uncompressed rows as packed", PACKED, false_cells([SWEPT_SIDE], ["packed"], really="exact")),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
