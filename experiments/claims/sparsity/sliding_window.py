"""A window whose evicted values still count: exact in O(dW) bits, and d_v W of them are needed (theory 5)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.caches.eviction.unmasked_window import UnmaskedWindow
from kvfloor.attention.softmax import softmax_tolerance
from kvfloor.attention.window import beside_zeros_tolerance, window_attention_reference
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.measured import Certified
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.protocol import Encoding, Tokens
from kvfloor.reductions.encodings.values import ValuesEncoding
from kvfloor.reductions.encodings.windowed import WindowEncoding
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.keys.projections import gaussian_keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXACT = "the cache answers every stream within the rounding of its arithmetic"
BLOCKS = "any blocks leave the same bytes"
MEMORY = "the wire holds W tokens and one sum, whatever the length of the stream"
DECODES = "all d_v W bits of the window decode under worst-case noise"
KEPT = "with scores kept, all n d_v bits decode under worst-case noise"
CERTIFIED = "every play certifies its floor, and the wire carries more"

DIM = VALUE_DIM = 64
QUERY_NORM = 8.0  # of the random queries that test exactness
WINDOWS = (16, 64, 256)
CERTIFICATE_BITS = 40 + 64 + 1e-3  # theory 1: significance, length prefix, and the rounding of N log2 q
HEADER_BITS = 8 * 256  # what a payload may take beyond its arrays


def grid(scale: Scale) -> list[dict[str, Any]]:
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


def _stream(tokens: int, window: int, dtype: str, cache: str = "unmasked-window") -> dict[str, Any]:
    """Return the parameters of a random stream through a cache, in several blockings."""
    spec = f"{cache}:window_tokens={window},dtype={dtype}"
    return {"kind": "stream", "tokens": tokens, "window": window, "cache": spec, "dtype": dtype}


def _index(tokens: int, window: int, eta: float = 0.5, earlier: float = 1.0, **change: Any) -> dict[str, Any]:
    """Return the parameters of INDEX in the last tokens of a stream."""
    cache = f"unmasked-window:window_tokens={window},dtype=float64"
    return {"kind": "window", "tokens": tokens, "window": window, "cache": cache, "eta": eta,
            "earlier": earlier} | change  # fmt: skip


def _kept(tokens: int, eta: float, cache: str = "dense:dtype=float64") -> dict[str, Any]:
    """Return the parameters of INDEX over all tokens, whose scores are kept."""
    return {"kind": "kept", "tokens": tokens, "cache": cache, "eta": eta}


def forgetful(scale: Scale) -> list[dict[str, Any]]:
    """Return a cache that forgets the values it evicts."""
    return [_stream(1000, 256, dtype, f"{__name__}:ForgetsTheSum") for dtype in ("float32", "float64")]


def pairwise(scale: Scale) -> list[dict[str, Any]]:
    """Return a cache that adds each block's values in pairs, as NumPy's sum does."""
    return [_stream(5000, 64, "float64", f"{__name__}:AddsInPairs")]


def whole_stream(scale: Scale) -> list[dict[str, Any]]:
    """Return a cache of the whole stream as the window."""
    return [_index(4096, 64, cache="dense:dtype=float64")]


def one_token_short(scale: Scale) -> list[dict[str, Any]]:
    """Return windows of W - 1 tokens for bits in the last W."""
    return [_index(1024, w, cache=f"unmasked-window:window_tokens={w - 1},dtype=float64") for w in WINDOWS]


def repeated_keys(scale: Scale) -> list[dict[str, Any]]:
    """Return windows in which every key stands twice, asked as if they were distinct."""
    return [_index(1024, window, repeat=2) for window in WINDOWS]


def masked_scores(scale: Scale) -> list[dict[str, Any]]:
    """Return the window cache, which masks scores, as one that keeps them."""
    return [_kept(1024, 0.0, "unmasked-window:window_tokens=256,dtype=float64")]


def leaking(scale: Scale) -> list[dict[str, Any]]:
    """Return a cache that hides its state outside the bytes."""
    return [_index(1024, 64, cache="kvfloor.experiments.game.cheats:ModuleGlobal")]


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
    return {
        "errors": transcript.errors,
        "symbols": transcript.symbols,
        "wire_bits": transcript.wire_bits,
        "certified_bits": transcript.certificate().certified_bits,
    }


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
    streams, windows, kept = (
        [r for r in records if r.parameters["kind"] == kind] for kind in ("stream", "window", "kept")
    )
    if streams:
        share = max(r.measured["error"] / r.measured["bound"] for r in streams)
        checks.append(Check(EXACT, share <= 1, {"streams": len(streams), "largest_error_over_bound": share}))
        states = max(r.measured["states"] for r in streams)
        checks.append(
            Check(BLOCKS, states == 1, {"streams": len(streams), "most_states_of_a_stream": states})
        )
    if windows:
        excess = [r.measured["wire_bits"] - _window_bits(r.parameters["window"]) for r in windows]
        lean = all(0 <= bits <= HEADER_BITS for bits in excess)
        checks.append(Check(MEMORY, lean, {"most_bits_beyond_the_arrays": max(excess)}))
    for name, plays in ((DECODES, windows), (KEPT, kept)):
        if plays:
            errors, bits = (sum(r.measured[key] for r in plays) for key in ("errors", "symbols"))
            checks.append(Check(name, errors == 0, {"plays": len(plays), "bits": bits, "errors": errors}))
    rows = [r.measured for r in windows + kept]
    if rows:
        gap = max(row["symbols"] - row["certified_bits"] for row in rows)
        least = min(row["wire_bits"] - row["certified_bits"] for row in rows)
        evidence = {"plays": len(rows), "most_bits_not_certified": gap, "least_slack_bits": least}
        checks.append(Check(CERTIFIED, gap <= CERTIFICATE_BITS and least > 0, evidence))
    return checks


def _window_bits(window: int) -> int:
    """Return the bits of W float64 tokens and one float64 sum: O(dW)."""
    return 64 * (window * (DIM + VALUE_DIM) + VALUE_DIM)


def draw(records: Sequence[Record]) -> "Figure":
    """Draw bits on the wire over the length of the stream and over the window, beside both floors."""
    figure, (left, right) = new_figure(2, width=4.9, height=3.9, sharey=True)
    windows = [r for r in records if r.parameters["kind"] == "window" and r.parameters["eta"] == 0.5]
    kept = [r for r in records if r.parameters["kind"] == "kept"]
    _draw_lengths(left, windows, kept)
    _draw_windows(right, windows)
    return figure


def _draw_lengths(axes: "Axes", windows: Sequence[Record], kept: Sequence[Record]) -> None:
    """Draw flat windows and the growing cache that keeps all scores."""
    lengths = np.array(sorted({r.parameters["tokens"] for r in windows}))
    shade_impossible(axes, lengths, 1, lengths * VALUE_DIM)
    axes.plot(lengths, lengths * VALUE_DIM, color=THEORY, label="floor n d_v, scores kept")
    rows = sorted((r.parameters["tokens"], r.measured["wire_bits"]) for r in kept)
    axes.plot(
        *zip(*rows, strict=True), "--x", color=COLOURS[7], markersize=7, label="scores kept: full cache"
    )
    for window, colour, marker in zip(WINDOWS, COLOURS, "os^", strict=False):
        points = sorted(
            (r.parameters["tokens"], r.measured["wire_bits"])
            for r in windows
            if r.parameters["window"] == window
        )
        axes.plot(*zip(*points, strict=True), f"-{marker}", color=colour, label=f"window cache, W = {window}")
    axes.set(xscale="log", yscale="log", ylim=(700, 1e9), xlim=(lengths[0] * 0.9, lengths[-1] * 1.1),
             xlabel="tokens in the stream, n", ylabel="bits on the wire",
             title="a   The window's cache does not grow")  # fmt: skip
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    axes.text(lengths[-1], 1100, "closed where scores are kept", style="italic", color="#555555", ha="right")
    axes.legend(loc="upper left", ncols=2)


def _draw_windows(axes: "Axes", windows: Sequence[Record]) -> None:
    """Draw the cache over the window, between its floor and its formula."""
    ramp = np.geomspace(12, 340, 50)
    shade_impossible(axes, ramp, 1, ramp * VALUE_DIM)
    axes.plot(ramp, ramp * VALUE_DIM, color=THEORY, label="floor d_v W")
    axes.plot(ramp, 64 * (ramp * (DIM + VALUE_DIM) + VALUE_DIM), "--", color=COLOURS[6],
              label="64 (W (d + d_v) + d_v): float64 tokens, one sum")  # fmt: skip
    points = sorted((r.parameters["window"], r.measured["wire_bits"]) for r in windows)
    axes.plot(*zip(*points, strict=True), "D", color=COLOURS[2], markersize=6, label="measured, every n")
    axes.set(xscale="log", xlim=(ramp[0], ramp[-1]), xlabel="tokens in the window, W",
             title="b   It is linear in the window, as it must be")  # fmt: skip
    axes.set_xticks(WINDOWS, [str(window) for window in WINDOWS])
    axes.minorticks_off()
    axes.text(ramp[-3], 1100, "closed to every cache", style="italic", color="#555555", ha="right")
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
    module="kvfloor.experiments.claims.sparsity.sliding_window",
    checks=(EXACT, BLOCKS, MEMORY, DECODES, KEPT, CERTIFIED),
    cells=grid,
    judge=judge,
    draw=draw,
    controls=(
        Control("evicted values are forgotten", EXACT, forgetful),
        Control("evicted values are added in pairs", BLOCKS, pairwise),
        Control("the whole stream is kept", MEMORY, whole_stream),
        Control("a window one token short", DECODES, one_token_short),
        Control("every key of the window stands twice", DECODES, repeated_keys),
        Control("scores are masked where they should be kept", KEPT, masked_scores),
        Control("state outside the bytes", CERTIFIED, leaking),
    ),
)

if __name__ == "__main__":
    from kvfloor.experiments.show.command import run_claim

    run_claim(CLAIM.id)
