"""How many layers pointer chasing takes with how much cache: proved bounds, a conjecture, a construction (theory 19)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Coins
from kvfloor.attention.softmax import softmax_attention
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.depth import cells as small
from kvfloor.experiments.claims.depth.windows import reach
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import grouped, series, where
from kvfloor.reductions.bounds.balls import log2_hamming_ball
from kvfloor.reductions.bounds.certificates import PREFIX_BITS
from kvfloor.reductions.checks import Floats
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.pointer_chasing import PointerChasing
from kvfloor.reductions.weights.doubling import Doubling, Head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOUBLES = "the hand-built transformer answers k hops in floor(log2 k) + 1 layers"
CARRIES = "its caches carry more than the answers certify"
KEPT = "eviction that follows pointers keeps its share of answers, whatever k; oblivious eviction loses it at every hop"
CONE = "windows of s tokens reach L (s - 1) tokens back, no farther"
CELLS = "small cases: the scheme answers every function, in no fewer layers than its bits take"
HALF = "no small case takes less than half of the conjectured product"
FORCED = "where any question may come, counting forces 7/8 of the product up to tokens of log2 n bits"

NODES, DIM = 61, 64
SIGNIFICANCE_BITS = 40
FALSE_ALARM = 1e-6
SHARES = (0.25, 0.5, 0.75)


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return the transformer over k, evicted caches, windows, and all small cases."""
    hops = (1, 2, 3, 5, 8, 13, 16, 21, 31, 32, 45, 60) if scale == "quick" else tuple(range(1, 61))
    most = 4 if scale == "quick" else 5
    evicted = cells(
        part=["evicted"], policy=["oblivious", "following"], hops=[1, 3, 7, 31], kept_share=SHARES
    )
    windows = [{"part": "window", "window": s, "layers": layers, "tokens": 3 * (s - 1) + 3}
               for s in (1, 2, 3, 4) for layers in (1, 2, 3)]  # fmt: skip
    tiny = [{"part": "cells", "nodes": n, "hops": k, "cells": s, "bits": b}
            for n in range(2, most + 1) for k in range(1, n + 1) for s in range(1, n + 1) for b in (1, 2)]  # fmt: skip
    forced = [{"part": "forced", "nodes": 2**log, "share_of_log": 1.0} for log in range(4, 21)]
    return [*({"part": "doubling", "hops": k} for k in hops), *evicted, *windows, *tiny, *forced]


class Measured(TypedDict):
    """What a part measured: a transformer its errors, a window its reach, a small case its layers."""

    errors: NotRequired[int]
    layers: NotRequired[int]
    wire_bits: NotRequired[int]
    certified_bits: NotRequired[float]
    least_right: NotRequired[float]
    most_right: NotRequired[float]
    reach: NotRequired[int]
    answered: NotRequired[bool]
    bound: NotRequired[int]
    product: NotRequired[int]
    forced_share: NotRequired[float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Do one part."""
    part = parameters["part"]
    if part == "window":
        window = parameters.get("really", parameters["window"])
        return {"reach": reach(parameters["tokens"], window, parameters["layers"], randomness.keys())}
    if part == "forced":
        n = parameters["nodes"]
        return {"forced_share": small.forced_share(n, parameters["share_of_log"] * math.log2(n))}
    if part == "cells":
        n, k, s, b = (parameters[name] for name in ("nodes", "hops", "cells", "bits"))
        return {
            "layers": small.layers_scheduled(n, s, b) + parameters.get("layers_more", 0),
            "answered": small.answers_all(n, k, s, b),
            "bound": small.layers_bound(n, k, s, b),
            "product": small.layers_product(n, k, s, b) * parameters.get("times", 1),
        }
    return _chase(parameters, randomness)


def _chase(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Fill the caches of the transformer, send what is kept of them, and ask every node."""
    problem = PointerChasing(NODES, parameters["hops"])
    rows = np.linalg.qr(randomness.keys().standard_normal((DIM, DIM)))[0][:NODES]
    model = Doubling(Keys(rows.astype(np.float32), bound=1e-5), parameters.get("built_for", problem.hops))
    f = problem.sample(randomness.secret())
    walks: list[tuple[Head, Floats, Floats]] = []
    held: Floats = model.table(f)
    for layer in range(model.layers):
        if walk := model.walk(layer):
            walks.append((walk, held @ walk.key.T, held @ walk.value.T))
        if jump := model.jump(layer):
            held = held + _attend(jump, held, held @ jump.key.T, held @ jump.value.T)
    kept = _kept(parameters, model, f, len(walks), randomness)
    coins = Coins(randomness.coins_seed())
    payloads = []
    for (_, keys, values), tokens in zip(walks, kept, strict=True):
        cache = resolve("dense:dtype=bfloat16").make(DIM, DIM, coins)
        cache.append(keys[tokens], values[tokens])
        payloads.append(cache.to_bytes())
    asked: Floats = model.questions(problem.reconstruction(np.arange(1)))
    for (walk, *_), payload in zip(walks, payloads, strict=True):
        answers = (
            resolve("dense:dtype=bfloat16").restore(payload, DIM, DIM, coins).attend(asked @ walk.query.T)
        )
        asked = asked + answers @ walk.out.T
    errors = int((model.decode(asked) != problem.answer(f, np.arange(NODES))).sum())
    proved = problem.capacity_bits - log2_hamming_ball(NODES, errors, NODES) - SIGNIFICANCE_BITS - PREFIX_BITS
    least, most = _expected(parameters, len(walks))
    wire_bits = 8 * sum(map(len, payloads)) if parameters.get("counted", True) else 0
    return {"errors": errors, "layers": model.layers, "wire_bits": wire_bits, "certified_bits": max(0.0, proved),
            "least_right": least, "most_right": most}  # fmt: skip


def _attend(head: Head, asking: Floats, keys: Floats, values: Floats) -> Floats:
    """Return what a head adds to rows."""
    added: Floats = softmax_attention(asking @ head.query.T, keys, values) @ head.out.T
    return added


def _kept(
    parameters: dict[str, Any], model: Doubling, f: Any, walks: int, randomness: Randomness
) -> list[np.ndarray[Any, Any]]:
    """Return which nodes stay in the cache of each layer that questions walk in: s of them, in order.

    Oblivious: drawn for each layer before f is looked at. Following: those to which the kept ones of the layer before lead.
    """
    s = round(parameters.get("kept_share", 1.0) * NODES)
    rng = randomness.positions()
    if parameters.get("policy") != "following":
        return [np.sort(rng.choice(NODES, s, replace=False)) for _ in range(walks)]
    sets, at, power = [], rng.choice(NODES, s, replace=False), f
    for layer in range(model.layers):
        if model.hops >> layer & 1:
            sets.append(np.sort(at))
            at = power[at]
        power = power[power]
    return sets


def _expected(parameters: dict[str, Any], walks: int) -> tuple[float, float]:
    """Return between which shares of right answers a policy must come, but for the false alarm.

    A question that leaves the kept nodes ends at a convex combination of addresses, right by chance at most; one of n is
    allowed for. Of X questions in the kept nodes of a layer, those in the next ones of an oblivious policy are
    hypergeometric (Hoeffding).
    """
    share = round(parameters.get("kept_share", 1.0) * NODES) / NODES
    if parameters.get("policy") != "oblivious" or share == 1:
        return share, share + (share < 1) * _luck(1 - share)
    low = high = share
    for _ in range(walks - 1):
        off = math.sqrt(math.log(2 * walks / FALSE_ALARM) / (2 * NODES))
        low, high = (
            max(0.0, share * low - math.sqrt(low) * off),
            min(1.0, share * high + math.sqrt(high) * off),
        )
    return low, high + _luck(1 - low)


def _luck(share: float) -> float:
    """Return how large a share of all answers may be right by chance when so many questions are lost."""
    log, mean = math.log(1 / FALSE_ALARM), share
    return (mean + math.sqrt(2 * mean * log + log**2 / 9) + log / 3) / NODES


def judge(records: Sequence[Record]) -> list[Check]:
    """Check each part on its rows."""
    checks = []
    chased = [r for r in records if r.parameters["part"] in ("doubling", "evicted")]
    if deep := where(records, part="doubling"):
        errors = sum(r.measured["errors"] for r in deep)
        layers = all(r.measured["layers"] == r.parameters["hops"].bit_length() for r in deep)
        checks.append(Check(DOUBLES, errors == 0 and layers, {"transformers": len(deep), "errors": errors}))
    if chased:
        slack = min(r.measured["wire_bits"] - r.measured["certified_bits"] for r in chased)
        most = max(r.measured["certified_bits"] for r in chased)
        checks.append(
            Check(
                CARRIES,
                slack > 0,
                {"plays": len(chased), "least_slack_bits": slack, "most_certified_bits": most},
            )
        )
    if evicted := where(records, part="evicted"):
        inside = all(r.measured["least_right"] <= _right(r) <= r.measured["most_right"] for r in evicted)
        shown = {
            f"{r.parameters['policy']}, k = {r.parameters['hops']}, kept {r.parameters['kept_share']:g}": _right(
                r
            )
            for r in evicted
        }
        checks.append(Check(KEPT, inside, {"answered": shown, "false_alarm": FALSE_ALARM}))
    if windows := where(records, part="window"):
        exact = [
            r.measured["reach"] == r.parameters["layers"] * (r.parameters["window"] - 1) for r in windows
        ]
        checks.append(
            Check(CONE, all(exact), {"windows": len(windows), "otherwise": len(windows) - sum(exact)})
        )
    if tiny := where(records, part="cells"):
        rows = [r.measured for r in tiny]
        sound = all(row["answered"] and row["layers"] >= row["bound"] for row in rows)
        checks.append(
            Check(
                CELLS,
                sound,
                {"cases": len(rows), "met_with_equality": sum(r["layers"] == r["bound"] for r in rows)},
            )
        )
        below = [row for row in rows if row["layers"] < row["product"]]
        ratio = max(row["product"] / row["layers"] for row in rows)
        evidence = {
            "cases": len(rows),
            "cases_below_the_product": len(below),
            "largest_product_over_layers": ratio,
        }
        checks.append(Check(HALF, ratio < 2, evidence))
    if forced := where(records, part="forced"):
        least = min(r.measured["forced_share"] for r in forced)
        checks.append(Check(FORCED, least >= 7 / 8, {"sizes": len(forced), "least_share": least}))
    return checks


def _right(record: Record) -> float:
    """Return the share of questions answered rightly."""
    return 1 - float(record.measured["errors"]) / NODES


def draw(records: Sequence[Record]) -> "Figure":
    """Draw reach over layers, what eviction costs, and the small cases."""
    figure, (left, middle, right) = new_figure(3, width=3.9, height=3.9)
    _draw_reach(left, records)
    _draw_eviction(middle, where(records, part="evicted"))
    _draw_cells(right, where(records, part="cells"))
    return figure


def _draw_reach(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw the hops that so many layers answer, with the whole cache and with windows."""
    layers = np.arange(1, 7)
    axes.plot(layers, 2.0**layers - 1, color=COLOURS[0], linewidth=1, label="whole cache: 2^L − 1")
    hops, depth = series(where(records, part="doubling"), "hops", "layers")
    axes.plot(depth, hops, "o", color=COLOURS[0], markerfacecolor="none", label="hand-built, answers all")
    for (s, rows), marker, colour in zip(
        grouped(where(records, part="window"), "window").items(), "xsv^", COLOURS[1:], strict=False
    ):
        if s > 1:
            depth, reached = series(rows, "layers", "reach")
            axes.plot(layers, layers * (s - 1), "--", color=colour, linewidth=0.8)
            axes.plot(depth, reached, marker, color=colour, label=f"windows of {s}: reach")
    axes.set(
        yscale="log",
        xlabel="layers L",
        ylabel="hops k, or tokens back",
        title="a   A whole cache doubles reach",
    )
    axes.legend(loc="upper left", fontsize=7)


def _draw_eviction(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw the questions that are answered over the share that is kept."""
    ramp = np.linspace(0, 1, 50)
    for hops, marker, colour in zip((1, 3, 7, 31), "osv^", COLOURS, strict=False):
        walks = hops.bit_count()
        axes.plot(ramp, ramp**walks, color=colour, linewidth=0.8)
        for policy, face in (("oblivious", "none"), ("following", colour)):
            kept, right = series(where(records, hops=hops, policy=policy), "kept_share", _right)
            axes.plot(
                kept,
                right,
                marker,
                color=colour,
                markerfacecolor=face,
                label=f"k = {hops}" if face == "none" else "_",
            )
    axes.plot([], [], "o", color="#777777", label="filled: following pointers")
    axes.set(xlabel="share s/n of tokens kept in every layer", ylabel="questions answered", xlim=(0, 1), ylim=(-0.02, 1.02),
             title="b   Oblivious eviction loses every hop")  # fmt: skip
    axes.legend(loc="upper left", fontsize=7)


def _draw_cells(axes: "Axes", records: Sequence[Record]) -> None:
    """Draw the layers of the scheme over the conjectured product, and the proved bound."""
    for rows, marker, colour, label, column in (
        (records, "o", COLOURS[0], "scheme: layers that answer", "layers"),
        (records, "x", COLOURS[1], "proved: layers that bits take", "bound"),
    ):
        points = sorted({(r.measured["product"], r.measured[column]) for r in rows})
        axes.plot(*zip(*points, strict=True), marker, color=colour, markerfacecolor="none", label=label)
    ramp = np.array([0, 9])
    axes.plot(ramp, ramp, color=THEORY, linewidth=0.8, label="the product itself")
    axes.plot(ramp, ramp / 2, ":", color=THEORY, linewidth=0.8, label="half of it")
    axes.set(xlabel="conjectured ⌈k/s⌉ ⌈log2 n / b⌉", ylabel="layers L", xlim=(0, 9), ylim=(0, 9),
             title="c   All functions of up to 4 nodes")  # fmt: skip
    axes.legend(loc="upper left", fontsize=7)


CLAIM = Claim(
    id="depth-against-cache",
    title="A whole cache doubles reach in every layer; an evicted one pays in layers or in answers",
    source="Theory 19, ours; bounds and conjecture arXiv:2604.17935, our reading",
    statement=(
        "A hand-built transformer answers k hops in ⌊log2 k⌋ + 1 layers. L layers of s cells of b bits answer all questions "
        "only if L s b ≥ log2 of the iterates, L b ≥ log2 n; windows of s reach L (s − 1) tokens. The product "
        "⌈k/s⌉⌈log2 n/b⌉ is a conjecture for a single chain; where any question may come after the caches are full, counting "
        "forces 7/8 of it up to b = log2 n. Beyond its range small cases are below it, none below its half."
    ),
    theory="19",
    checks=(DOUBLES, CARRIES, KEPT, CONE, CELLS, HALF, FORCED),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("a transformer built for one hop less", DOUBLES, [{"part": "doubling", "hops": 13, "built_for": 12}]),
        Control("caches that are not counted", CARRIES, [{"part": "doubling", "hops": 13, "counted": False}]),
        Control("oblivious eviction that is said to follow", KEPT,
                [{"part": "evicted", "policy": "claimed to follow", "hops": 31, "kept_share": 0.5}]),
        Control("a window one wider than is said", CONE, [{"part": "window", "window": 3, "really": 4, "layers": 2, "tokens": 9}]),
        Control("a scheme with a layer less", CELLS,
                [{"part": "cells", "nodes": 3, "hops": 1, "cells": 3, "bits": 1, "layers_more": -1}]),
        Control("the product twice over", HALF,
                [{"part": "cells", "nodes": 3, "hops": 3, "cells": 1, "bits": 1, "times": 2}]),
        Control("tokens of four times log2 n bits", FORCED, [{"part": "forced", "nodes": 4096, "share_of_log": 4.0}]),
    ),
)  # fmt: skip

if __name__ == "__main__":
    run_alone(CLAIM)
