"""INDEX in the values decodes under worst-case noise: the Omega(n d) barrier (theory 3, Theorem B)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.measured import Instanced, instanced
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.barrier import ETAS, norm_shares
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import accuracy, carries, decodes
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.values import ValuesEncoding, required_query_norm
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.packings import equiangular_keys

DECODES = "every bit decodes at the guaranteed query norm"
CARRIES = "the wire carries more than is certified"
EQUIANGULAR_INCOHERENCE = 0.5


def grid(scale: Scale) -> list[Cell]:
    """Return guaranteed instances over n, d, eta and projections, and a sweep of the query norm."""
    tokens = (256, 1024) if scale == "quick" else (256, 1024, 4096)
    dims = (16, 64) if scale == "quick" else (16, 32, 64, 128)
    guaranteed = cells(keys="gaussian", tokens=tokens, dim=dims, eta=ETAS)
    # Sign keys of few dimensions repeat, so that there is no guarantee to test.
    guaranteed += cells(keys=["rademacher", "sparse", "hadamard"], tokens=tokens, dim=64, eta=ETAS)
    guaranteed += cells(keys="equiangular", tokens=256, dim=257, eta=ETAS)
    sweep = [
        {**cell, **shape}
        for shape in ({"keys": "gaussian", "dim": 64}, {"keys": "equiangular", "dim": 257})
        for cell in cells(
            tokens=256, eta=ETAS, norm_share=[share for share in norm_shares(scale) if share != 1.0]
        )
    ]
    return guaranteed + sweep


def measure(parameters: dict[str, Any], randomness: Randomness) -> Instanced:
    """Play one instance against an adversary that moves every answer by up to eta."""
    tokens, dim, eta = parameters["tokens"], parameters["dim"], parameters["eta"]
    kind = parameters["keys"]
    if kind == "equiangular":
        keys = equiangular_keys(tokens, EQUIANGULAR_INCOHERENCE).measured()
    elif kind == "repeated":
        half = Keys.drawn("gaussian", tokens // 2, dim, randomness.keys()).measured()
        keys = replace(half, rows=np.repeat(half.rows, 2, axis=0))
    else:
        keys = Keys.drawn(kind, tokens, dim, randomness.keys()).measured()
    incoherence = keys.incoherence()
    share = parameters.get("norm_share", 1.0) * parameters.get("secret_share", 1.0)
    norm = share * required_query_norm(tokens, incoherence, eta)
    if share >= 1:
        norm *= 1 + 1e-6  # the inequality of Theorem B is strict
    encoding = ValuesEncoding.build(keys, 32, accuracy=Accuracy(eta), query_norm=norm)
    transcript = play(encoding, "dense:dtype=float64", randomness, eta=eta)
    return instanced(transcript, incoherence, norm)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the rows that claim a guarantee: no error, and no more certified than sent."""
    rows = [r for r in records if r.parameters.get("norm_share", 1.0) >= 1]
    return [decodes(DECODES, rows, plays="instances"), carries(CARRIES, rows)] if rows else []


def draw(records: Sequence[Record]) -> Figure:
    """Draw the fraction of bits that survive the adversary against the query norm."""
    figure, axes = new_figure(width=7.0, height=3.6)
    for eta, colour in zip(ETAS, COLOURS, strict=False):
        for kind, style, name in (("equiangular", "-", "equiangular"), ("gaussian", "--", "JL, d = 64")):
            asked = where(records, keys=kind, eta=eta, tokens=256, dim=64 if kind == "gaussian" else 257)
            points = series(asked, lambda r: r.parameters.get("norm_share", 1.0), accuracy)
            axes.plot(*points, style, color=colour, label=f"{name}, η = {eta:g}")
    axes.axvline(1.0, color=THEORY, linewidth=1)
    axes.annotate("guaranteed from here on", (1.0, 0.72), (-5, 0), textcoords="offset points", rotation=90, ha="right",
                  va="center", fontsize=8)  # fmt: skip
    axes.set(
        xlabel="query norm C / guaranteed C = ln(n (1+η)/(1−η)) / (1−ε)",
        ylabel="bits decoded under worst-case (1 ± η) noise",
        title="n = 256: equiangular keys make the guarantee tight",
        ylim=(0.42, 1.03),
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


CLAIM = Claim(
    id="index-barrier",
    title="A cache that answers attention within (1 ± η) holds all n d_v bits of its values",
    source="Haris and Onak, COLT 2025, arXiv:2502.15955; constants ours",
    statement=(
        "For unit keys of incoherence ε and C > ln(n (1+η)/(1−η))/(1−ε), every entrywise (1 ± η)-approximation "
        "of attention decodes every one of the n d_v bits."
    ),
    theory="3",
    checks=(DECODES, CARRIES),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("every key stands twice", DECODES, cells(keys="repeated", tokens=256, dim=64, eta=ETAS)),
        Control(
            "queries at 60 % of the guaranteed norm",
            DECODES,
            cells(keys="equiangular", tokens=256, dim=257, eta=ETAS, secret_share=0.6),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
