"""A small language model trained and read by kNN attention, with truncation and the unbiased estimators apart (theory 9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix
from kvfloor.attention.gradients import Gradients
from kvfloor.attention.knn import (
    Inputs,
    Near,
    Walk,
    estimated_gradients,
    knn_attention,
    truncated_attention,
    truncated_gradients,
)
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.claims.knn.language_model import (
    Adam,
    AttentionLayer,
    ExactLayer,
    Weights,
    loss_and_gradients,
)
from kvfloor.experiments.drawing.panels import ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import where

LEARNS = "trained with estimated gradients, attention lowers the loss"
EXACT = "with k = n perplexity is exact"
CLOSER = "over all k, a weighted tail is closer to exact perplexity than cutting off"

TEXT = files("kvfloor.attention.engines.plain").joinpath("rhyme.txt").read_text(encoding="utf-8")
HELD_OUT = 0.2  # of the text, at its end
DIM, WINDOW = 32, 128
RATE = 0.01
KEPT, DRAWS = 8, 4
EVALUATIONS = 20  # of the held-out loss along a run; the last 3 are its end
LONG_WINDOW = 480  # for reading with a trained model
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
READINGS = 3
GRID = 1 << 20

METHODS = {
    "exact": ("exact", "exact"),
    "walk": ("exact", "walk"),
    "walk, weighted tail": ("tail", "walk"),
    "cut off": ("cut off", "cut off"),
    "no attention": ("none", "none"),
}


def grid(scale: Scale) -> list[Cell]:
    """Return every method from the same starts, and readings with exactly trained models."""
    steps, starts = (300, [0, 1]) if scale == "quick" else (1500, [0, 1, 2, 3, 4])
    trained = cells(task="train", method=list(METHODS), start=starts, steps=steps, text=_digest())
    return trained + cells(task="read", start=starts, steps=steps, text=_digest())


def _digest() -> str:
    """Return what tells this text from another, so that no stored row outlives its text."""
    return sha256(TEXT.encode()).hexdigest()[:16]


def _control(task: str, fault: str, **change: Any) -> list[Cell]:
    """Return short runs from one start with something false about them."""
    return cells(task=task, **change, start=0, steps=160, text=_digest(), fault=fault)


@dataclass(frozen=True, slots=True)
class Layer(ExactLayer):
    """An attention layer of some forward and some backward method."""

    forward_method: str
    backward_method: str
    rng: np.random.Generator
    kept: int = KEPT
    tail: int = KEPT
    sign: float = 1.0

    def forward(self, inputs: Inputs) -> Matrix:
        """Return outputs, shape (n, d)."""
        near = Near(self.kept, causal=True)
        inputs = Inputs(on_grid(inputs.queries), on_grid(inputs.keys), on_grid(inputs.values))
        if self.forward_method == "none":
            return np.zeros_like(inputs.values)
        if self.forward_method == "cut off":
            return truncated_attention(inputs, near).outputs
        if self.forward_method == "tail":
            return knn_attention(inputs, near, self.tail, self.rng).outputs
        return ExactLayer.forward(self, inputs)

    def backward(self, inputs: Inputs, upstream: Matrix) -> Gradients:
        """Return gradients, given those of the outputs."""
        near = Near(self.kept, causal=True)
        inputs = Inputs(on_grid(inputs.queries), on_grid(inputs.keys), on_grid(inputs.values))
        if self.backward_method == "none":
            return Gradients.zeros(inputs)
        if self.backward_method == "cut off":
            return truncated_gradients(inputs, upstream, near)
        if self.backward_method == "walk":
            walk = Walk(2 * len(inputs.queries), DRAWS)
            found = estimated_gradients(inputs, upstream, near, walk, self.rng)
            return Gradients(self.sign * found.queries, self.sign * found.keys, self.sign * found.values)
        return ExactLayer.backward(self, inputs, upstream)


def on_grid(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers rounded to multiples of 2^-20: no processor's way to round may decide a run.

    The last bits of a product depend on kernels and instructions, and training would make them grow step by
    step. Products of queries and keys on the grid are exact in any order, so that tokens of the same context
    score the same; of weights on the grid a difference of last bits is gone after each step.

    Parameters
    ----------
    numbers : ndarray
        Queries, keys, values or weights; sums of their products are exact below 2^13.

    Returns
    -------
    ndarray
        Off by at most 2^-21.
    """
    rounded: NDArray[np.float64] = np.round(numbers * GRID) / GRID
    return rounded


class Trained(TypedDict):
    """Losses on the held-out text, each after so many steps."""

    held_out_losses: list[tuple[int, float]]
    end: float


# Losses of one model read in several ways, as far as k goes.
Read = TypedDict(
    "Read", {"exact": float, "whole": list[float], "tail": list[list[float]], "cut off": list[float]}
)


def measure(parameters: dict[str, Any], randomness: Randomness) -> Trained | Read:
    """Train a model and return its held-out losses; or train one exactly and read with it over k."""
    shared = Randomness(randomness.root, "knn-training", parameters["start"])  # the same for every method
    alphabet = sorted(set(TEXT))
    text = np.array([alphabet.index(character) for character in TEXT])
    cut = int((1 - HELD_OUT) * len(text))
    model = Weights.draw(len(alphabet), DIM, shared.keys())
    rng, fault = randomness.secret(), parameters.get("fault")
    if parameters["task"] == "train":
        forward, backward = METHODS[parameters["method"]]
        layer = Layer(forward, backward, rng, sign=-1.0 if fault == "sign" else 1.0)
        ideal = Layer("none" if forward == "none" else "exact", "none", rng)
        _, losses = _train(model, text[:cut], text[cut:], layer, ideal, parameters["steps"], shared.secret())
        return {"held_out_losses": losses, "end": float(np.mean([loss for _, loss in losses[-3:]]))}
    exact = Layer("exact", "exact", rng)
    model, _ = _train(model, text[:cut], text[cut:], exact, exact, parameters["steps"], shared.secret())
    return _read(model, text[cut:], rng, fault)


def _train(
    model: Weights,
    text: NDArray[np.int64],
    held_out: NDArray[np.int64],
    layer: AttentionLayer,
    ideal: AttentionLayer,
    steps: int,
    rng: np.random.Generator,
) -> tuple[Weights, list[tuple[int, float]]]:
    """Return a trained model, and its losses on the held-out text under exact attention."""
    adam, losses = Adam(model, RATE), []
    span = WINDOW + 3
    for step in range(steps + 1):
        if step % (steps // EVALUATIONS) == 0:
            losses.append((step, _loss(adam.parameters, held_out, ideal, WINDOW)))
        start = int(rng.integers(len(text) - span))
        _, gradients = loss_and_gradients(adam.parameters, text[start : start + span], layer)
        if gradients is not None:
            adam.step(gradients)
            adam.parameters = adam.parameters.map(on_grid)
    return adam.parameters, losses


def _loss(model: Weights, text: NDArray[np.int64], layer: AttentionLayer, window: int) -> float:
    """Return the mean loss over consecutive windows of a text."""
    starts = range(0, len(text) - window - 3, window)
    return float(
        np.mean(
            [loss_and_gradients(model, text[s : s + window + 3], layer, backward=False)[0] for s in starts]
        )
    )


def _read(model: Weights, text: NDArray[np.int64], rng: np.random.Generator, fault: str | None) -> Read:
    """Return the loss of a model under attention by each method and k."""

    def loss(method: str, kept: int) -> float:
        forward = "cut off" if fault == "no tail" else method
        return _loss(model, text, Layer(forward, "none", rng, kept, kept), LONG_WINDOW)

    whole = 1 if fault == "short" else LONG_WINDOW
    return {
        "exact": _loss(model, text, Layer("exact", "none", rng), LONG_WINDOW),
        "whole": [loss(method, whole) for method in ("tail", "cut off")],
        # A tail is random: its mean distance over some readings.
        "tail": [[loss("tail", kept) for _ in range(READINGS)] for kept in SIZES],
        "cut off": [loss("cut off", kept) for kept in SIZES],
    }


def judge(records: Sequence[Record]) -> list[Check]:
    """Compare the ends of the runs, start by start, and the distances of the readings."""
    ends = {
        (r.parameters["method"], r.parameters["start"]): r.measured["end"]
        for r in where(records, task="train")
    }
    readings = where(records, task="read")
    checks = []
    if ends:
        estimated = [(method, start) for method, start in ends if method.startswith("walk")]
        gains = {f"{m}, start {s}": ends["no attention", s] - ends[m, s] for m, s in estimated}
        evidence = {"nats_below_no_attention": gains, "ends_in_nats": _named(ends)}
        checks.append(Check(LEARNS, min(gains.values()) > 0, evidence))
    if readings:
        gaps = [abs(loss - r.measured["exact"]) for r in readings for loss in r.measured["whole"]]
        rounding = 1e-9  # float64, far above its rounding in a loss of order 1
        checks.append(
            Check(EXACT, max(gaps) <= rounding, {"largest_gap_nats": max(gaps), "allowed": rounding})
        )
        far = {
            method: [float(np.mean([_distance(r, method, k) for r in readings])) for k in range(len(SIZES))]
            for method in ("tail", "cut off")
        }
        # Distances fall by orders of magnitude over k: their ratio is averaged geometrically.
        ratio = float(np.exp(np.mean(np.log(far["tail"]) - np.log(far["cut off"]))))
        checks.append(
            Check(CLOSER, ratio < 1, {"tail_over_cut_off": ratio, "k": SIZES, "nats_from_exact": far})
        )
    return checks


def _distance(record: Record, method: str, place: int) -> float:
    """Return how far the loss of a reading is from that of exact attention, in nats."""
    return float(np.mean(np.abs(np.array(record.measured[method][place]) - record.measured["exact"])))


def _named(ends: dict[tuple[str, int], float]) -> dict[str, float]:
    """Return the ends under names that JSON can hold."""
    return {f"{method}, start {start}": end for (method, start), end in ends.items()}


def draw(records: Sequence[Record]) -> Figure:
    """Draw the loss curves from one start, and perplexity over k."""
    figure, (training, reading) = new_figure(2, width=4.6, height=3.7)
    _draw_training(training, where(records, task="train"))
    _draw_reading(reading, where(records, task="read"))
    return figure


def _draw_training(axes: Axes, records: Sequence[Record]) -> None:
    """Draw the held-out loss over steps for every method, averaged over the starts."""
    labels = ("exact forward and backward", "exact forward, walk backward", "weighted tail forward, walk backward",
              "cut off at k, both ways", "no attention")  # fmt: skip
    colours = (THEORY, COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[6])
    for method, label, colour, marker in zip(METHODS, labels, colours, ".osDx", strict=True):
        curves = np.array([r.measured["held_out_losses"] for r in where(records, method=method)])
        mean = curves.mean(axis=0)
        axes.plot(mean[1:, 0], mean[1:, 1], marker + "-", color=colour, label=label, linewidth=1.1, markersize=4,
                  markerfacecolor="none")  # fmt: skip
    axes.set(xlabel=f"steps of {WINDOW} characters", ylabel="held-out loss, nats a character, exact attention",
             title=f"a   Training, k = {KEPT}, mean of {len(curves)} starts", yscale="log")  # fmt: skip
    axes.set_yticks([0.6, 0.8, 1, 1.5, 2, 3], ["0.6", "0.8", "1", "1.5", "2", "3"])
    axes.minorticks_off()
    axes.legend(loc="upper right")


def _draw_reading(axes: Axes, records: Sequence[Record]) -> None:
    """Draw perplexity over k for the exactly trained models."""
    looks = (
        ("cut off", "s-", COLOURS[1], "cut off at k"),
        ("tail", "o-", COLOURS[0], "k near, k or more of the tail"),
    )
    for method, style, colour, label in looks:
        for number, record in enumerate(records):
            losses = [np.mean(found) for found in record.measured[method]]
            axes.plot(
                SIZES, np.exp(losses), style, color=colour, label=label if not number else None, linewidth=1
            )
    for number, record in enumerate(records):
        axes.axhline(np.exp(record.measured["exact"]), color=THEORY, linestyle="--", linewidth=1,
                     label=None if number else "exact attention")  # fmt: skip
    axes.set(xscale="log", xlabel="near tokens k", ylabel="held-out perplexity a character",
             title=f"b   Reading with kNN attention, n = {LONG_WINDOW}")  # fmt: skip
    ticks(axes, SIZES)
    axes.legend(loc="upper right")


CLAIM = Claim(
    id="knn-training",
    title="A language model learns by estimated gradients and reads by kNN attention",
    source="Haris, arXiv:2411.04013; the model and its text are ours",
    statement=(
        "From the same start, a small language model trained with the walk's gradients, behind exact or kNN attention, "
        "ends below the same model without attention; read by kNN attention, the exactly trained model has its exact "
        "perplexity at k = n, and over k is closer to it with a weighted tail than cut off."
    ),
    theory="9",
    checks=(LEARNS, EXACT, CLOSER),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "gradients with the wrong sign",
            LEARNS,
            _control("train", "sign", method=["no attention", "walk"]),
        ),
        Control("k short of n", EXACT, _control("read", "short")),
        Control("no tail", CLOSER, _control("read", "no tail")),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
