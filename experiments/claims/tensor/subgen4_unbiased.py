"""SubGen4Cache estimates both sums of tensor attention without bias, since its sides draw apart (theory 7)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.subgen.subgen4 import SubGen4
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DENOMINATOR = "the denominator's estimate has τ as its mean"
NUMERATOR = "the numerator's estimate has z as its mean"

FALSE_ALARM = 1e-6
MEMBERS = 6  # keys of each of two clusters
DELTA = 1.0
QUERIES = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
CACHES = 200  # in a block


class SameSlots(SubGen4):
    """SubGen4 whose sides draw with the same coins: on equal sides their slots hold the same tokens."""

    def _coins_of_sides(self, coins: Coins) -> list[Coins]:
        return [Coins(coins.seed)] * 2


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return caches of one slot, and of three, each drawn anew many times."""
    return [_cell("subgen4", slots, 3 if scale == "quick" else 80) for slots in (1, 3)]


def _cell(cache: str, slots: int, blocks: int) -> dict[str, Any]:
    """Return the parameters of one block of caches."""
    return {"cache": cache, "slots": slots, "blocks": blocks}


def same_slots(scale: Scale) -> list[dict[str, Any]]:
    """Return caches that use the same slots for both sides."""
    return [_cell(f"{__name__}:SameSlots", 1, 2)]


class Measured(TypedDict):
    """Error of the mean estimate, and what bounds it, for each query."""

    tau_error: list[float]
    tau_variance: list[float]
    tau_largest: list[float]
    z_error: list[float]
    z_variance: list[float]
    z_largest: list[float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Return errors of mean estimates over fresh coins, and what a single estimate strays by.

    Both sides are the same stream, whose keys are numbers in two clusters round -1 and 1. Sums are relative
    to tau and to sum_ab e^<q,xy> |v_a v_b|.
    """
    places = np.linspace(-0.45, 0.45, MEMBERS)
    keys = np.concatenate([places - 1, places + 1]).reshape(-1, 1).astype(np.float32)
    values = np.tile([1.0, -0.8, 1.2, 0.9, -1.1, 1.0], 2).reshape(-1, 1).astype(np.float32)
    slots = parameters["slots"]
    spec = resolve(f"{parameters['cache']}:delta={DELTA},cluster_slots={slots},value_slots={slots}")
    queries = np.array(QUERIES)[:, None]
    seeds = np.random.default_rng(randomness.coins_seed()).integers(1 << 62, size=CACHES)
    tau_means, z_means = np.zeros(len(queries)), np.zeros(len(queries))
    for seed in seeds:
        cache: Any = spec.make(1, 1, Coins(int(seed)))
        cache.append(keys, values, keys, values)
        (z, up), (tau, down) = cache.estimates(queries)
        tau_means += tau * np.exp(down) / CACHES
        z_means += z[:, 0] * np.exp(up) / CACHES

    column = values[:, 0].astype(np.float64)
    weights = np.exp(np.multiply.outer(np.array(QUERIES), np.outer(keys, keys).astype(np.float64)))
    tau, z = weights.sum(axis=(1, 2)), np.einsum("qab,a,b->q", weights, column, column)
    scale = np.einsum("qab,a,b->q", weights, np.abs(column), np.abs(column))
    # All that caches of one slot can say: a member of each cluster and side, or a pair of value slots.
    pairs = MEMBERS**2 * weights.reshape(len(queries), 2, MEMBERS, 2, MEMBERS)
    first = (
        pairs[:, 0, :, None] + pairs[:, 1, None, :]
    )  # query, members of side 1, cluster and member of side 2
    every = (first[..., 0, :, None] + first[..., 1, None, :]).reshape(len(queries), -1)
    single = ((column @ column) ** 2 * weights / np.outer(column, column)).reshape(len(queries), -1)
    shares = np.outer(column**2, column**2).ravel() / (column @ column) ** 2
    return {
        "tau_error": ((tau_means - tau) / tau).tolist(),
        "tau_variance": (every.var(axis=1) / tau**2).tolist(),
        "tau_largest": (np.abs(every - tau[:, None]).max(axis=1) / tau).tolist(),
        "z_error": ((z_means - z) / scale).tolist(),
        "z_variance": ((np.square(single - z[:, None]) @ shares) / scale**2).tolist(),
        "z_largest": (np.abs(single - z[:, None]).max(axis=1) / scale).tolist(),
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Compare means over all coins with exact sums, at a false alarm that all comparisons share."""
    checks = []
    for name, part in ((DENOMINATOR, "tau"), (NUMERATOR, "z")):
        over = max(
            float(np.max(np.abs(error) / slack))
            for error, slack in (_mean(rows, part) for rows in _by_slots(records).values())
        )
        checks.append(Check(name, over <= 1, {"error_over_threshold": over, "false_alarm": FALSE_ALARM}))
    return checks


def _by_slots(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Return the blocks of each number of slots."""
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.parameters["slots"], []).append(record)
    return found


def _mean(rows: Sequence[Record], part: str) -> tuple[Any, Any]:
    """Return the mean error of all blocks, and what chance allows it (Bernstein).

    Caches are independent. One of several slots averages over pairs of slots, which strays no farther, in
    mean square and at most, than one pair. The false alarm is shared by two sums, the queries, and at most
    two numbers of slots.
    """
    error = np.mean([row.measured[f"{part}_error"] for row in rows], axis=0)
    failure = FALSE_ALARM / (2 * 2 * len(QUERIES))
    variance, largest = (
        np.array(rows[0].measured[f"{part}_{name}"]) / (CACHES * len(rows))
        for name in ("variance", "largest")
    )
    linear = math.log(2 / failure) * largest / 3
    return error, linear + np.sqrt(linear**2 + 2 * math.log(2 / failure) * variance)


def draw(records: Sequence[Record]) -> "Figure":
    """Draw both errors over the query, within what chance allows."""
    figure, panels = new_figure(2, width=4.6, height=3.2)
    titles = ("a   Denominator: (mean − τ) / τ", "b   Numerator: (mean − z) / Σ w |v₁ v₂|")
    for axes, part, title in zip(panels, ("tau", "z"), titles, strict=True):
        for (slots, rows), marker, colour in zip(
            sorted(_by_slots(records).items()), "os", COLOURS, strict=False
        ):
            error, slack = _mean(rows, part)
            if slots == 1:
                axes.fill_between(QUERIES, -slack, slack, color=COLOURS[5], alpha=0.3, linewidth=0,
                                  label="what chance allows, 1e-6")  # fmt: skip
                axes.set_ylim(-1.9 * slack.max(), 1.9 * slack.max())
            axes.plot(QUERIES, error, marker + "-", color=colour, markersize=4, linewidth=0.9, markerfacecolor="none",
                      label=f"{CACHES * len(rows):,} caches, t = s = {slots}")  # fmt: skip
        axes.axhline(0, color=THEORY, linewidth=0.8)
        axes.set(
            xlabel="query (keys of both sides near −1 and 1)",
            ylabel="relative error of the mean",
            title=title,
        )
        axes.legend(loc="upper center", ncols=1)
    return figure


CLAIM = Claim(
    id="subgen4-unbiased",
    title="SubGen4Cache estimates both sums of tensor attention without bias",
    source="Chen et al., arXiv:2503.11108 (SubGen4Cache), our reading",
    statement=(
        "Over the cache's coins, given the stream, the estimates of Σ e^⟨q,k₁∘k₂⟩ and Σ e^⟨q,k₁∘k₂⟩ v₁∘v₂ over all "
        "pairs have exactly these means: they are linear in the samples of either side, and the sides draw apart."
    ),
    theory="7",
    module="kvfloor.experiments.claims.tensor.subgen4_unbiased",
    checks=(DENOMINATOR, NUMERATOR),
    cells=grid,
    judge=judge,
    draw=draw,
    controls=(
        Control("equal slots reused for both sides: denominator", DENOMINATOR, same_slots),
        Control("equal slots reused for both sides: numerator", NUMERATOR, same_slots),
    ),
)

if __name__ == "__main__":
    from kvfloor.experiments.show.command import run_claim

    run_claim(CLAIM.id)
