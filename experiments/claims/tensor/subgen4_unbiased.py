"""SubGen4Cache estimates both sums of tensor attention without bias, since its sides draw apart (theory 7)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.subgen.subgen4 import SubGen4
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, Figure, new_figure
from kvfloor.experiments.drawing.unbiased import draw_chance, finish_bias
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.measured import Estimated
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.rows import grouped
from kvfloor.experiments.judging.unbiased import Means, judge_means, mean_errors

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


def grid(scale: Scale) -> list[Cell]:
    """Return caches of one slot, and of three, each drawn anew many times."""
    return [_cell("subgen4", slots, 3 if scale == "quick" else 80) for slots in (1, 3)]


def _cell(cache: str, slots: int, blocks: int) -> Cell:
    """Return the parameters of one block of caches."""
    return {"cache": cache, "slots": slots, "blocks": blocks}


SAME_SLOTS = [_cell(f"{__name__}:SameSlots", 1, 2)]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Estimated:
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
    means = [_means(rows) for rows in grouped(records, "slots").values()]
    return judge_means((DENOMINATOR, NUMERATOR), means, FALSE_ALARM)


def _means(rows: Sequence[Record]) -> Means:
    """Return the mean errors of all blocks, and what chance allows them.

    Caches are independent. One of several slots averages over pairs of slots, which strays no farther, in
    mean square and at most, than one pair. The false alarm is shared by two sums, the queries, and at most
    two numbers of slots.
    """
    return mean_errors(rows, CACHES, FALSE_ALARM / (2 * 2 * len(QUERIES)))


def draw(records: Sequence[Record]) -> Figure:
    """Draw both errors over the query, within what chance allows."""
    figure, panels = new_figure(2, width=4.6, height=3.2)
    titles = ("a   Denominator: (mean − τ) / τ", "b   Numerator: (mean − z) / Σ w |v₁ v₂|")
    for part, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        by_slots = sorted(grouped(records, "slots").items())
        for (slots, rows), marker, colour in zip(by_slots, "os", COLOURS, strict=False):
            errors, allowed = _means(rows)[part]
            if slots == 1:
                draw_chance(axes, QUERIES, allowed)
            axes.plot(QUERIES, errors, marker + "-", color=colour, markersize=4, linewidth=0.9, markerfacecolor="none",
                      label=f"{CACHES * len(rows):,} caches, t = s = {slots}")  # fmt: skip
        finish_bias(axes, "query (keys of both sides near −1 and 1)", title)
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
    checks=(DENOMINATOR, NUMERATOR),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("equal slots reused for both sides: denominator", DENOMINATOR, SAME_SLOTS),
        Control("equal slots reused for both sides: numerator", NUMERATOR, SAME_SLOTS),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
