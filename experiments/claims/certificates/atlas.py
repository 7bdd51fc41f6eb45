"""Every floor of the atlas that can be played is reproduced by a play (theory 1, 3, 4)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import CERTIFICATE_BITS, HEADER_BITS
from kvfloor.reductions.atlas.arrows import REDUCTIONS
from kvfloor.reductions.atlas.graph import atlas, floor_bits, push
from kvfloor.reductions.atlas.into_softmax import FAILURE_PROBABILITY
from kvfloor.reductions.atlas.nodes import INDEX, SOFTMAX, TENSOR_FOUR, WINDOW
from kvfloor.reductions.atlas.reduction import Parts, Reduction, Shape
from kvfloor.reductions.problems.index import Index

PLAYED = "an error-free play certifies exactly the floor of its path"
NORM = "the arrow asks for the query norm that is played"
TIGHT = "packed values stand less than a header above their floor"
WHOLE = "every model has a floor"

ETAS = (0.0, 0.3)
KISSING_KEYS = "values, kissing keys"
INDEX_WIDTH, ARROW_WIDTH, HUB_WIDTH, MODEL_WIDTH = 0.9, 1.4, 0.9, 1.3
EXAMPLE = Shape(64, 64, 16, parts=Parts(caches=4, window=32, last_map=64))


def grid(scale: Scale) -> list[Cell]:
    """Return every arrow that can be played, and the floors of all models at one shape."""
    sizes = (64,) if scale == "quick" else (64, 256, 1024)
    plays = [
        {"arrow": arrow.name, "cache": _exact_cache(arrow, tokens), "tokens": tokens, "dim": dim, "eta": eta}
        for arrow in REDUCTIONS
        if arrow.encoding is not None
        for dim in ((8, 24) if arrow.name == KISSING_KEYS else (64,))
        for tokens in sizes
        for eta in ETAS
    ]
    packed = cells(
        arrow=["values", "values, orthoplex keys"], cache="bitpack", tokens=sizes, dim=64, eta=ETAS
    )
    return [*plays, *packed, {"models": True}]


def _exact_cache(arrow: Reduction, tokens: int) -> str:
    """Return a cache that answers the arrow's model exactly."""
    if arrow.target == WINDOW:
        return f"unmasked-window:window_tokens={tokens // 2},dtype=float64"
    if arrow.target == TENSOR_FOUR:
        return "dense:dtype=float64+dense:dtype=float64"
    return "dense:dtype=float64"


_SMALL = {"cache": "dense:dtype=float64", "tokens": 64, "dim": 64}
GREEDY = cells(arrow=["values", "keys"], **_SMALL, eta=0.0, promised_bits=1)
BLUNT = cells(arrow=["values", "values, precision"], **_SMALL, eta=0.3, norm_share=1 / 10)
WASTEFUL = cells(arrow="values", **_SMALL | {"cache": "bitpack"}, really="dense:dtype=float32", eta=0.0)


class Played(TypedDict):
    """What an arrow promises, and what its instance certifies in a play."""

    floor_bits: float
    certified_bits: float
    query_norm: float
    played_norm: float
    errors: int
    wire_bits: int


class Pushed(TypedDict):
    """The largest floor of every model."""

    floor_bits: dict[str, float]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Played | Pushed:
    """Push the bound along an arrow and play its instance, or push it to every model."""
    if "models" in parameters:
        return _models(parameters.get("without_source"))
    arrow = next(r for r in REDUCTIONS if r.name == parameters["arrow"])
    tokens, dim, eta = (parameters[name] for name in ("tokens", "dim", "eta"))
    shape = Shape(tokens, dim, EXAMPLE.value_dim, eta, Parts(window=tokens // 2))
    floor = push((_promising(arrow, parameters.get("promised_bits", 0)),), shape)
    assert floor is not None
    assert arrow.encoding is not None
    encoding: Any = arrow.encoding(shape, randomness.keys())
    if "norm_share" in parameters:
        norm = parameters["norm_share"] * encoding.query_norm
        encoding = replace(encoding, reading=replace(encoding.reading, query_norm=norm))
    cache = parameters.get("really", parameters["cache"])
    transcript = play(encoding, cache, randomness, eta=shape.eta)
    return {
        "floor_bits": floor.bits,
        "certified_bits": transcript.certificate().certified_bits,
        "query_norm": floor.instance.query_norm,
        "played_norm": encoding.query_norm,
        "errors": transcript.errors,
        "wire_bits": transcript.wire_bits,
    }


def _promising(arrow: Reduction, bits: int) -> Reduction:
    """Return an arrow whose map promises so many more bits for each token."""

    def down(shape: Shape) -> Index | Shape | None:
        fitted = arrow.down(shape)
        if isinstance(fitted, Index):
            return replace(fitted, length=fitted.length + bits * shape.tokens)
        return fitted

    return replace(arrow, down=down)


def _models(without_source: str | None) -> Pushed:
    """Return the largest floor of every model of the package at the example's shape."""
    models = [node for node in atlas() if node != INDEX]
    graph = atlas([r for r in REDUCTIONS if r.source != without_source])
    return {"floor_bits": {model: floor_bits(model, EXAMPLE) if model in graph else 0.0 for model in models}}


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the plays, the packed caches and the reach of the atlas on the rows that bear on each."""
    checks = []
    plays = [(r.parameters, r.measured) for r in records if r.parameters.get("cache", "").startswith("dense")]
    if plays:
        off = [p for p, row in plays if row["errors"] or row["certified_bits"] != row["floor_bits"]]
        chance = len(plays) * FAILURE_PROBABILITY
        checks.append(Check(PLAYED, not off, {"plays": len(plays), "otherwise": off, "false_alarm": chance}))
        sharper = [p for p, row in plays if abs(row["played_norm"] / row["query_norm"] - 1) > 1e-12]
        checks.append(Check(NORM, not sharper, {"plays": len(plays), "otherwise": sharper}))
    packed = [r.measured for r in records if r.parameters.get("cache") == "bitpack"]
    if packed:
        above = [row["wire_bits"] - row["floor_bits"] for row in packed]
        lean = all(0 < bits <= HEADER_BITS + CERTIFICATE_BITS for bits in above)
        checks.append(Check(TIGHT, lean, {"bits_above_the_floor": above}))
    models = [r.measured["floor_bits"] for r in records if "models" in r.parameters]
    if models:
        without = [model for row in models for model, bits in row.items() if not bits > 0]
        checks.append(Check(WHOLE, not without, {"floor_bits": models[0], "without": without}))
    return checks


def draw(records: Sequence[Record]) -> Figure:
    """Draw INDEX, the arrows and the models in layers, with what was played."""
    figure, axes = new_figure(width=10.4, height=5.6)
    errors = {r.parameters["arrow"]: r.measured["errors"] for r in records if "arrow" in r.parameters}
    (floors,) = (r.measured["floor_bits"] for r in records if "models" in r.parameters)
    places = _places(sorted(floors))
    for arrow in REDUCTIONS:
        x, y = places[arrow.name]
        (from_x, from_y), (to_x, to_y) = places[arrow.source], places[arrow.target]
        colour = COLOURS[2] if arrow.name in errors else COLOURS[6]
        line = "-" if arrow.name in errors else (0, (4, 2))
        told = "played" if arrow.name in errors else "from theory"
        text = f"{arrow.name}\n{arrow.about.symbols}\ntheory {arrow.about.theory}, {told}"
        _box(axes, (x, y), ARROW_WIDTH, text, edgecolor=colour, linestyle=line)
        half = (INDEX_WIDTH if arrow.source == INDEX else HUB_WIDTH) / 2
        _arrow(axes, (from_x + half, from_y), (x - ARROW_WIDTH / 2, y), colour, line)
        half = (HUB_WIDTH if arrow.target == SOFTMAX else MODEL_WIDTH) / 2
        _arrow(axes, (x + ARROW_WIDTH / 2, y), (to_x - half, to_y), colour, line)
    text = "INDEX\nN symbols of q\n\nN log₂ q − 104\nbits"
    _box(axes, places[INDEX], INDEX_WIDTH, text, 1.3, edgecolor=COLOURS[1], linewidth=2.0)
    for model, bits in sorted(floors.items()):
        name = (
            model.replace(", ", ",\n").replace("softmax ", "softmax\n").replace("regressive ", "regressive\n")
        )
        width = HUB_WIDTH if model == SOFTMAX else MODEL_WIDTH
        text = f"{name}\n≥ {bits:,.0f} bits"
        _box(axes, places[model], width, text, edgecolor=COLOURS[0], linewidth=2.0)
    shape = EXAMPLE
    axes.set_title(
        f"Floors at n = {shape.tokens}, d = {shape.dim}, d_v = {shape.value_dim}, η = {shape.eta:g}, W = {shape.parts.window}, "
        f"{shape.parts.caches} heads: the largest of all paths"
    )
    rows = [y for _, y in places.values()]
    axes.set(xlim=(-0.5, 7.3), ylim=(min(rows) - 0.5, max(rows) + 0.5))
    axes.axis("off")
    return figure


def _places(models: list[str]) -> dict[str, tuple[float, float]]:
    """Return the middle of every node and arrow: four columns, a row for each arrow from INDEX."""
    first = [r for r in REDUCTIONS if r.source == INDEX]
    hub = [r for r in first if r.target == SOFTMAX]
    beyond = [r for r in REDUCTIONS if r.source == SOFTMAX]
    places = {
        r.name: (1.55, -float(row)) for row, r in enumerate([*hub, *(r for r in first if r not in hub)])
    }
    middle = -(len(hub) - 1) / 2
    places |= {SOFTMAX: (3.3, middle), INDEX: (0.0, -(len(first) - 1) / 2)}
    step = (len(hub) - 1) / max(len(beyond) - 1, 1)
    places |= {r.name: (4.85, -row * step) for row, r in enumerate(beyond)}
    last = {r.target: places[r.name][1] for r in [*first, *beyond] if r.target != SOFTMAX}
    return places | {model: (6.5, last[model]) for model in models if model in last}


def _box(
    axes: Axes, middle: tuple[float, float], width: float, text: str, height: float = 0.74, **look: Any
) -> None:
    """Draw a labelled box round its middle."""
    from matplotlib.patches import FancyBboxPatch

    corner = (middle[0] - width / 2, middle[1] - height / 2)
    look = {"facecolor": "white", "linewidth": 1.1, "linestyle": "-", **look}
    axes.add_patch(FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=0.08", **look))
    axes.text(*middle, text, ha="center", va="center", fontsize=8, linespacing=1.25)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, line: Any) -> None:
    """Draw an arrow between two boxes."""
    look = {
        "arrowstyle": "-|>",
        "color": colour,
        "linewidth": 1.0,
        "linestyle": line,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", end, start, arrowprops=look)


CLAIM = Claim(
    id="atlas",
    title="INDEX's bound, pushed along the reductions, is what plays certify",
    source="Haris and Onak; Chen et al.; the atlas is ours",
    statement=(
        "Each reduction maps a model's parameters to those of the INDEX instance inside it and back to the query "
        "norm that it asks for; wherever its encoding exists, an error-free play certifies exactly that floor."
    ),
    theory="1, 3, 4, 5, 7, 8",
    checks=(PLAYED, NORM, TIGHT, WHOLE),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("an arrow that promises one bit per token too much", PLAYED, GREEDY),
        Control("plays at a tenth of the arrow's query norm", PLAYED, BLUNT),
        Control("another query norm than the arrow's", NORM, BLUNT),
        Control("a float32 cache as packing", TIGHT, WASTEFUL),
        Control("no arrow leaves softmax attention", WHOLE, [{"models": True, "without_source": SOFTMAX}]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
