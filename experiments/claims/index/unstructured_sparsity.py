"""Attention may rest on a single token, and the cache still needs every bit of every value (theory 5)."""

from collections.abc import Sequence
from math import log
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.measured import Certified, certified
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import certifies, decodes
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.incoherence import incoherence
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

ONE_TOKEN = "a single token holds 1 - kappa of every query's weight"
DECODES = "every bit decodes under worst-case noise"
FLOOR = "the floor stays n d_v: no bit is lost to the sparsity"

VALUE_DIM = 64
ETA = 0.5
KAPPAS = (1e-1, 1e-3, 1e-6)  # weight that sparsity may leave out; each decodes at ETA, for kappa < 1/3


def grid(scale: Scale) -> list[Cell]:
    """Return instances over n, d and kappa, and a sweep of the query norm."""
    tokens = (64, 256, 1024) if scale == "quick" else (64, 256, 1024, 4096)
    dims = (16, 64) if scale == "quick" else (16, 64, 256)
    shares = np.round(np.linspace(0.05, 0.95, 10 if scale == "quick" else 37), 4).tolist()
    guaranteed = cells(tokens=tokens, dim=dims, kappa=KAPPAS, cache="bitpack")
    return guaranteed + cells(tokens=[256, 1024], dim=64, kappa=1e-3, norm_share=shares)


def _control(**change: Any) -> list[Cell]:
    """Return instances of 1024 tokens with something false about them."""
    return cells(**{"tokens": 1024, "dim": 64, "kappa": 1e-3, "cache": "bitpack", **change})


SHORT_QUERIES = _control(dim=[16, 64], secret_share=0.1)


class Support(TypedDict):
    """How few tokens hold a query's weight."""

    query_norm: float
    most_tokens: int
    median_tokens: float


class Played(Support, Certified):
    """The same, with a play."""


def measure(parameters: dict[str, Any], randomness: Randomness) -> Support | Played:
    """Return the largest and the median effective support of all queries and, with a cache, a play."""
    tokens, kappa = parameters["tokens"], parameters["kappa"]
    keys = gaussian_keys(tokens, parameters["dim"], randomness.keys())
    eps = incoherence(keys)
    stated = parameters.get("norm_share", 1.0) * log(tokens / kappa) / (1 - eps)  # n e^{-C (1-eps)} = kappa
    norm = parameters.get("secret_share", 1.0) * stated
    support = effective_support(norm * (keys @ keys.T), 1 - kappa)
    measured: Support = {
        "query_norm": norm,
        "most_tokens": int(support.max()),
        "median_tokens": float(np.median(support)),
    }
    if "cache" not in parameters:
        return measured
    encoding = ValuesEncoding.build(Keys(keys, eps), VALUE_DIM, accuracy=Accuracy(ETA), query_norm=norm)
    transcript = play(encoding, parameters["cache"], randomness, eta=ETA)
    return {**measured, **certified(transcript)}


def effective_support(scores: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """Return how few tokens hold a share of each query's weight, Bob's token of score 0 among the tokens.

    Parameters
    ----------
    scores : ndarray, shape (m, n)
        Scores of Alice's n tokens.
    share : float
        Fraction of the weight, in (0, 1).

    Returns
    -------
    ndarray of int, shape (m,)
        Tokens, from 1 to n + 1.
    """
    scores = np.hstack([scores, np.zeros((len(scores), 1))])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = -np.sort(-weights, axis=1)
    held = np.cumsum(weights, axis=1)
    support: NDArray[np.int64] = 1 + (held < share * held[:, -1:]).sum(axis=1)
    return support


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the rows that state the norm of theory 5."""
    rows = [r for r in records if "cache" in r.parameters]
    if not rows:
        return []
    most = max(r.measured["most_tokens"] for r in rows)
    support = Check(ONE_TOKEN, most == 1, {"instances": len(rows), "most_tokens": most})
    return [support, decodes(DECODES, rows), certifies(FLOOR, rows)]


def draw(records: Sequence[Record]) -> Figure:
    """Draw the support over the query norm, and the floor beside what the support suggests."""
    figure, (left, right) = new_figure(2, width=4.6, height=3.7)
    _draw_support(left, records)
    _draw_floor(right, [r for r in records if "cache" in r.parameters])
    return figure


def _draw_support(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the effective support over the query norm."""
    for tokens, colour, marker in ((1024, COLOURS[0], "o"), (256, COLOURS[1], "s")):
        rows = where(records, tokens=tokens, dim=64, kappa=1e-3)
        columns = lambda r: r.parameters.get("norm_share", 1.0), "most_tokens", "median_tokens"
        shares, most, median = series(rows, *columns)
        axes.plot(shares, most, f"-{marker}", color=colour, label=f"n = {tokens:,}, widest query")
        axes.plot(shares, median, f"--{marker}", color=colour, markerfacecolor="white", label="median query")
    axes.axvline(1.0, color=THEORY, linewidth=1)
    axes.annotate("one token, proved", (1.0, 60), (-4, 0), textcoords="offset points", rotation=90,
                  ha="right", va="center", fontsize=8)  # fmt: skip
    axes.set(
        yscale="log",
        ylim=(0.8, 1500),
        xlabel="query norm C / (ln(n/κ)/(1−ε))",
        ylabel="tokens that hold 1 − κ of the weight",
        title="a   Attention on one token (d = 64, κ = 0.001)",
    )
    axes.legend(loc="upper right", bbox_to_anchor=(0.93, 1.0))


def _draw_floor(axes: Axes, rows: Sequence[Record]) -> None:
    """Draw the certified floor over n, with n d_v and the bits of the one token that attention rests on."""
    tokens = [r.parameters["tokens"] for r in rows]
    ramp = np.geomspace(min(tokens) / 1.5, max(tokens) * 1.5)
    shade_impossible(axes, ramp, 1, ramp * VALUE_DIM)
    axes.plot(ramp, ramp * VALUE_DIM, color=THEORY, label="floor n d_v")
    axes.axhline(VALUE_DIM, color=COLOURS[6], linestyle=":", label="support × d_v: one token's bits")
    axes.plot(tokens, [r.measured["wire_bits"] for r in rows], "x", color=COLOURS[7], markersize=7,
              label="on the wire: packed bits")  # fmt: skip
    axes.plot(tokens, [r.measured["certified_bits"] for r in rows], "o", color=COLOURS[2], markersize=6,
              markerfacecolor="none", label="certified, every d and κ")  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(ramp[0], ramp[-1]),
        ylim=(30, 2e6),
        xlabel="tokens n",
        ylabel="bits",
        title="b   … and a floor on all of them",
    )
    ticks(axes, sorted(set(tokens)), "{:,}")
    closed(axes, ramp[-4], 110, ha="right")
    axes.legend(loc="upper left")


CLAIM = Claim(
    id="unstructured-sparsity",
    title="Attention that rests on one token needs as many bits as any other",
    source="Haris and Onak, COLT 2025, arXiv:2502.15955; constants ours",
    statement=(
        "For unit keys of incoherence ε and C ≥ ln(n/κ)/(1−ε) one token holds 1 − κ of the weight of every "
        "query, and every (1 ± η)-approximation with κ < (1−η)/(1+η) still holds all n d_v bits."
    ),
    theory="5",
    checks=(ONE_TOKEN, DECODES, FLOOR),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("queries at a tenth of the stated norm", ONE_TOKEN, SHORT_QUERIES),
        Control("queries too short to decode", DECODES, SHORT_QUERIES),
        # As one might where attention is sparse.
        Control(
            "a cache that evicts tokens",
            FLOOR,
            _control(cache=[f"bitpack:kept_tokens={k}" for k in (512, 1023)]),
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
