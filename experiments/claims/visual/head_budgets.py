"""Unequal budgets help where heads differ, and cannot help on the hard instance (theory 8)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kvfloor.attention.caches.composed.head_budgets import attention_variance, classify_heads, head_budgets
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Decoded, decoded
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import accuracy, transcript
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.encodings.streams.heads import MultiHeadEncoding
from kvfloor.reductions.encodings.streams.stretched import StretchedEncoding
from kvfloor.reductions.encodings.streams.visual import halving_pyramid, map_tokens
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys

CLASSIFIED = "attention variance tells contextual heads from structural ones"
EVICTED = "half of the evicted bits are wrong, no others, for any budgets"
HELPS = "head-aware budgets err less where heads differ"
USELESS = "no split of the budget helps on the hard instance"
FRONTIER = "no budgets are below the frontier"

HEADS, CONTEXTUAL, CONTENTS = 4, 2, 8
DIM, VALUE_DIM = 64, 16
FALSE_ALARM = 1e-6


def grid(scale: Scale) -> list[Cell]:
    """Return both streams over the budget of the contextual heads, at one total."""
    side = 32 if scale == "quick" else 64
    average = (sum(map_tokens(halving_pyramid(side))[:-1]) + 1) // 2
    shares = np.linspace(0.1, 1.9, 10 if scale == "quick" else 28)
    budgets = sorted({1, 3, 5, CONTENTS + 1, average, *(int(share * average) for share in shares)})
    return cells(
        stream=["mixed", "hard"], side=side, average=average, contextual_tokens=budgets, rule="window"
    )


def _control(streams: Sequence[str], budgets: Sequence[int], **change: Any) -> list[Cell]:
    """Return a few plays on a small pyramid with something false about them."""
    plain = cells(stream=streams, side=32, average=171, contextual_tokens=budgets)
    return [{**cell, **change} for cell in plain]


def heads(stream: str, tokens: int, rng: np.random.Generator) -> list[Encoding]:
    """Return the heads of a stream: structural ones hold bits in every token, contextual ones in a few.

    A contextual head sees the same 8 tokens again and again, so that every query spreads alike over the
    stream.

    Parameters
    ----------
    stream : str
        "mixed" or "hard"; on the hard instance every head is structural.
    tokens : int
        Length n of the stream.
    rng : numpy.random.Generator
        Source of the keys.

    Returns
    -------
    list of Encoding
        Contextual heads first.
    """
    contextual = CONTEXTUAL if stream == "mixed" else 0
    few = [
        StretchedEncoding.build(Keys.drawn("gaussian", CONTENTS, DIM, rng), VALUE_DIM, tokens)
        for _ in range(contextual)
    ]
    many = [
        ValuesEncoding.build(Keys.drawn("gaussian", tokens, DIM, rng), VALUE_DIM)
        for _ in range(HEADS - contextual)
    ]
    return [*few, *many]


class Measured(Decoded):
    """A play, and which heads were taken for structural."""

    structural: list[bool]
    tokens: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Classify the heads on a calibration stream, share the budget out, and play."""
    tokens = sum(map_tokens(halving_pyramid(parameters["side"]))[:-1])
    rng = randomness.keys()
    structural = _classified(heads(parameters.get("calibration", "mixed"), tokens, rng))
    instances = heads(parameters.get("really", parameters["stream"]), tokens, rng)
    contextual = parameters["contextual_tokens"]
    average = parameters["average"]
    many = [contextual if not each else 2 * average - contextual for each in structural]
    if contextual <= average:
        many = head_budgets(structural, average, contextual)
    if parameters.get("exchanged"):
        many = many[::-1]
    if parameters.get("halved"):
        many = [budget // 2 for budget in many]
    cache = f"heads:kept_tokens={'/'.join(map(str, many))},rule=window"
    transcript = play(MultiHeadEncoding(tuple(instances)), parameters.get("cache", cache), randomness)
    return {**decoded(transcript), "structural": structural.tolist(), "tokens": tokens}


def _classified(instances: list[Encoding]) -> np.ndarray[Any, Any]:
    """Return which heads are structural, from keys and queries that no secret is in."""
    keys, queries = [], []
    for head in instances:
        encoded = head.encode(np.zeros(head.problem.length, head.problem.dtype))
        asked = head.queries(np.arange(head.problem.length))
        keys.append(encoded.arrays[0])
        queries.append(asked[np.arange(len(encoded)) % len(asked)])
    return classify_heads(attention_variance(np.hstack(queries), np.hstack(keys), len(instances)))


def lost_bits(stream: str, tokens: int, average: int, contextual_tokens: int) -> int:
    """Return how many hidden bits windows of these budgets evict; Bob's token takes one place.

    Parameters
    ----------
    stream : str
        "mixed" or "hard".
    tokens : int
        Length n of the stream.
    average : int
        Budget of a head on average.
    contextual_tokens : int
        Budget of either contextual head; the others share the rest.

    Returns
    -------
    int
        Bits.
    """
    kept = (contextual_tokens - 1, 2 * average - contextual_tokens - 1)
    held = (CONTENTS if stream == "mixed" else tokens, tokens)
    lost = (max(0, has - keeps) for has, keeps in zip(held, kept, strict=True))
    return sum(CONTEXTUAL * VALUE_DIM * tokens_lost for tokens_lost in lost)


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the classification, the errors against evicted bits, both comparisons, and the frontier."""
    expected = [False] * CONTEXTUAL + [True] * (HEADS - CONTEXTUAL)
    found = [r.measured["structural"] for r in records]
    checks = [Check(CLASSIFIED, all(each == expected for each in found), {"structural": found[0]})]
    # Hoeffding: the errors among bits that a cache does not hold are independent fair coins.
    beyond = [
        abs(r.measured["errors"] - _lost(r) / 2) / max(1e-9, _slack(_lost(r), len(records))) for r in records
    ]
    checks.append(Check(EVICTED, max(beyond) <= 1, {"largest_deviation_over_slack": max(beyond)}))
    for name, stream in ((HELPS, "mixed"), (USELESS, "hard")):
        rows = where(records, stream=stream)
        errors = {r.parameters["contextual_tokens"]: r.measured["errors"] for r in rows}
        average = records[0].parameters["average"]
        if average in errors and len(errors) > 1:
            slack = 2 * max(_slack(_lost(r), len(records)) for r in records)
            gains = {budget: errors[average] - wrong for budget, wrong in errors.items() if budget != average}
            helps = gains.get(CONTENTS + 1, 0) > slack
            passed = helps if stream == "mixed" else max(gains.values()) <= slack
            checks.append(Check(name, passed, {"fewer_errors_than_equal": gains, "slack": slack}))
    below = [r.parameters["contextual_tokens"] for r in records if transcript(r.measured).impossible()]
    checks.append(Check(FRONTIER, not below, {"plays": len(records), "below": below}))
    return checks


def _lost(record: Record) -> int:
    """Return the evicted bits of a row."""
    p = record.parameters
    return lost_bits(p["stream"], record.measured["tokens"], p["average"], p["contextual_tokens"])


def _slack(bits: int, rows: int) -> float:
    """Return how far errors among that many evicted bits may be from half, over all rows together."""
    return math.sqrt(bits * math.log(2 * rows / FALSE_ALARM) / 2)


def draw(records: Sequence[Record]) -> Figure:
    """Draw the bits decoded over the budget of the contextual heads, for both streams."""
    figure, axes = new_figure(width=6.2, height=3.9)
    average, tokens = records[0].parameters["average"], records[0].measured["tokens"]
    budgets = np.unique(np.geomspace(1, 2 * average - 1, 400).astype(int))
    looks = (
        ("mixed", "o", "two of four heads see 8 tokens again and again"),
        ("hard", "s", "hard instance: every head holds n tokens"),
    )
    for (stream, marker, label), colour in zip(looks, COLOURS, strict=False):
        rows = where(records, stream=stream)
        symbols = rows[0].measured["symbols"]
        predicted = [1 - lost_bits(stream, tokens, average, int(b)) / 2 / symbols for b in budgets]
        axes.plot(budgets, predicted, color=colour, linewidth=1, linestyle="-" if stream == "mixed" else "--")
        axes.plot(
            *series(rows, "contextual_tokens", accuracy),
            marker,
            color=colour,
            markerfacecolor="none",
            label=label,
        )
    marks = ((average, 0.86, "equal budgets"), (CONTENTS + 1, 0.77, "head-aware budgets"))
    for place, height, text in marks:
        axes.axvline(place, color="#777777", linewidth=0.8, linestyle=":")
        axes.annotate(
            text, (place, height), (-4, 0), textcoords="offset points", rotation=90, ha="right", fontsize=8
        )
    axes.plot([], [], color="#777777", linewidth=1, label="lines: half of the evicted bits are wrong")
    axes.set(xscale="log", ylim=(0.48, 1.03), xlabel="tokens kept for each contextual head, at the same total",
             ylabel="hidden bits decoded rightly",
             title=f"Windows over n = {tokens} tokens of the earlier maps, {average} a head on average")  # fmt: skip
    axes.legend(loc="lower left")
    return figure


CLAIM = Claim(
    id="head-budgets",
    title="Unequal budgets help where heads differ, and cannot help on the hard instance",
    source="Ours, on Qin et al. (HACK), arXiv:2504.09261, and Chen et al., arXiv:2503.14881",
    statement=(
        "Attention variance tells contextual heads, which see few tokens, from structural ones. Budgets that follow "
        "it err less than equal ones at the same total; on the hard instance, where every head holds n d_v bits, "
        "every split errs alike: half of the bits that it evicts."
    ),
    theory="8",
    checks=(CLASSIFIED, EVICTED, HELPS, USELESS, FRONTIER),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "heads classified on another stream",
            CLASSIFIED,
            _control(["mixed"], [CONTENTS + 1], calibration="hard"),
        ),
        Control("windows of half the stated size", EVICTED, _control(["mixed"], [CONTENTS + 1], halved=True)),
        Control("the budgets exchanged", HELPS, _control(["mixed"], [171, CONTENTS + 1], exchanged=True)),
        Control(
            "the mixed stream as the hard instance",
            USELESS,
            [{**cell, "really": "mixed"} for cell in _control(["hard"], [171, CONTENTS + 1])],
        ),
        Control("state outside the bytes", FRONTIER, _control(["hard"], [171], cache=LEAKING)),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
