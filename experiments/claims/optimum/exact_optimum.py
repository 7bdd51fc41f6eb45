"""The exact optimum of small cases: the least cache, and the best success of too few bits (theory 10)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.softmax import softmax_attention_reference
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.optimum.codebook import codebook, family_outputs
from kvfloor.experiments.drawing.panels import closed, draw_frontier, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.numpy_caches import NumpyCache
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import TYPICAL
from kvfloor.reductions.bounds.coverings import best_success, covering_errors, sphere_packing_success
from kvfloor.reductions.bounds.frontier import frontier_accuracy
from kvfloor.reductions.bounds.optimum import ROUNDING, distinguishability_graph, messages_needed
from kvfloor.reductions.encodings.values import ValuesEncoding, required_query_norm
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

ANSWERS = "the colour alone answers every query of every stream within η"
COUNT = "as many messages cross as the colouring has"
LEAST = "one message less is impossible wherever the bracket is closed"
NUMBERS = "the numbers of theory 10 come out"
GUARANTEED = "beyond Theorem B's query norm every stream needs a message of its own"
CODES = "no code beats sphere packing or the frontier, and the known optima come out"

ETAS = (0.1, 0.3, 0.5)
NORMS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
FIXED_KEYS_SEED = 0  # the keys of theory 10: their numbers are about these and no others
KNOWN = {(2, 2.0, 0.1): 58, (2, 2.0, 0.3): 43, (2, 2.0, 0.5): 19, (8, 20.0, 0.5): 64}
KNOWN_SUCCESS = {(2, 1): 3 / 4, (3, 1): 3 / 4, (7, 4): 7 / 8}


def grid(scale: Scale) -> list[Cell]:
    """Return families over keys, query norm and eta, and the lengths of INDEX with errors."""
    families = cells(keys="fixed", tokens=6, dim=2, eta=ETAS, query_norm=NORMS)
    families += cells(keys="fixed", tokens=6, dim=8, eta=(0.1, 0.5), query_norm=(*NORMS, 20.0))
    families += cells(keys="hexagon", tokens=6, dim=2, eta=0.5, query_norm=NORMS[:8])
    lengths = range(1, 9)
    if scale == "full":
        families += cells(keys="fixed", tokens=6, dim=8, eta=0.3, query_norm=NORMS)
        families += cells(keys="drawn", tokens=7, dim=[2, 4], eta=ETAS, query_norm=NORMS)
    return families + [{"length": length} for length in lengths]


def _small(**change: Any) -> list[Cell]:
    """Return a few families with something false about them."""
    return cells(keys="fixed", tokens=6, dim=2, eta=(0.3, 0.5), query_norm=2.0, **change)


class Ran(TypedDict):
    """A family of streams through a cache."""

    messages: int
    wrong_streams: int
    wire_bits: int


class Measured(Ran):
    """The bracket of the least cache, and that cache."""

    streams: int
    presented_messages: int
    lower_messages: int
    upper_messages: int
    guaranteed_norm: float


class Coded(TypedDict):
    """The best codes of 0 to N bits."""

    success: list[float]
    bound: list[float]
    closed: list[bool]


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured | Coded:
    """Find the least cache of one family and run every stream through it, or the best codes of one length."""
    if "length" in parameters:
        return _codes(parameters["length"], parameters.get("hidden_bits", 0))
    eta, norm = parameters["eta"], parameters["query_norm"] * parameters.get("norm_share", 1.0)
    keys = _keys(parameters.get("really", parameters["keys"]), parameters, randomness)
    told = eta * parameters.get("eta_share", 1.0)
    book = codebook(keys.tobytes(), keys.dtype.str, keys.shape[1], 1, norm, told, None)
    used = book.messages - parameters.get("messages_less", 0)
    cache = f"kvfloor.experiments.claims.optimum.codebook:optimal:query_norm={norm!r},eta={told!r},messages={used}"
    encoding = ValuesEncoding.build(Keys(keys), 1, accuracy=TYPICAL, query_norm=norm)
    exact_graph = distinguishability_graph(family_outputs(encoding), eta)
    return {
        "streams": len(book.bracket.colours),
        "presented_messages": book.bracket.lower_messages,
        "lower_messages": messages_needed(exact_graph, book.bracket.weights),
        "upper_messages": book.bracket.upper_messages,
        "guaranteed_norm": required_query_norm(len(keys), Keys(keys).incoherence(), eta),
        **_run(encoding, cache, eta),
    }


def _keys(kind: str, parameters: dict[str, Any], randomness: Randomness) -> Any:
    """Return the keys of a family, shape (n, d)."""
    tokens, dim = parameters["tokens"], parameters["dim"]
    if kind == "hexagon":
        angles = 2 * np.pi * np.arange(tokens) / tokens
        return np.column_stack([np.cos(angles), np.sin(angles)])
    rng = np.random.default_rng(FIXED_KEYS_SEED) if kind == "fixed" else randomness.keys()
    return gaussian_keys(tokens, dim, rng)


def _run(encoding: ValuesEncoding, cache: str, eta: float) -> Ran:
    """Send every stream of a family through a cache; compare with exact attention over all tokens."""
    host, coins, length = NumpyCache(cache), Coins(0, encoding.public_keys), encoding.problem.length
    queries, token = encoding.queries(np.arange(length)), encoding.reader_token()
    payloads, wrong, wire_bits = set(), 0, 0
    for stream in range(1 << length):
        tokens = encoding.encode(stream >> np.arange(length) & 1)
        payload = host.write(tokens, coins).payload
        answers = host.ask(payload, token, queries, coins)
        exact = softmax_attention_reference(
            queries, np.vstack([tokens.keys, token.keys]), np.vstack([tokens.values, token.values])
        )
        # Twice the rounding that the intervals allow: the answers are rounded once more.
        wrong += bool((np.abs(answers - exact) > (eta + 4 * ROUNDING) * exact).any())
        payloads.add(payload)
        wire_bits = max(wire_bits, 8 * len(payload))
    return {"messages": len(payloads), "wrong_streams": wrong, "wire_bits": wire_bits}


def _codes(length: int, hidden_bits: int) -> Coded:
    """Return the best codes of 0 to N bits: errors counted again, and what bounds them."""
    found = [best_success(length, min(bits + hidden_bits, length)) for bits in range(length + 1)]
    return {
        "success": [1 - covering_errors(code.words, length) / (length << length) for code in found],
        "bound": [code.bound for code in found],
        "closed": [code.closed for code in found],
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the families and the codes, on the rows that bear on each."""
    families = [(r.parameters, r.measured) for r in records if "length" not in r.parameters]
    codes = [(r.parameters["length"], r.measured) for r in records if "length" in r.parameters]
    return (_judge_families(families) if families else []) + ([_judge_codes(codes)] if codes else [])


def _judge_families(rows: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Check]:
    """Check the cache, the count, the witness, the known numbers and the guaranteed corner."""
    wrong = sum(row["wrong_streams"] for _, row in rows)
    open_brackets = [p for p, row in rows if row["presented_messages"] < row["upper_messages"]]
    unproved = [p for p, row in rows if row["lower_messages"] < row["presented_messages"]]
    odd = [p for p, row in rows if row["messages"] != row["upper_messages"]]
    streams = sum(row["streams"] for _, row in rows)
    least = {"families": len(rows), "open_brackets": open_brackets, "witness_fails": unproved}
    checks = [
        Check(ANSWERS, wrong == 0, {"streams": streams, "wrong": wrong}),
        Check(COUNT, not odd, {"families": len(rows), "otherwise": odd}),
        Check(LEAST, not unproved and len(open_brackets) < len(rows), least),
    ]
    known = {_name(p): row for p, row in rows if p["keys"] == "fixed" and p["tokens"] == 6}
    shown = {key: known[key] for key in KNOWN if key in known}
    if shown:
        right = [row["lower_messages"] == row["messages"] == KNOWN[key] for key, row in shown.items()]
        told = {f"d={d}, C={c:g}, eta={eta:g}": row["messages"] for (d, c, eta), row in shown.items()}
        checks.append(Check(NUMBERS, all(right), told))
    sharp = [(p, row) for p, row in rows if p["query_norm"] > row["guaranteed_norm"]]
    if sharp:
        fewer = [p for p, row in sharp if row["lower_messages"] < row["streams"]]
        checks.append(Check(GUARANTEED, not fewer, {"families": len(sharp), "fewer_messages": fewer}))
    return checks


def _name(parameters: dict[str, Any]) -> tuple[int, float, float]:
    """Return what tells a family of theory 10 from the others."""
    return parameters["dim"], parameters["query_norm"], parameters["eta"]


def _judge_codes(rows: list[tuple[int, dict[str, Any]]]) -> Check:
    """Check every code against its bounds, and the known optima against the search."""
    above, unlike, open_cases = [], [], []
    for length, row in rows:
        for bits, (success, proved) in enumerate(zip(row["success"], row["closed"], strict=True)):
            bound = min(sphere_packing_success(length, bits), frontier_accuracy(bits / length))
            if success > bound + 1e-12:  # both are fractions of small integers, or a root to 1e-15
                above.append([length, bits])
            if not proved:
                open_cases.append([length, bits])
            if success != KNOWN_SUCCESS.get((length, bits), success):
                unlike.append([length, bits])
    evidence = {"lengths": len(rows), "above": above, "unlike_the_known": unlike, "open": open_cases}
    return Check(CODES, not above and not unlike, evidence)


def draw(records: Sequence[Record]) -> Figure:
    """Draw the least bits over the query norm, and the best success over the rate."""
    figure, (left, right) = new_figure(2, width=5.3, height=4.0)
    _draw_optimum(left, [r for r in records if r.parameters.get("tokens") == 6])
    _draw_codes(right, [r for r in records if "length" in r.parameters])
    return figure


def _draw_optimum(axes: Axes, records: Sequence[Record]) -> None:
    """Draw log2 of the least number of messages, with its bracket, and the guaranteed corner."""
    shown = [("fixed", 2, "-", "o"), ("fixed", 8, "--", "s"), ("hexagon", 2, ":", "^")]
    names = {"fixed": "random", "hexagon": "hexagon"}
    for kind, dim, line, marker in shown:
        for eta, colour in zip(ETAS, COLOURS, strict=False):
            rows = where(records, keys=kind, dim=dim, eta=eta)
            if not rows:
                continue
            norms, lower, upper, guaranteed = (
                np.array(column)
                for column in series(rows, "query_norm", "lower_messages", "messages", "guaranteed_norm")
            )
            axes.fill_between(norms, np.log2(lower), np.log2(upper), color=colour, alpha=0.4, linewidth=0)
            axes.plot(norms, np.log2(upper), line, marker=marker, color=colour, markersize=4, linewidth=1.1,
                      label=f"{names[kind]} keys, d = {dim}, η = {eta:g}")  # fmt: skip
            if kind == "fixed" and dim == 2:
                axes.plot(guaranteed[0], 6.16, "v", color=colour, markersize=6, clip_on=False)
    axes.axhline(6, color=THEORY, linewidth=1)
    axes.annotate("N = 6 bits: incompressible; ▼ guaranteed by Theorem B, d = 2", (0.25, 6.03), (0, 9),
                  textcoords="offset points", fontsize=7.5)  # fmt: skip
    closed(axes, 0.25, 1.46, "below a curve: closed to\nevery cache of that η")
    axes.set(
        xscale="log",
        xlim=(0.23, 35),
        ylim=(1.4, 6.5),
        xlabel="query norm C",
        ylabel="least cache: log2 of the number of messages (bits)",
        title="a   The exact optimum for 6 tokens of one bit",
    )
    ticks(axes, [0.25, 0.5, 1, 2, 4, 8, 16, 32], labels=["1/4", "1/2", "1", "2", "4", "8", "16", "32"])
    axes.legend(loc="lower right", fontsize=7.5)


def _draw_codes(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the best success of B bits on N bits, the perfect codes and the frontier."""
    draw_frontier(axes, np.linspace(0, 1, 400), 1.04)
    axes.plot([0, 1], [0.5, 1], "--", color=COLOURS[6], linewidth=1, label="time sharing (and N = 1)")
    looks = (
        (2, "o", COLOURS[5]),
        (3, "^", COLOURS[2]),
        (5, "s", COLOURS[4]),
        (7, "D", COLOURS[0]),
        (8, "v", COLOURS[3]),
    )
    rows = {r.parameters["length"]: r.measured for r in records}
    for length, marker, colour in looks:
        success, bound = np.array(rows[length]["success"]), np.array(rows[length]["bound"])
        rate = np.arange(length + 1) / length
        axes.vlines(rate, success, bound, color=colour, linewidth=2.5)
        axes.plot(rate, success, marker, color=colour, markersize=4.5, label=f"N = {length}")
    codes = (("[3,1]", 3, 1, (6, -12), "left"), ("[7,4]", 7, 4, (0, -15), "right"),
             ("[23,12]", 23, 12, (-7, 4), "right"))  # fmt: skip
    label: str | None = "perfect codes"
    for name, length, bits, offset, side in codes:
        place = bits / length, sphere_packing_success(length, bits)
        axes.plot(
            *place,
            "*",
            color=COLOURS[1],
            markersize=11,
            linestyle="none",
            markerfacecolor="none",
            label=label,
        )
        axes.annotate(name, place, offset, textcoords="offset points", ha=side)
        label = None
    closed(axes, 0.04, 0.95, "closed to\nevery cache", va="top")
    axes.set(
        xlim=(0, 1.02),
        ylim=(0.48, 1.02),
        xlabel="bits kept for each bit, B / N",
        ylabel="best average success",
        title="b   The best that B bits can do for N bits",
    )
    axes.legend(loc="lower right", ncols=2, fontsize=7.5)


CLAIM = Claim(
    id="exact-optimum",
    title="The least cache of small cases is known exactly: it grows to N bits with the query norm and the accuracy",
    source="Theory 10: ours; perfect codes: Hamming 1950, Golay 1949",
    statement=(
        "The least number of messages of any error-free protocol for a finite family of streams is the chromatic "
        "number of its distinguishability graph; a cache that keeps only the colour answers all queries within η, "
        "and none with a message less does. The best success of B bits on N bits is that of a covering code."
    ),
    theory="10",
    checks=(ANSWERS, COUNT, LEAST, NUMBERS, GUARANTEED, CODES),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("one colour less", ANSWERS, _small(messages_less=[1])),
        Control("the graph of 1.5 η as that of η", ANSWERS, _small(eta_share=[1.5])),
        Control("the graph of η/2 as that of η", LEAST, _small(eta_share=[0.5])),
        # Of another norm: fewer messages cross than it says.
        Control(
            "one colour less, presented as the whole colouring",
            COUNT,
            cells(keys="fixed", tokens=6, dim=8, eta=0.5, query_norm=4.0, messages_less=1),
        ),
        Control(
            "the hexagon as the keys of theory 10",
            NUMBERS,
            [{**cell, "really": "hexagon"} for cell in _small()],
        ),
        Control(
            "queries at an eighth of the stated norm",
            GUARANTEED,
            cells(keys="fixed", tokens=6, dim=2, eta=0.5, query_norm=32.0, norm_share=1 / 8),
        ),
        Control(
            "codes of one bit more than they say",
            CODES,
            [{"length": length, "hidden_bits": 1} for length in (4, 7)],
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
