"""A window whose evicted values still count: exact in O(dW) bits, and d_v W of them are needed (theory 5)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.eviction.unmasked_window import UnmaskedWindow
from kvfloor.attention.softmax import softmax_tolerance
from kvfloor.attention.window import beside_zeros_tolerance, window_attention_reference
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import closed, ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Axes, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.cheats import LEAKING
from kvfloor.experiments.game.measured import Certified, certified
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.plays import HEADER_BITS, certifies, decodes
from kvfloor.experiments.judging.rows import series, where
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.encodings.streams.windowed import WindowEncoding
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

EXACT = "the cache answers every stream within the rounding of its arithmetic"
BLOCKS = "any blocks leave the same bytes"
MEMORY = "the wire holds W tokens and one sum, whatever the length of the stream"
DECODES = "all d_v W bits of the window decode under worst-case noise"
KEPT = "with scores kept, all n d_v bits decode under worst-case noise"
CERTIFIED = "every play certifies its floor, and the wire carries more"

DIM = VALUE_DIM = 64
QUERY_NORM = 8.0  # of the random queries that test exactness
WINDOWS = (16, 64, 256)


def grid(scale: Scale) -> list[Cell]:
    """Return random streams, INDEX in the window, and INDEX over all tokens where scores are kept."""
    lengths = (512, 1024, 4096, 16384) if scale == "quick" else (512, 1024, 4096, 16384, 131072)
    exact = [
        _stream(tokens, window, dtype)
        for tokens, window in ((64, 256), (1000, 1), (1000, 256), (5000, 64))
        for dtype in ("float32", "float64")
    ]
    windows = [_index(tokens, window) for tokens in lengths for window in WINDOWS]
    windows += [_index(4096, 64, **cell) for cell in cells(eta=[0.0, 0.9], earlier=[0.0, 1.0])]
    kept = [_kept(512, 0.0)] + [_kept(tokens, 0.5) for tokens in lengths[:3]]
    return exact + windows + kept


def _stream(tokens: int, window: int, dtype: str, cache: str = "unmasked-window") -> Cell:
    """Return the parameters of a random stream through a cache, in several blockings."""
    spec = f"{cache}:window_tokens={window},dtype={dtype}"
    return {"kind": "stream", "tokens": tokens, "window": window, "cache": spec, "dtype": dtype}


def _index(tokens: int, window: int, eta: float = 0.5, earlier: float = 1.0, **change: Any) -> Cell:
    """Return the parameters of INDEX in the last tokens of a stream."""
    cache = f"unmasked-window:window_tokens={window},dtype=float64"
    return {"kind": "window", "tokens": tokens, "window": window, "cache": cache, "eta": eta,
            "earlier": earlier} | change  # fmt: skip


def _kept(tokens: int, eta: float, cache: str = "dense:dtype=float64") -> Cell:
    """Return the parameters of INDEX over all tokens, whose scores are kept."""
    return {"kind": "kept", "tokens": tokens, "cache": cache, "eta": eta}


class ForgetsTheSum(UnmaskedWindow):
    """A window that counts the tokens it evicts but forgets their values."""

    def _add(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.zeros((1, self.value_dim))


class AddsInPairs(UnmaskedWindow):
    """A window whose sum of evicted values depends on the blocks in which they came."""

    def _add(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = np.ascontiguousarray(rows.T).sum(axis=1)[None]
        return total


class Streamed(TypedDict):
    """Largest error of a rolling state, and its bound."""

    error: float
    bound: float
    states: int


def measure(parameters: dict[str, Any], randomness: Randomness) -> Certified | Streamed:
    """Compare a cache with the reference on a random stream, or play INDEX against worst-case noise."""
    if parameters["kind"] == "stream":
        return _measure_stream(parameters, randomness)
    encoding = (
        _window(parameters, randomness) if parameters["kind"] == "window" else _all(parameters, randomness)
    )
    transcript = play(encoding, parameters["cache"], randomness, eta=parameters["eta"])
    return certified(transcript)


def _measure_stream(parameters: dict[str, Any], randomness: Randomness) -> Streamed:
    """Return the largest error in units of its bound, and how many states different blocks leave."""
    tokens, window = parameters["tokens"], parameters["window"]
    dtype = np.dtype(parameters["dtype"]).type
    rng = randomness.secret()
    keys, values = (rng.normal(size=(tokens, columns)).astype(dtype) for columns in (DIM, VALUE_DIM))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = rng.normal(size=(64, DIM)).astype(dtype)
    queries *= QUERY_NORM / np.linalg.norm(queries, axis=1, keepdims=True)
    coins = Coins(randomness.coins_seed())
    payloads = set()
    for block in (1, 7, window, tokens):
        cache = resolve(parameters["cache"]).make(DIM, VALUE_DIM, coins)
        for start in range(0, tokens, block):
            cache.append(keys[start : start + block], values[start : start + block])
        payloads.add(cache.to_bytes())
    kept = min(window, tokens)
    error = np.abs(cache.attend(queries) - window_attention_reference(queries, keys, values, kept)).max()
    query_norm, key_norm = (
        float(np.linalg.norm(rows.astype(float), axis=1).max()) for rows in (queries, keys)
    )
    bound = beside_zeros_tolerance(max(tokens - kept, 1), kept, DIM, query_norm, key_norm, dtype)
    bound += softmax_tolerance(tokens, DIM, query_norm * key_norm, np.float64, key_block=tokens)
    return {"error": float(error), "bound": bound * float(np.abs(values).max()), "states": len(payloads)}


def _window(parameters: dict[str, Any], randomness: Randomness) -> WindowEncoding:
    """Return INDEX in the window, after a stream of constant values."""
    rng, window = randomness.keys(), parameters["window"]
    before = parameters["tokens"] - window
    repeat = parameters.get("repeat", 1)
    keys = gaussian_keys(window // repeat, DIM, rng)
    earlier = Tokens(gaussian_keys(before, DIM, rng), np.full((before, VALUE_DIM), parameters["earlier"]))
    known = Keys(np.repeat(keys, repeat, axis=0), Keys(keys).incoherence())
    return WindowEncoding.build(known, VALUE_DIM, earlier, Accuracy(parameters["eta"]))


def _all(parameters: dict[str, Any], randomness: Randomness) -> Encoding:
    """Return INDEX over all tokens: what a window with scores kept must answer."""
    keys = Keys.drawn("gaussian", parameters["tokens"], DIM, randomness.keys())
    return ValuesEncoding.build(keys, VALUE_DIM, accuracy=Accuracy(parameters["eta"]))


def judge(records: Sequence[Record]) -> list[Check]:
    """Check exactness on random streams, memory on windows, decoding and the certificate on plays."""
    checks = []
    streams, windows, kept = (where(records, kind=kind) for kind in ("stream", "window", "kept"))
    if streams:
        share = max(r.measured["error"] / r.measured["bound"] for r in streams)
        checks.append(Check(EXACT, share <= 1, {"streams": len(streams), "largest_error_over_bound": share}))
        states = max(r.measured["states"] for r in streams)
        evidence = {"streams": len(streams), "most_states_of_a_stream": states}
        checks.append(Check(BLOCKS, states == 1, evidence))
    if windows:
        excess = [r.measured["wire_bits"] - _window_bits(r.parameters["window"]) for r in windows]
        lean = all(0 <= bits <= HEADER_BITS for bits in excess)
        checks.append(Check(MEMORY, lean, {"most_bits_beyond_the_arrays": max(excess)}))
    checks += [decodes(name, plays) for name, plays in ((DECODES, windows), (KEPT, kept)) if plays]
    if windows + kept:
        checks.append(certifies(CERTIFIED, windows + kept))
    return checks


def _window_bits(window: int) -> int:
    """Return the bits of W float64 tokens and one float64 sum: O(dW)."""
    return 64 * (window * (DIM + VALUE_DIM) + VALUE_DIM)


def draw(records: Sequence[Record]) -> Figure:
    """Draw bits on the wire over the length of the stream and over the window, beside both floors."""
    figure, (left, right) = new_figure(2, width=4.9, height=3.9, sharey=True)
    windows = where(records, kind="window", eta=0.5)
    _draw_lengths(left, windows, where(records, kind="kept"))
    _draw_windows(right, windows)
    return figure


def _draw_lengths(axes: Axes, windows: Sequence[Record], kept: Sequence[Record]) -> None:
    """Draw flat windows and the growing cache that keeps all scores."""
    lengths = np.array(sorted({r.parameters["tokens"] for r in windows}))
    shade_impossible(axes, lengths, 1, lengths * VALUE_DIM)
    axes.plot(lengths, lengths * VALUE_DIM, color=THEORY, label="floor n d_v, scores kept")
    axes.plot(*series(kept, "tokens", "wire_bits"), "--x", color=COLOURS[7], markersize=7,
              label="scores kept: full cache")  # fmt: skip
    for window, colour, marker in zip(WINDOWS, COLOURS, "os^", strict=False):
        points = series(where(windows, window=window), "tokens", "wire_bits")
        axes.plot(*points, f"-{marker}", color=colour, label=f"window cache, W = {window}")
    axes.set(xscale="log", yscale="log", ylim=(700, 1e9), xlim=(lengths[0] * 0.9, lengths[-1] * 1.1),
             xlabel="tokens in the stream, n", ylabel="bits on the wire",
             title="a   The window's cache does not grow")  # fmt: skip
    ticks(axes, lengths, "{:,}")
    closed(axes, lengths[-1], 1100, "closed where scores are kept", ha="right")
    axes.legend(loc="upper left", ncols=2)


def _draw_windows(axes: Axes, windows: Sequence[Record]) -> None:
    """Draw the cache over the window, between its floor and its formula."""
    ramp = np.geomspace(12, 340, 50)
    shade_impossible(axes, ramp, 1, ramp * VALUE_DIM)
    axes.plot(ramp, ramp * VALUE_DIM, color=THEORY, label="floor d_v W")
    axes.plot(ramp, 64 * (ramp * (DIM + VALUE_DIM) + VALUE_DIM), "--", color=COLOURS[6],
              label="64 (W (d + d_v) + d_v): float64 tokens, one sum")  # fmt: skip
    points = series(windows, "window", "wire_bits")
    axes.plot(*points, "D", color=COLOURS[2], markersize=6, label="measured, every n")
    axes.set(xscale="log", xlim=(ramp[0], ramp[-1]), xlabel="tokens in the window, W",
             title="b   It is linear in the window, as it must be")  # fmt: skip
    ticks(axes, WINDOWS)
    closed(axes, ramp[-3], 1100, ha="right")
    axes.legend(loc="upper left")


CLAIM = Claim(
    id="sliding-window",
    title="A sliding window whose evicted values still count needs, and takes, memory linear in the window",
    source="Haris and Onak, COLT 2025, arXiv:2502.15955; definition and constants are our reading",
    statement=(
        "Our reading: keys outside of the last W tokens are masked to zero and all values count. W tokens, one "
        "running sum and a count answer that exactly but for rounding; every (1 ± η)-approximation holds the "
        "d_v W bits of the window; and if scores outside are kept, all n d_v bits."
    ),
    theory="5",
    checks=(EXACT, BLOCKS, MEMORY, DECODES, KEPT, CERTIFIED),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "evicted values are forgotten",
            EXACT,
            [_stream(1000, 256, dtype, f"{__name__}:ForgetsTheSum") for dtype in ("float32", "float64")],
        ),
        Control(
            "evicted values are added in pairs",
            BLOCKS,
            [_stream(5000, 64, "float64", f"{__name__}:AddsInPairs")],
        ),
        Control("the whole stream is kept", MEMORY, [_index(4096, 64, cache="dense:dtype=float64")]),
        Control(
            "a window one token short",
            DECODES,
            [_index(1024, w, cache=f"unmasked-window:window_tokens={w - 1},dtype=float64") for w in WINDOWS],
        ),
        Control(
            "every key of the window stands twice",
            DECODES,
            [_index(1024, window, repeat=2) for window in WINDOWS],
        ),
        Control(
            "scores are masked where they should be kept",
            KEPT,
            [_kept(1024, 0.0, "unmasked-window:window_tokens=256,dtype=float64")],
        ),
        Control("state outside the bytes", CERTIFIED, [_index(1024, 64, cache=LEAKING)]),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
