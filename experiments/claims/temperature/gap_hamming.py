"""Averages force 1/eps^2 bits where no token stands out: GAP-HAMMING played (theory 15)."""

import math
from collections.abc import Sequence
from typing import Any, NotRequired

import numpy as np

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.temperature.noisy import Answers, answered
from kvfloor.experiments.drawing.panels import closed
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Decoded
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.plays import accuracy, carries
from kvfloor.experiments.judging.rows import grouped, series, where
from kvfloor.experiments.judging.scaling import exponent, exponent_interval
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.bounds.balls import log2_hamming_ball
from kvfloor.reductions.bounds.certificates import one_shot_certificate
from kvfloor.reductions.bounds.frontier import rate_distortion
from kvfloor.reductions.checks import Doubles
from kvfloor.reductions.encodings.beyond_index.gap_hamming import GapHammingEncoding
from kvfloor.reductions.encodings.levels import BINARY
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

GAP = "answers are right wherever the overlap exceeds the gap"
VOTED = "yes and no alone give the bits back, with at most Cantelli's errors"
LINEAR = "overlaps give back all but 4 eps² n² / tanh² ρ bits"
GROWS = "bits forced grow as 1/eps²"
CARRIES = "the wire carries more than is certified"
SILENT = "single tokens tell next to nothing at this temperature"

SHARE = 0.1545  # of bits that accuracy may cost; the best for the floor
ROUNDS = 4
THRESHOLD = 2 * math.log(2)  # 4 eps^2 n / tanh^2 rho at which flipped answers vote against
FALSE_ALARM = 1e-6
CACHES = ("dense", "uniform:bits=2", "uniform:bits=4", "bitpack:kept_tokens=64", "bitpack:kept_tokens=128",
          "bitpack:kept_tokens=192", "balance:batch_tokens=32", "coreset:kept_tokens=128")  # fmt: skip


def grid(scale: Scale) -> list[Cell]:
    """Return accurate caches over n, over the accuracy, caches as they are, and single tokens."""
    sizes = (64, 128, 256, 512) if scale == "quick" else (64, 128, 256, 512, 1024, 2048)
    grown = [_cell(n, rho, adversary) for n in sizes for rho in (0.5, 1.0) for adversary in ("flip", "focus")]
    shares = [_cell(256, 1.0, "flip", share) for share in (0.02, 0.05, 0.1, 0.3, 0.6, 0.9, 1.2, 1.5, 2.0)]
    caches = [_cell(256, 1.0, "none", cache=cache) for cache in CACHES]
    return grown + shares + caches + [_cell(512, 1.0, "token")]


def _cell(
    n: int, rho: float, adversary: str, share: float = SHARE, cache: str = "exact", excess: float = 1.0
) -> Cell:
    """Return the parameters of one play; answers are within `excess` times the accuracy that `share` says."""
    return {"size": n, "rho": rho, "adversary": adversary, "share": share, "cache": cache, "excess": excess}


COARSE = [_cell(n, 1.0, "flip", excess=3.0) for n in (64, 256)]
CONSTANT = [_cell(n, 1.0, "flip", excess=math.sqrt(n / 64)) for n in (64, 128, 256, 512)]


class Measured(Decoded):
    """A play; errors are those of the better reading. Single tokens have no overlaps."""

    certified_bits: float
    recalled_bits: float
    eps: float
    voted_errors: NotRequired[int]
    linear_errors: NotRequired[int]
    beyond_the_gap: NotRequired[int]
    wrong_beyond_the_gap: NotRequired[int]
    linear_bound: NotRequired[float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play once, move the answers, and read them in two ways."""
    n, rho, adversary = parameters["size"], parameters["rho"], parameters["adversary"]
    rows = np.linalg.qr(randomness.keys().standard_normal((n, n)))[0]
    keys = Keys(rows.astype(np.float32), bound=1e-5)
    eps = math.tanh(rho) * math.sqrt(parameters["share"] / (4 * n))
    if adversary == "token":
        return _token(keys, rho, eps, randomness)
    encoding = GapHammingEncoding(keys, rho, ROUNDS, randomness.coins_seed())
    answers = answered(encoding, parameters["cache"], randomness)
    problem, truth = encoding.problem, encoding.problem.overlaps(answers.x, answers.questions)
    moved = (
        answers.outputs
        + parameters["excess"] * eps * _moves(encoding, answers, adversary, eps)[:, np.newaxis]
    )
    read = encoding.overlaps(moved, answers.questions)
    places = np.arange(n)
    voted = int((problem.reconstruct(encoding.decode(moved, answers.questions), places) != answers.x).sum())
    linear = int(((problem.votes(read) > 0) != answers.x).sum())
    accuracy = answers.largest_error if adversary == "none" else eps
    gap = encoding.decided_gap(accuracy * (1 + 1e-6))
    beyond = np.abs(truth) > gap
    certificate = one_shot_certificate(n, min(voted, linear), decoders=2)
    return {
        "errors": min(voted, linear), "symbols": n, "wire_bits": answers.wire_bits, "eps": accuracy,
        "certified_bits": certificate.certified_bits, "recalled_bits": n - log2_hamming_ball(n, min(voted, linear)),
        "voted_errors": voted, "linear_errors": linear, "beyond_the_gap": int(beyond.sum()),
        "wrong_beyond_the_gap": int(((read > 0) != (truth > 0))[beyond].sum()),
        "linear_bound": _linear_bound(encoding, answers, eps if adversary != "none" else None),
    }  # fmt: skip


def _moves(encoding: GapHammingEncoding, answers: Answers, adversary: str, eps: float) -> Doubles:
    """Return where an adversary moves each answer, in units of its accuracy: 2 k numbers within [-1, 1].

    "flip" moves every overlap towards the wrong sign; "focus" spends all on half as many places as may be lost, whose
    signs it takes out of every overlap as far as it can.
    """
    truth = encoding.problem.overlaps(answers.x, answers.questions)
    if adversary == "flip":
        towards = np.where(truth > 0, -1.0, 1.0)
    elif adversary == "focus":
        attacked = np.where(
            np.arange(encoding.tokens) < SHARE / 2 * encoding.tokens, 2.0 * answers.x - 1, 0.0
        )
        towards = np.clip(-1.2 * (answers.questions @ attacked) / encoding.decided_gap(eps), -1, 1)
    else:
        towards = np.zeros(len(truth))
    return np.concatenate([towards, -towards])


def _linear_bound(encoding: GapHammingEncoding, answers: Answers, eps: float | None) -> float:
    """Return how many bits the overlaps may lose at an accuracy, or at the mean square error that was measured."""
    n, coth = encoding.tokens, 1 / math.tanh(encoding.largest_score)
    if eps is not None:
        return 4 * (eps * n * coth) ** 2
    squares = np.square(answers.outputs - answers.exact).reshape(2, -1).sum(axis=0) / 2
    lopsided = np.square(answers.questions.sum(axis=1, dtype=np.int64) / n)
    return float(4 * n**2 * ((coth**2 + lopsided) * squares).mean())


def _token(keys: Keys, rho: float, eps: float, randomness: Randomness) -> Measured:
    """Read single tokens at this temperature from exact answers."""
    transcript = play(ValuesEncoding.build(keys, 1, BINARY, TYPICAL, rho), "dense:dtype=float64", randomness)
    recalled = transcript.symbols - log2_hamming_ball(transcript.symbols, transcript.errors)
    return {"errors": transcript.errors, "symbols": transcript.symbols, "wire_bits": transcript.wire_bits, "eps": eps,
            "certified_bits": transcript.certificate().certified_bits, "recalled_bits": recalled}  # fmt: skip


def judge(records: Sequence[Record]) -> list[Check]:
    """Check answers, both readings, the exponent and the wire on the rows that bear on each."""
    checks = [carries(CARRIES, records)]
    tokens = where(records, adversary="token")
    if tokens:
        right = max(map(accuracy, tokens))
        checks.append(Check(SILENT, right <= 2 / 3, {"most_read_rightly": right}))
    played = [r for r in records if r.parameters["adversary"] != "token"]
    if played:
        wrong = sum(r.measured["wrong_beyond_the_gap"] for r in played)
        asked = sum(r.measured["beyond_the_gap"] for r in played)
        checks.append(Check(GAP, wrong == 0, {"answers": asked, "wrong": wrong}))
        within = [r.measured["linear_errors"] <= r.measured["linear_bound"] for r in played]
        least = min(r.measured["linear_bound"] - r.measured["linear_errors"] for r in played)
        checks.append(Check(LINEAR, all(within), {"plays": len(played), "least_slack_bits": least}))
    rows = where(played, cache="exact", share=SHARE)
    if rows:
        worst = max(r.measured["voted_errors"] / r.measured["symbols"] for r in rows)
        bound = max(cantelli(r.parameters["size"], SHARE) for r in rows)
        checks.append(Check(VOTED, worst <= bound, {"largest_error_rate": worst, "bound": bound}))
        checks.append(_grows(rows))
    return checks


def _grows(records: Sequence[Record]) -> Check:
    """Check the exponent of the bits that come back over 1/eps, at each temperature, the worse adversary counting."""
    found = {}
    for rho, rows in grouped(records, "rho").items():
        bits = {
            size: min(r.measured["recalled_bits"] for r in same)
            for size, same in grouped(rows, "size").items()
        }
        sizes = sorted(bits)
        precisions = [math.sqrt(size) for size in sizes]  # 1/eps, but for a constant
        least = [size - log2_hamming_ball(int(size), int(SHARE * size)) for size in sizes]
        ends = exponent_interval(precisions, least, sizes)
        found[f"rho = {rho:g}"] = (exponent(precisions, [bits[size] for size in sizes]), *ends)
    inside = all(low <= slope <= high for slope, low, high in found.values())
    return Check(GROWS, inside, {"exponent_least_most": found})


def correlation(share: float) -> float:
    """Return how far answers that an adversary flips within the gap still follow each place, times sqrt(n).

    In the limit of many tokens: sqrt(2/pi) (2 e^{-share/2} - 1), for share = 4 eps^2 n / tanh^2 rho.
    """
    return math.sqrt(2 / math.pi) * (2 * math.exp(-share / 2) - 1)


def cantelli(size: int, share: float) -> float:
    """Return a bound on the expected share of bits that the votes get wrong, by exact binomials (theory 15)."""
    overlaps = np.abs(size - 2 * np.arange(size + 1.0))
    logs = np.array(
        [math.lgamma(size + 1) - math.lgamma(k + 1) - math.lgamma(size - k + 1) for k in range(size + 1)]
    )
    chances = np.exp(logs - size * math.log(2))
    kept = np.where(overlaps > math.sqrt(share * size), 1.0, -1.0)
    followed = float((chances * kept * overlaps).sum()) / math.sqrt(size)
    if followed <= 0:
        return 1.0
    return (1 - followed**2) / (1 + (ROUNDS - 1) * followed**2)


def draw(records: Sequence[Record]) -> Figure:
    """Draw the bits that come back over the accuracy, and the errors over its share."""
    figure, (left, right) = new_figure(2, width=5.0, height=4.0)
    _draw_bits(left, records)
    _draw_errors(right, records)
    return figure


def _draw_bits(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the floor, the bits played under the adversaries, and what caches spend at the accuracy they have."""
    accuracies = np.geomspace(0.001, 1, 100)
    floor = SHARE * rate_distortion(SHARE) / (4 * accuracies**2)
    shade_impossible(axes, accuracies, 0.1, floor)
    axes.plot(accuracies, floor, color=THEORY, linewidth=1, label="floor: 0.0146 tanh² ρ / ε²")
    played = [r for r in where(records, cache="exact", share=SHARE) if r.parameters["adversary"] != "token"]
    looks = {
        0.5: ("s", COLOURS[0], "bits back from answers within ε, ρ = 1/2"),
        1.0: ("o", COLOURS[1], "the same, ρ = 1"),
    }
    for rho, (marker, colour, label) in looks.items():
        axes.plot(*series(where(played, rho=rho), _relative, "recalled_bits"), marker, color=colour,
                  markerfacecolor="none", label=label)  # fmt: skip
    names = {"bitpack": ("x", "packed bits of a sample"), "uniform": ("D", "uniform, 2 and 4 bits"),
             "dense": ("^", "float16"), "balance": ("v", "balanced"), "coreset": ("P", "coreset")}  # fmt: skip
    for family, (marker, name) in names.items():
        rows = [r for r in records if r.parameters["cache"].startswith(family)]
        axes.plot(*series(rows, _relative, "wire_bits"), marker, color=COLOURS[6], markersize=5,
                  label=f"{name}: on the wire")  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlim=(1, 0.0008), ylim=(1, 3e8), xlabel="additive accuracy ε / tanh ρ",
        ylabel="bits", title="a   Averages force 1/ε² bits",
    )  # fmt: skip
    closed(axes, 0.004, 4, "closed to every cache\nof that accuracy", ha="center")
    axes.legend(loc="upper left", fontsize=7, ncols=2)


def _relative(record: Record) -> float:
    """Return the accuracy of a row in units of tanh(rho)."""
    return float(record.measured["eps"] / math.tanh(record.parameters["rho"]))


def _draw_errors(axes: Axes, records: Sequence[Record]) -> None:
    """Draw both readings under flipped answers, and single tokens."""
    rows = where(records, adversary="flip", size=256, rho=1.0)
    wrong = [
        lambda r, reading=reading: r.measured[f"{reading}_errors"] / r.measured["symbols"]
        for reading in ("voted", "linear")
    ]
    shares, voted, linear = series(rows, "share", *wrong)
    ramp = np.linspace(0, 2.1, 200)
    normal = [
        0.5 * math.erfc(math.sqrt(ROUNDS / 2) * c / math.sqrt(1 - c**2)) for c in map(correlation, ramp)
    ]
    axes.plot(ramp, normal, color=COLOURS[1], linewidth=1, label="yes and no: normal approximation")
    axes.plot(shares, voted, "o", color=COLOURS[1], label="yes and no, 4 rounds of votes")
    axes.plot(ramp, np.minimum(ramp, 1), "--", color=COLOURS[0], linewidth=1, label="overlaps: at most")
    axes.plot(shares, linear, "s", color=COLOURS[0], label="overlaps themselves")
    token = 1 - accuracy(where(records, adversary="token")[0])
    axes.axhline(token, color=COLOURS[6], linewidth=1, linestyle=":")
    axes.text(
        1.98,
        token - 0.015,
        "single tokens, exact answers",
        ha="right",
        va="top",
        fontsize=8,
        color=COLOURS[6],
    )
    axes.axvline(THRESHOLD, color=THEORY, linewidth=0.8)
    axes.text(THRESHOLD - 0.03, 0.9, "2 ln 2", ha="right", fontsize=8)
    axes.set(
        xlim=(0, 2.1), ylim=(-0.02, 1.02), xlabel="4 ε² n / tanh² ρ", ylabel="bits read wrongly",
        title="b   n = 256, ρ = 1: flipped within the gap",
    )  # fmt: skip
    axes.legend(loc="upper left", fontsize=7)


CLAIM = Claim(
    id="gap-hamming",
    title="Averages force about 1/ε² bits where no token stands out",
    source="Theory 15, ours; the problem and its reconstruction after Jayram, Kumar and Sivakumar 2008",
    statement=(
        "Queries whose scores are ±ρ give n bits back, all but 4 ε² n² / tanh² ρ of them, from answers within ε: a cache "
        "of that accuracy keeps at least 0.0146 tanh² ρ / ε² bits at temperatures where single tokens tell nothing. "
        "Yes and no alone suffice up to 4 ε² n / tanh² ρ = 2 ln 2."
    ),
    theory="15",
    checks=(GAP, VOTED, LINEAR, GROWS, CARRIES, SILENT),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("answers three times as far off", GAP, COARSE),
        Control("votes three times as far off", VOTED, COARSE),
        Control("overlaps three times as far off", LINEAR, COARSE),
        Control("an accuracy that stays as n grows", GROWS, CONSTANT),
        Control("state outside the bytes", CARRIES, [_cell(512, 1.0, "none", cache=LEAKING)]),
        Control("queries that single a token out", SILENT, [_cell(512, math.log(512) + 1, "token")]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
