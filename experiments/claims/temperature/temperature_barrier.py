"""Single tokens force e^rho/eps bits at every temperature; coresets and balanced caches beside that (theory 15)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NotRequired

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.temperature.noisy import answered
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Decoded
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import CERTIFICATE_BITS, decodes
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.bounds.temperature import differences_floor
from kvfloor.reductions.encodings.differences import DifferencesEncoding
from kvfloor.reductions.keys.known import Keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECODES = "as many tokens decode as accuracy and temperature allow, under the worst noise"
TIGHT = "a tenth more do not"
FLOOR = "no cache is below the floor at the accuracy that it shows"

VALUE_DIM = 16
SCORES = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
ACCURACIES = (0.1, 0.03, 0.01, 0.003)
TOKENS = 128
CACHES = {
    "random": ("o", COLOURS[0], "random sample"),
    "coreset": ("s", COLOURS[1], "coreset"),
    "balance": ("v", COLOURS[2], "balanced halves"),
    "bitpack": ("x", COLOURS[7], "packed bits of a part"),
}


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return as many tokens as decode, a tenth more, and caches that drop tokens."""
    most = 300 if scale == "quick" else 2000
    exact = [_exact(rho, eps, share) for rho in SCORES for eps in ACCURACIES for share in (1.0, 1.1)
             if 10 <= tokens_allowed(rho, eps) <= most]  # fmt: skip
    kept = [
        f"{name}:kept_tokens={count}"
        for name in ("random", "coreset", "bitpack")
        for count in (24, 32, 64, 96)
    ]
    kept += [f"balance:batch_tokens={count}" for count in (8, 32)]
    return exact + [_cache(rho, cache) for rho in (1.0, 3.0, 5.0) for cache in kept]


def tokens_allowed(rho: float, eps: float) -> float:
    """Return how many tokens of bits decode: (e^rho - 1)(1/(2 eps) - 1)/2."""
    return math.expm1(rho) * (1 / (2 * eps) - 1) / 2


def _exact(rho: float, eps: float, share: float, said: float | None = None) -> dict[str, Any]:
    """Return a play under the adversary with a share of the tokens that are allowed; `said` is what is told of it."""
    tokens = math.ceil(tokens_allowed(rho, eps) * share) - (share == 1)
    return {"play": "noise", "rho": rho, "eps": eps, "tokens": tokens, "share": said or share}


def _cache(rho: float, cache: str) -> dict[str, Any]:
    """Return a play through a cache as it is."""
    return {"play": "cache", "rho": rho, "tokens": TOKENS, "cache": cache}


class Measured(Decoded):
    """A play; of a cache also the largest error of its answers to the queries that the floor asks."""

    largest_error: NotRequired[float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play single tokens at the worst ends of the noise, or through a cache."""
    tokens, noisy = parameters["tokens"], parameters["play"] == "noise"
    rows = np.linalg.qr(randomness.keys().standard_normal((tokens, tokens)))[0]
    encoding = DifferencesEncoding(Keys(rows, bound=1e-9), VALUE_DIM, parameters["rho"])
    answers = answered(encoding, "exact" if noisy else parameters["cache"], randomness)
    eps = parameters["eps"] if noisy else 0.0
    against = np.where(np.arange(len(answers.outputs)) < tokens, eps, -eps)[:, np.newaxis]
    wrong = np.zeros(len(answers.x), np.bool_)
    for sign in (-1, 1):
        wrong |= encoding.decode(answers.outputs + sign * against, answers.questions) != answers.x
    measured: Measured = {
        "errors": int(wrong.sum()),
        "symbols": len(answers.x),
        "wire_bits": answers.wire_bits,
    }
    return measured if noisy else {**measured, "largest_error": answers.largest_error}


def judge(records: Sequence[Record]) -> list[Check]:
    """Check decoding at and above the tokens that are allowed, and caches against the floor."""
    checks = []
    if within := where(records, play="noise", share=1.0):
        checks.append(decodes(DECODES, within))
    if beyond := where(records, play="noise", share=1.1):
        fewest = min(r.measured["errors"] for r in beyond)
        checks.append(Check(TIGHT, fewest > 0, {"plays": len(beyond), "fewest_errors": fewest}))
    if caches := where(records, play="cache"):
        slack = {
            f"{r.parameters['cache']}, rho = {r.parameters['rho']:g}": r.measured["wire_bits"] - _floor(r)
            for r in caches
        }
        least = min(slack, key=lambda name: slack[name])
        checks.append(
            Check(
                FLOOR, slack[least] > 0, {"caches": len(slack), "nearest": least, "slack_bits": slack[least]}
            )
        )
    return checks


def _floor(record: Record) -> float:
    """Return the certified floor of a cache's own accuracy, in all value channels."""
    p, error = record.parameters, max(record.measured["largest_error"], 1e-12)
    if error >= 1:
        return 0.0
    return VALUE_DIM * differences_floor(p["tokens"], p["rho"], error) - CERTIFICATE_BITS


def draw(records: Sequence[Record]) -> "Figure":
    """Draw the tokens that decode over what accuracy and temperature allow, and caches over their accuracy."""
    figure, (left, right) = new_figure(2, width=5.0, height=4.0)
    _draw_tokens(left, where(records, play="noise"))
    _draw_caches(right, where(records, play="cache"))
    return figure


def _draw_tokens(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw who decodes, over e^rho and eps in one."""
    ramp = np.geomspace(5, 500, 50)
    axes.plot(ramp, ramp, color=THEORY, linewidth=1, label="n = (e^ρ − 1)(1/2ε − 1)/2")
    for rho, marker, colour in zip(SCORES, "osv^Dx", COLOURS, strict=False):
        for share, face in ((1.0, colour), (1.1, "none")):
            rows = where(records, rho=rho, share=share)
            if rows:
                allowed, tokens = series(
                    rows, lambda r: tokens_allowed(r.parameters["rho"], r.parameters["eps"]), "tokens"
                )
                axes.plot(allowed, tokens, marker, color=colour, markerfacecolor=face,
                          label=f"ρ = {rho:g}" if share == 1 else "_")  # fmt: skip
    axes.plot([], [], "o", color="#777777", markerfacecolor="none", label="hollow: a tenth more, errs")
    axes.set(
        xscale="log", yscale="log", xlabel="allowed by accuracy ε and temperature ρ", ylabel="tokens n",
        title="a   Each token decodes at any temperature",
    )  # fmt: skip
    axes.legend(loc="upper left", fontsize=7)


def _draw_caches(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw the bits that caches keep over the error that they make, at the coldest temperature."""
    rho = max(SCORES)
    rows = where(records, rho=rho)
    accuracies = np.geomspace(0.9, 0.01, 200)
    floor = [VALUE_DIM * differences_floor(TOKENS, rho, eps) for eps in accuracies]
    shade_impossible(axes, accuracies, 10, floor)
    axes.plot(accuracies, floor, color=THEORY, linewidth=1, label="floor at that accuracy")
    for family, (marker, colour, label) in CACHES.items():
        mine = [r for r in rows if r.parameters["cache"].startswith(family)]
        error, wire = series(mine, lambda r: max(r.measured["largest_error"], 0.01), "wire_bits")
        axes.plot(error, wire, marker, color=colour, markerfacecolor="none", label=label)
    axes.set(
        xscale="log", yscale="log", xlim=(1, 0.01), ylim=(100, 1e7), xlabel="largest error ε of an answer",
        ylabel="bits", title=f"b   n = {TOKENS}, ρ = {rho:g}: what caches keep",
    )  # fmt: skip
    closed(axes, 0.03, 300, "closed to every cache\nof that accuracy", ha="center")
    axes.legend(loc="upper left", fontsize=7)


CLAIM = Claim(
    id="temperature-barrier",
    title="Single tokens force e^ρ/ε bits at every temperature",
    source="Theory 15, ours; coresets arXiv:2605.05602, discrepancy arXiv:2502.07861",
    statement=(
        "From answers within ε to queries of norm ρ under orthonormal keys all bits of n < (e^ρ − 1)(1/2ε − 1)/2 tokens "
        "decode, by differences to the zero query: a cache of that accuracy keeps n d_v bits, where Theorem B is silent, "
        "too. Coresets and balanced caches are above it."
    ),
    theory="15",
    checks=(DECODES, TIGHT, FLOOR),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("a tenth more, counted as allowed", DECODES, [_exact(2.0, 0.03, 1.1, said=1.0)]),
        Control("what is allowed, counted as more", TIGHT, [_exact(2.0, 0.03, 1.0, said=1.1)]),
        Control("state outside the bytes", FLOOR, [_cache(5.0, LEAKING)]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
