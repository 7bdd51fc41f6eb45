"""Tensor attention in few dimensions: a floor that stops growing, and two SubGens that do, too (theory 7)."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.softmax import softmax_attention
from kvfloor.attention.tensor import kronecker_rows, tensor_attention
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.panels import ticks
from kvfloor.experiments.drawing.style import COLOURS, THEORY, Figure, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.hosts.numpy_caches import write
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Cell, Check, Claim, Control, Scale, cells
from kvfloor.experiments.judging.rows import grouped, series, where
from kvfloor.reductions.accuracy import Accuracy
from kvfloor.reductions.encodings.protocol import Stream, TensorTokens, Tokens
from kvfloor.reductions.encodings.tensor import TensorEncoding
from kvfloor.reductions.keys.kissing import KISSING
from kvfloor.reductions.keys.projections import gaussian_keys

DECODES = "at a bounded query norm every bit decodes, however long the stream"
FLAT = "the wire bits of both SubGens stay below a constant, however long the stream"
SAVES_NOTHING = "on JL keys no token joins another's cluster, and the wire holds every key"

VALUE_DIM = 4
QUERY_NORM, DELTA = 3.0, 0.25
EXACT = "dense:dtype=float64+dense:dtype=float64"
MODELS = {"SubGen4Cache": ("subgen4", 2), "SubGen2Cache": ("subgen", 1)}


def grid(scale: Scale) -> list[Cell]:
    """Return floors of kissing addresses, and both SubGens over dimensions, lengths and slots."""
    floors = cells(kind="floor", packing=["hexagon", "fcc", "d4"], eta=[0.0, 0.5, 0.9], rounds=[1, 4, 16])
    if scale == "full":
        floors += cells(kind="floor", packing="e8", eta=[0.0, 0.5, 0.9], rounds=[1, 2, 4])
    lengths = {"SubGen4Cache": (16, 64, 256, 1024), "SubGen2Cache": (16, 64, 256)}
    if scale == "full":
        lengths = {"SubGen4Cache": (16, 64, 256, 1024, 4096, 16384), "SubGen2Cache": (16, 64, 256, 1024)}
    streams = [
        _stream(cache, dim, tokens) for cache, sizes in lengths.items() for dim in (2, 3) for tokens in sizes
    ]
    memory = [
        {**_stream(cache, 2, 256, slots), "kind": "memory"}
        for cache in MODELS
        for slots in ((2, 8, 32) if scale == "quick" else (2, 8, 32, 128))
    ]
    jl = [
        {**_stream(cache, 64, tokens, 2), "kind": "jl"}
        for cache, tokens in (("SubGen4Cache", 256), ("SubGen2Cache", 16))
    ]
    return [*floors, *streams, *({**cell, "blocks": 8} for cell in memory), *jl]


def _stream(cache: str, dim: int, tokens: int, slots: int = 8, **change: Any) -> Cell:
    """Return one stream of random keys through one cache."""
    return {"kind": "stream", "cache": cache, "dim": dim, "tokens": tokens, "slots": slots, **change}


class Floored(TypedDict):
    """A play on a packing."""

    errors: int
    symbols: int
    certified_bits: float
    query_norm: float
    tokens: int


class Streamed(TypedDict):
    """What a cache takes of a stream, and how it answers."""

    wire_bits: int
    key_bits: int
    stream_bits: int
    mean_square_error: float
    mean_square: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Floored | Streamed:
    """Play a floor, or stream tokens through a SubGen and ask what crossed the wire."""
    return (
        _floor(parameters, randomness) if parameters["kind"] == "floor" else _streamed(parameters, randomness)
    )


def _floor(parameters: dict[str, Any], randomness: Randomness) -> Floored:
    """Play INDEX on kissing addresses, written round after round."""
    kissing, eta, rounds = KISSING[parameters["packing"]], parameters["eta"], parameters["rounds"]
    noise = parameters.get("noise", False)
    sentinel = parameters.get("sentinel", True)
    encoding = TensorEncoding.build(
        kissing.keys(), VALUE_DIM, Accuracy(eta), sentinel=sentinel, rounds=rounds
    )
    if noise:
        encoding = _Buried(*(getattr(encoding, name) for name in encoding.__slots__))
    transcript = play(encoding, EXACT, randomness, eta=eta)
    return {
        "errors": transcript.errors,
        "symbols": transcript.symbols,
        "certified_bits": transcript.certificate().certified_bits,
        "query_norm": encoding.query_norm,
        "tokens": encoding.tokens,
    }


class _Buried(TensorEncoding):
    """Tokens written once, and then as many ones of other values: whoever asks reads the mean."""

    def encode(self, x: Any) -> TensorTokens:
        """Return Alice's tokens; every round after the first has the values of the opposite string."""
        tokens = super().encode(x)
        arrays = [array.copy() for array in tokens.arrays]
        for values in arrays[1::2]:
            values[len(self.addresses) :] = 1 - values[len(self.addresses) :]
        return TensorTokens(*arrays)


def _streamed(parameters: dict[str, Any], randomness: Randomness) -> Streamed:
    """Return wire bits and errors of a SubGen on random unit keys, with queries of bounded norm."""
    dim, tokens, slots = parameters["dim"], parameters["tokens"], parameters["slots"]
    name, sides = MODELS[parameters["cache"]]
    rng = randomness.keys()
    drift = (1 + parameters.get("drift", 0.0) * np.arange(tokens))[:, None]
    k1, k2 = (gaussian_keys(tokens, dim, rng, dtype=np.float32) * drift.astype(np.float32) for _ in range(2))
    v1, v2 = (1 + 0.5 * rng.standard_normal((tokens, VALUE_DIM)).astype(np.float32) for _ in range(2))
    if parameters["kind"] == "jl":  # so that the products of both sides are spread out as well
        k1, k2 = np.sqrt(dim) * k1, k2
    stream: Stream = TensorTokens(k1, v1, k2, v2)
    if sides == 1:
        stream = Tokens(kronecker_rows(k1, k2), kronecker_rows(v1, v2))
    spec = resolve(f"{name}:delta={DELTA},cluster_slots={slots},value_slots={16 * slots}")
    coins = Coins(randomness.coins_seed())
    payload = write(spec.make(dim, VALUE_DIM, coins), stream)
    queries = QUERY_NORM * gaussian_keys(16, dim, rng, dtype=np.float32)
    answers = spec.restore(payload, dim, VALUE_DIM, coins).attend(queries)
    exact = (
        tensor_attention(queries, k1, v1, k2, v2)
        if sides == 2
        else softmax_attention(queries, *stream.arrays)
    )
    return {
        "wire_bits": 8 * len(payload),
        "key_bits": 32 * sum(array.size for array in stream.arrays[::2]),
        "stream_bits": 32 * sum(array.size for array in stream.arrays),
        "mean_square_error": float(np.mean(np.square(answers - exact))),
        "mean_square": float(np.mean(np.square(exact))),
    }


def most_bits(parameters: dict[str, Any]) -> int:
    """Return what no payload of keys in a unit ball exceeds: theory's clusters, slots, and the frame.

    Parameters
    ----------
    parameters : dict
        Those of a stream.

    Returns
    -------
    int
        Bits: float32 numbers and two float64 a value slot, 64 bits a count, 1 KiB a header.
    """
    dim, t = int(parameters["dim"]), int(parameters["slots"])
    clusters, sides = int((1 + 2 / DELTA) ** dim), int(MODELS[parameters["cache"]][1])
    floats = clusters * dim * (1 + t) + 16 * t * (dim + VALUE_DIM + 2) + 2
    return sides * (32 * floats + 64 * clusters + 8 * 1024) + 8 * 1024


def judge(records: Sequence[Record]) -> list[Check]:
    """Check the floors, the streams in few dimensions, and those of JL keys."""
    kinds = grouped(records, "kind")
    checks = []
    if floors := kinds.get("floor"):
        errors = sum(r.measured["errors"] for r in floors)
        long = grouped((r for r in floors if r.parameters["rounds"] > 1), "packing", "eta")
        bounds = {cell: {r.measured["query_norm"] for r in rows} for cell, rows in long.items()}
        bounded = all(len(norms) == 1 for norms in bounds.values())
        evidence = {"plays": len(floors), "errors": errors, "norm_of_any_length": bounded}
        checks.append(Check(DECODES, errors == 0 and bounded, evidence))
    if streams := kinds.get("stream"):
        shares = [r.measured["wire_bits"] / most_bits(r.parameters) for r in streams]
        checks.append(Check(FLAT, max(shares) <= 1, {"largest_share_of_constant": max(shares)}))
    if jl := kinds.get("jl"):
        shares = [r.measured["wire_bits"] / r.measured["key_bits"] for r in jl]
        checks.append(Check(SAVES_NOTHING, min(shares) > 1, {"wire_over_all_keys": shares}))
    return checks


def draw(records: Sequence[Record]) -> Figure:
    """Draw wire bits over the length beside the floor, and errors over memory."""
    figure, (left, right) = new_figure(2, width=5.0, height=3.9)
    looks = {
        ("SubGen4Cache", 2): "o-",
        ("SubGen4Cache", 3): "s-",
        ("SubGen2Cache", 2): "^--",
        ("SubGen2Cache", 3): "D--",
    }
    streams = where(records, kind="stream")
    for ((cache, dim), style), colour in zip(looks.items(), COLOURS, strict=False):
        points = series(where(streams, cache=cache, dim=dim), "tokens", "wire_bits")
        left.plot(*points, style, color=colour, markerfacecolor="none", label=f"{cache}, d = {dim}")
    sizes = np.array(sorted({r.parameters["tokens"] for r in streams}))
    left.plot(sizes, 64 * sizes * (3 + VALUE_DIM), ":", color=COLOURS[6], label="four float32 caches, d = 3")
    left.plot(
        sizes, 32 * sizes**2 * (3 + VALUE_DIM), "-.", color=COLOURS[6], label="two float32 caches, d = 3"
    )
    hexagon = len(KISSING["hexagon"].keys()) - 1
    floor = 2 * VALUE_DIM * np.minimum(sizes, hexagon)
    left.plot(sizes, floor, color=THEORY, label="floor, d = 4: 2 d_v min(n, 5)")
    shade_impossible(left, sizes, 1, floor)
    left.set(xscale="log", yscale="log", xlabel="tokens n of either side", ylabel="bits on the wire", ylim=(10, 1e12),
             title=f"a   Both SubGens flatten, δ = {DELTA:g}")  # fmt: skip
    ticks(left, sizes, "{:,}")
    left.legend(loc="upper left", ncols=2, fontsize=7)

    memory = where(records, kind="memory")
    for cache, marker, colour in zip(MODELS, ("o", "^"), (COLOURS[0], COLOURS[2]), strict=True):
        blocks = grouped(where(memory, cache=cache), "slots")
        points = [
            (np.mean([r.measured["wire_bits"] for r in rows]),
             np.sqrt(sum(r.measured["mean_square_error"] for r in rows) / sum(r.measured["mean_square"] for r in rows)))
            for _, rows in sorted(blocks.items())
        ]  # fmt: skip
        bits, errors = zip(*points, strict=True)
        right.plot(bits, errors, marker, color=colour, markerfacecolor="none", label=cache)
        right.plot(bits, errors[0] * np.sqrt(bits[0] / np.array(bits)), color=colour, linewidth=0.8, linestyle=":",
                   label="1/√bits" if cache == "SubGen4Cache" else None)  # fmt: skip
    right.set(xscale="log", yscale="log", xlabel="bits on the wire", ylabel="root mean square error, relative",
              title=f"b   Error against memory, n = 256, d = 2, |q| = {QUERY_NORM:g}")  # fmt: skip
    right.set_yticks([0.05, 0.1, 0.2, 0.3], ["0.05", "0.1", "0.2", "0.3"])
    ticks(right, [20_000, 50_000, 100_000, 200_000], "{:,}")
    right.legend()
    return figure


CLAIM = Claim(
    id="tensor-low-dimension",
    title="In few dimensions the floor of tensor attention stops growing with n, and so do both SubGens",
    source="Chen et al., arXiv:2503.11108 (SubGen4Cache, SubGen2Cache), our reading",
    statement=(
        "On P addresses in d/2 dimensions, written round after round, 2 d_v (P−1) bits decode at a query norm that "
        "does not grow with the stream. SubGen on either side, or on the n² rows, takes at most a constant number of "
        "bits at fixed d; on JL keys every token is a cluster of its own and nothing is saved."
    ),
    theory="7",
    checks=(DECODES, FLAT, SAVES_NOTHING),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control(
            "no sentinel", DECODES, cells(kind="floor", packing="d4", eta=0.0, rounds=[1, 4], sentinel=False)
        ),
        Control(
            "rounds that contradict the first",
            DECODES,
            cells(kind="floor", packing="d4", eta=0.5, rounds=16, noise=True),
        ),
        Control(
            "keys that leave the ball",
            FLAT,
            [_stream("SubGen4Cache", 2, 512, 1, drift=0.2), _stream("SubGen2Cache", 2, 48, 1, drift=0.5)],
        ),
        Control(
            "keys of two dimensions as JL keys",
            SAVES_NOTHING,
            [{**_stream("SubGen4Cache", 2, 256, 2), "kind": "jl"}],
        ),
    ),
)

if __name__ == "__main__":
    run_alone(CLAIM)
