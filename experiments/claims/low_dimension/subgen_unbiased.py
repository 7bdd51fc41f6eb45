"""SubGen estimates numerator and denominator of attention without bias (theory 4)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.subgen.reservoirs import KeySlots, ValueSlots
from kvfloor.attention.caches.subgen.subgen import SubGen
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, Figure, new_figure
from kvfloor.experiments.drawing.unbiased import draw_chance, finish_bias
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.numpy_caches import write
from kvfloor.experiments.game.measured import Estimated
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale
from kvfloor.experiments.judging.unbiased import Means, judge_means, mean_errors
from kvfloor.reductions.encodings.protocol import Tokens

DENOMINATOR = "the denominator's estimate has τ as its mean"
NUMERATOR = "the numerator's estimate has z as its mean"

FALSE_ALARM = 1e-6
CENTRES = (-1.0, 0.0, 1.0)
MEMBERS = 8  # keys of each cluster
DELTA = 0.15
QUERY_NORM = 5.0


class LateKeySlots(KeySlots):
    """Replaces with probability 1/(n_a + 1) where 1/n_a is right."""

    @staticmethod
    def _next_rank(ranks: NDArray[np.int64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        return KeySlots._next_rank(ranks + 1, uniforms) - 1


class UniformValueSlots(ValueSlots):
    """Draws tokens uniformly."""

    @staticmethod
    def _weights(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.full(len(values), np.square(values, dtype=np.float64).sum() / len(values))


class BiasedReservoir(SubGen):
    """SubGen whose reservoirs of keys are off by one."""

    key_sampling: ClassVar[type[KeySlots]] = LateKeySlots


class UniformValues(SubGen):
    """SubGen that draws value slots uniformly, with the right mu, and weighs them as if by |v|^2."""

    value_sampling: ClassVar[type[ValueSlots]] = UniformValueSlots


def grid(scale: Scale) -> list[Cell]:
    """Return one cache with many slots: each is a draw of its own."""
    return [_cell("subgen", 1 << (16 if scale == "quick" else 20))]


def _cell(cache: str, slots: int = 1 << 16) -> Cell:
    """Return the parameters of one cache."""
    return {"cache": cache, "slots": slots, "queries": 40}


def measure(parameters: dict[str, Any], randomness: Randomness) -> Estimated:
    """Return estimates and exact sums over queries, and what a slot's estimate may stray from its mean.

    The first key of each cluster, which a reservoir could favour, is an end of it. Sums are relative to tau
    and, for the numerator, to |x|_2 |v|_2, x_l = e^<q,k_l>.
    """
    rng, slots = randomness.keys(), parameters["slots"]
    offsets = np.concatenate([[0.0], rng.uniform(0.1, 0.14, MEMBERS - 1)])
    keys = (np.array(CENTRES) + offsets[:, None]).reshape(-1, 1).astype(np.float32)
    values = rng.standard_normal((len(keys), 1)).astype(np.float32)
    queries = np.linspace(-QUERY_NORM, QUERY_NORM, parameters["queries"])[:, None]
    spec = resolve(f"{parameters['cache']}:delta={DELTA},cluster_slots={slots},value_slots={slots}")
    coins = Coins(randomness.coins_seed())
    cache = spec.restore(write(spec.make(1, 1, coins), Tokens(keys, values)), 1, 1, coins)
    assert isinstance(cache, SubGen)
    (numerators, up), (denominators, down) = cache.estimates(queries)

    weights, column = np.exp(queries @ keys.T.astype(np.float64)), values[:, 0].astype(np.float64)
    tau, z = weights.sum(axis=1), weights @ column
    clusters = weights.reshape(len(queries), MEMBERS, len(CENTRES))
    scale = np.linalg.norm(weights, axis=1) * np.linalg.norm(column)
    single = weights * (column @ column) / column  # what one slot with token l makes of z
    shares = column**2 / (column @ column)
    return {
        "tau_error": ((denominators * np.exp(down) - tau) / tau).tolist(),
        "tau_variance": (MEMBERS**2 * clusters.var(axis=1).sum(axis=1) / tau**2).tolist(),
        "tau_largest": (MEMBERS * np.ptp(clusters, axis=1).max(axis=1) / tau).tolist(),
        "z_error": ((numerators[:, 0] * np.exp(up) - z) / scale).tolist(),
        "z_variance": (((single - z[:, None]) ** 2 @ shares) / scale**2).tolist(),
        "z_largest": (np.abs(single - z[:, None]).max(axis=1) / scale).tolist(),
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Compare every estimate with its exact value, at a false alarm that all comparisons share."""
    means = [_means([r], 2 * len(records)) for r in records]
    return judge_means((DENOMINATOR, NUMERATOR), means, FALSE_ALARM)


def _means(rows: Sequence[Record], series: int) -> Means:
    """Return errors and what they may be; the false alarm is shared by all queries of so many series."""
    queries, slots = rows[0].parameters["queries"], rows[0].parameters["slots"]
    return mean_errors(rows, slots, FALSE_ALARM / (series * queries))


def draw(records: Sequence[Record]) -> Figure:
    """Draw both errors over the query, within what chance allows."""
    figure, panels = new_figure(2, width=4.6, height=3.2)
    slots, count = records[0].parameters["slots"], records[0].parameters["queries"]
    queries = np.linspace(-QUERY_NORM, QUERY_NORM, count)
    titles = ("a   Denominator: (estimate − τ) / τ", "b   Numerator: (estimate − z) / |x|₂ |v|₂")
    for axes, (errors, allowed), title in zip(panels, _means(records, 2), titles, strict=True):
        draw_chance(axes, queries, allowed)
        axes.plot(queries, errors, "o-", color=COLOURS[0], markersize=3, label=f"mean of {slots:,} slots")
        finish_bias(axes, "query (keys near −1, 0 and 1)", title)
        axes.legend(loc="upper center", ncols=2)
    return figure


CLAIM = Claim(
    id="subgen-unbiased",
    title="SubGen estimates both sums of attention without bias",
    source="SubGen (arXiv:2402.06082)",
    statement=(
        "Over the cache's coins, given the stream, the estimates of τ = Σ e^⟨q,k⟩ and z = Σ e^⟨q,k⟩ v have "
        "exactly these means, whatever was sent across the wire in between."
    ),
    theory="4",
    checks=(DENOMINATOR, NUMERATOR),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("reservoirs off by one", DENOMINATOR, [_cell(f"{__name__}:BiasedReservoir")]),
        Control("value slots drawn uniformly", NUMERATOR, [_cell(f"{__name__}:UniformValues")]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
