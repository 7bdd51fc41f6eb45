"""Where decoding works: over dimension and query norm, in proof and in practice (theory 3)."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from scipy.optimize import brentq

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.values import ValuesEncoding, required_query_norm
from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

GUARANTEED = "beyond the guaranteed boundary every bit decodes"
TYPICAL = "where the typical bound leaves 1e-6 errors, every bit decodes"
BELOW = "where every query drowns in its neighbours, bits err"

VALUE_DIM = 512
FALSE_ALARM = 1e-6


def grid(scale: Scale) -> list[Cell]:
    """Return rows of the diagram: one dimension each, over query norms."""
    tokens, steps = (512, 24) if scale == "quick" else (2048, 48)
    dims = np.unique(np.round(math.log(tokens) * np.geomspace(0.7, 16, steps)).astype(int))
    norms = np.round(math.log(tokens) * np.geomspace(0.125, 8, steps), 3)
    return [{"tokens": tokens, "dim": int(dim), "query_norms": norms.tolist()} for dim in dims]


def _control(**change: Any) -> list[Cell]:
    """Return a small diagram with something false about it."""
    norms = np.round(math.log(256) * np.geomspace(0.125, 8, 36), 3).tolist()
    return [{"tokens": 256, "dim": dim, "query_norms": norms, **change} for dim in (8, 16, 64)]


class Measured(TypedDict):
    """Errors at every query norm, beside what is expected of random bits."""

    guaranteed_norm: float
    symbols: int
    errors: list[int]
    expected_errors: list[float]
    drowned: list[bool]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play one instance at every query norm; with each, bounds on its errors that follow from its keys."""
    tokens, dim, repeat = parameters["tokens"], parameters["dim"], parameters.get("repeat", 1)
    distinct = gaussian_keys(tokens // repeat, dim, randomness.keys(), dtype=np.float64)
    keys = np.repeat(distinct, repeat, axis=0)
    products = keys @ keys.T
    np.fill_diagonal(products, -np.inf)
    ones = parameters.get("ones")

    def biased(rng: np.random.Generator) -> Any:
        return (rng.random(tokens * VALUE_DIM) < ones).astype(np.uint8)

    errors, expected, drowned = [], [], []
    for norm in parameters["query_norms"]:
        asked_norm = norm * parameters.get("sharpen", 1.0)
        encoding = ValuesEncoding.build(
            Keys(keys), VALUE_DIM, accuracy=Accuracy(decoder="typical"), query_norm=asked_norm
        )
        transcript = play(
            encoding, "dense:dtype=float32", randomness, sample=None if ones is None else biased
        )
        # Relative to the token asked for, the others weigh this much together, in mean square (theory 3).
        noise = np.exp(2 * norm * (products - 1)).sum(axis=1)
        own = math.exp(-norm)
        errors.append(transcript.errors)
        expected.append(float(VALUE_DIM * np.exp(-((1 - own) ** 2) / (2 * noise)).sum()))
        drowned.append(bool(np.all(noise >= (1 + own) ** 2)))
    measured = incoherence(distinct)
    return {
        "guaranteed_norm": required_query_norm(tokens, measured, 0.0),
        "symbols": tokens * VALUE_DIM,
        "errors": errors,
        "expected_errors": expected,
        "drowned": drowned,
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Check both boundaries from above, and the typical one from below."""
    columns = ("errors", "expected_errors", "drowned")
    points = [
        (norm > r.measured["guaranteed_norm"], *point)
        for r in records
        for norm, *point in zip(r.parameters["query_norms"], *(r.measured[c] for c in columns), strict=True)
    ]
    guaranteed = [errors for proved, errors, _, _ in points if proved]
    typical = [errors for _, errors, expected, _ in points if expected <= FALSE_ALARM / len(points)]
    drowned = [errors for _, errors, _, drowned in points if drowned]
    checks = []
    for name, cells, passed in (
        (GUARANTEED, guaranteed, not any(guaranteed)),
        (TYPICAL, typical, not any(typical)),
        # Each of the independent channels errs with probability at least 1/20 (theory 3).
        (BELOW, drowned, all(drowned)),
    ):
        if cells:
            checks.append(Check(name, passed, {"cells": len(cells), "errors": sum(cells)}))
    return checks


def typical_boundary(dimension: float) -> float:
    """Return the query norm, in units of ln n, beyond which uniform bits decode as n grows.

    Parameters
    ----------
    dimension : float
        d / ln n, positive.

    Returns
    -------
    float
        The least c with 1 + max_t (2 c t + (d / (2 ln n)) ln(1 - t^2)) <= 2 c, the maximum over products t
        that n spherical keys reach: exponent of the neighbours' mean square weight against the token's own.
    """
    reach = math.sqrt(-math.expm1(-2 / dimension))
    products = np.linspace(0, reach, 4001)[:-1] if reach == 1 else np.linspace(0, reach, 4001)
    rates = dimension / 2 * np.log1p(-(products**2))
    return float(brentq(lambda c: 1 + np.max(2 * c * products + rates) - 2 * c, 0.1, 1e6))


def draw(records: Sequence[Record]) -> Figure:
    """Draw the fraction of bits decoded over query norm and dimension, with both boundaries."""
    figure, axes = new_figure(width=6.0, height=4.2)
    scale = math.log(records[0].parameters["tokens"])
    norms = np.array(records[0].parameters["query_norms"]) / scale
    dims = np.array([r.parameters["dim"] for r in records]) / scale
    accuracy = [1 - np.array(r.measured["errors"]) / r.measured["symbols"] for r in records]
    mesh = axes.pcolormesh(norms, dims, np.array(accuracy), cmap="cividis", vmin=0.5, vmax=1, shading="nearest",
                           rasterized=True)  # fmt: skip
    figure.colorbar(mesh, ax=axes, label="bits decoded rightly")
    bounded = [(r.measured["guaranteed_norm"] / scale, r.parameters["dim"] / scale) for r in records]
    axes.plot(*zip(*bounded, strict=True), color="black", linewidth=1.6, label="guaranteed: ln n / (1 − ε)")
    heights = np.geomspace(dims[0], dims[-1], 200)
    axes.plot([typical_boundary(h) for h in heights], heights, "--", color=COLOURS[1], linewidth=2,
              label="typical: noise of random bits = signal")  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(norms[0], norms[-1]),
        ylim=(dims[0], dims[-1]),
        xlabel="query norm C / ln n",
        ylabel="dimension d / ln n",
        title=f"Decoding by the threshold 1/2, n = {records[0].parameters['tokens']}",
    )
    axes.set_xticks([0.125, 0.5, 1, 2, 8], ["1/8", "1/2", "1", "2", "8"])
    axes.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.minorticks_off()
    axes.grid(visible=False)
    axes.legend(loc="lower left", frameon=True, framealpha=0.9)
    return figure


CLAIM = Claim(
    id="phase-diagram",
    title="Decoding has a guaranteed and, far below it, a typical boundary in dimension and query norm",
    source="Theory 3; the typical boundary is ours",
    statement=(
        "Every bit decodes for C > ln n/(1−ε). Uniform bits decode, up to the stated expected errors, as soon as "
        "the neighbours' root mean square weight is below the token's own; where it is above it for every "
        "query, bits err."
    ),
    theory="3",
    checks=(GUARANTEED, TYPICAL, BELOW),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("every key stands twice", GUARANTEED, _control(repeat=2)),
        Control("bits that are mostly 1", TYPICAL, _control(ones=0.95)),  # neighbours do not cancel
        Control("queries eight times as sharp as stated", BELOW, _control(sharpen=8.0)),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
