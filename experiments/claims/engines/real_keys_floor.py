"""The barrier at a trained model's own keys and its own queries' norms (theory 17)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.engines.plain.files import PACKAGES
from kvfloor.attention.engines.plain.texts import traced
from kvfloor.experiments.claims import run_alone
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.game.measured import Certified
from kvfloor.experiments.game.protocol import play
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.judging.claim import Check, Claim, Control, Scale, cells
from kvfloor.reductions.encodings.addressed import AddressedEncoding, sharpest_queries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kvfloor.reductions.checks import Floats

REQUIRES = PACKAGES
MODEL = "all heads together certify more than nine tenths of a bit a value entry, at every length"
HEADS = "so does every head above the first layer"
GROWS = "twice the tokens certify at least 1.9 times the bits, in every head above the first layer"
ROTATES = "a Hadamard rotation lowers the error of the keys in q4_0 by more than a tenth"

LAYERS, KV_HEADS, DIM, LONGEST = 30, 3, 64, 1024
EXACT = "dense:dtype=float32"
ROTATIONS = {on: f"blocks:type_k=q4_0,type_v=q8_0,rotation={on}" for on in ("off", "on")}
LEVELS = [2, 4, 16, 64, 256]


def grid(scale: Scale) -> list[dict[str, Any]]:
    """Return every head of the model at growing lengths of a text, and in a quantised cache."""
    texts = ["prose"] if scale == "quick" else ["prose", "rhyme"]
    lengths = [512, 1024] if scale == "quick" else [128, 256, 512, 1024]
    heads: dict[str, Any] = {"layer": range(LAYERS), "head": range(KV_HEADS), "text": texts}
    third = heads | {"layer": range(0, LAYERS, 3)}
    rotations = cells(**third, tokens=[512], cache=list(ROTATIONS.values()), alphabet=[2])
    levels = cells(**heads, tokens=[LONGEST], cache=[EXACT], alphabet=LEVELS[1:])
    return cells(**heads, tokens=lengths, cache=[EXACT], alphabet=[2]) + levels + rotations


def _some(**more: Any) -> list[dict[str, Any]]:
    """Return a few heads under false pretences."""
    return cells(
        layer=[10, 20], head=[0, 2], text="prose", tokens=[512, LONGEST], cache=EXACT, alphabet=2, **more
    )


GAUSSIAN = cells(
    layer=[10, 20],
    head=range(KV_HEADS),
    text="prose",
    tokens=512,
    cache=[*ROTATIONS.values()],
    alphabet=2,
    gaussian=True,
)


class Measured(Certified):
    """A play beside real keys: the relative error of the keys as the cache keeps them, and the queries' norm."""

    key_error: float
    query_norm: float


def measure(parameters: dict[str, Any], randomness: Randomness) -> Measured:
    """Play INDEX in the values of one head of the model."""
    keys, norms = _head(parameters)
    scale = parameters.get("norm_scale", 1.0)
    if parameters.get("gaussian"):
        drawn = randomness.keys().standard_normal(keys.shape)
        keys = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(keys.dtype)
        addresses = sharpest_queries(keys, norms)
    elif start := parameters.get("repeated_from"):
        keys = np.concatenate([keys[:start], np.repeat(keys[start : start + 1], len(keys) - start, axis=0)])
        addresses = sharpest_queries(keys, norms)
    else:
        addresses = _addresses(*(parameters[name] for name in ("text", "layer", "head", "tokens")), scale)
    if parameters.get("shuffled"):
        keys = keys[randomness.keys().permutation(len(keys))]
    encoding = AddressedEncoding(keys, addresses, DIM, parameters["alphabet"])
    transcript = play(encoding, parameters["cache"], randomness)
    return {
        "errors": transcript.errors,
        "symbols": transcript.symbols,
        "wire_bits": transcript.wire_bits,
        "certified_bits": transcript.certificate().certified_bits,
        "key_error": _key_error(keys, parameters["cache"]),
        "query_norm": float(np.median(norms)),
    }


@lru_cache(8)
def _addresses(text: str, layer: int, head: int, tokens: int, scale: float) -> "Floats":
    """Return the sharpest queries for the keys of a head, of the model's own norms times a scale."""
    keys, norms = _head({"text": text, "layer": layer, "head": head, "tokens": tokens})
    return sharpest_queries(keys, norms * scale)


def _head(parameters: dict[str, Any]) -> "tuple[Floats, Floats]":
    """Return the keys of a head, and for each token the norm of its longest query in the group, over sqrt d."""
    tokens, head = parameters["tokens"], parameters["head"]
    trace = traced(parameters["text"], LONGEST)[parameters["layer"]]
    group = len(trace.queries) // len(trace.keys)
    queries = trace.queries[head * group : (head + 1) * group, :tokens]
    return trace.keys[head, :tokens], np.linalg.norm(queries, axis=2).max(axis=0) / DIM**0.5


def _key_error(keys: "Floats", cache: str) -> float:
    """Return the error of the keys that a cache stands for, relative to the keys."""
    filled: Any = resolve(cache).make(DIM, DIM, Coins(0))
    filled.append(keys, np.ones_like(keys))
    kept = filled.stand_ins()[0]
    return float(np.linalg.norm(kept - keys) / np.linalg.norm(keys))


def judge(records: Sequence[Record]) -> list[Check]:
    """Check what heads certify, how it grows, and what the rotation does to the keys."""
    bits = [r for r in records if r.parameters["cache"] == EXACT and r.parameters["alphabet"] == 2]
    checks = []
    if bits:
        shares = {length: _shares(bits, length) for length in sorted({r.parameters["tokens"] for r in bits})}
        together = {length: float(np.mean(list(found.values()))) for length, found in shares.items()}
        checks.append(Check(MODEL, min(together.values()) > 0.9, {"bits_an_entry": together}))
        above = {n: {head: s for head, s in found.items() if head[1] > 0} for n, found in shares.items()}
        least = min((share, head) for found in above.values() for head, share in found.items())
        below = [share for found in shares.values() for head, share in found.items() if head[1] == 0]
        evidence = {"least_bits_an_entry": least[0], "at": list(least[1]), "first_layer": sorted(below)}
        checks.append(Check(HEADS, least[0] > 0.9, evidence))
        growth = [
            2 * above[2 * n][head] / max(above[n][head], 1e-9)
            for n in above
            if 2 * n in above
            for head in above[n]
        ]
        checks.append(Check(GROWS, min(growth) >= 1.9, {"least_growth_of_bits": min(growth)}))
    quantised = [r for r in records if r.parameters["cache"] != EXACT]
    if quantised:
        errors = {
            on: float(np.mean([r.measured["key_error"] for r in quantised if r.parameters["cache"] == cache]))
            for on, cache in ROTATIONS.items()
        }
        checks.append(Check(ROTATES, errors["on"] < 0.9 * errors["off"], {"relative_key_error": errors}))
    return checks


def _shares(records: Sequence[Record], tokens: int) -> dict[tuple[str, int, int], float]:
    """Return the certified bits a value entry of every head at a length."""
    return {
        (r.parameters["text"], r.parameters["layer"], r.parameters["head"]): (
            r.measured["certified_bits"] / r.measured["symbols"]
        )
        for r in records
        if r.parameters["tokens"] == tokens
    }


def draw(records: Sequence[Record]) -> "Figure":
    """Draw bits a token over layers, and the whole model's bits a token over the accuracy asked."""
    figure, (left, right) = new_figure(2, width=4.9, height=3.9)
    longest = [
        r
        for r in records
        if r.parameters["tokens"] == LONGEST
        and r.parameters["cache"] == EXACT
        and r.parameters["text"] == "prose"
    ]
    for head, marker in enumerate("os^"):
        rows = [r for r in longest if r.parameters["head"] == head and r.parameters["alphabet"] == 2]
        layers = [r.parameters["layer"] for r in rows]
        heights = [r.measured["certified_bits"] / LONGEST for r in rows]
        label = f"key-value head {head}"
        left.plot(layers, heights, marker, color=COLOURS[head], markerfacecolor="none", label=label)
    shade_impossible(left, [-1, LAYERS], DIM, 1.25 * DIM)
    left.axhline(DIM, color=THEORY, linewidth=1, label="all bits: the hard instance")
    left.set(
        xlabel="layer",
        ylabel="certified bits a token and head",
        ylim=(0, 1.2 * DIM),
        xlim=(-1, LAYERS),
        title=f"a. Real keys hold what hard keys hold (n = {LONGEST})",
    )
    left.legend(loc="lower right")
    floor = [
        sum(r.measured["certified_bits"] for r in longest if r.parameters["alphabet"] == q) / LONGEST
        for q in LEVELS
    ]
    entries = LAYERS * KV_HEADS * DIM
    shade_impossible(right, LEVELS, 0, floor, label="no cache takes less")
    right.plot(LEVELS, floor, "o-", color=COLOURS[0], label="certified")
    right.plot(LEVELS, entries * np.log2(LEVELS), ":", color=THEORY, label="hidden")
    for bits, name, style in ((16, "float16", "-"), (8.5, "q8_0", "--"), (4.5, "q4_0", "-.")):
        right.axhline(
            bits * entries, color=COLOURS[6], linestyle=style, linewidth=1, label=f"values in {name}"
        )
    right.set(
        xscale="log",
        yscale="log",
        xticks=LEVELS,
        xticklabels=[str(q) for q in LEVELS],
        xlabel="levels that an answer must tell apart",
        ylabel="bits a token, all layers and heads",
        title="b. SmolLM2-135M's values and their floor",
    )
    right.minorticks_off()
    right.legend(loc="lower right")
    return figure


CLAIM = Claim(
    id="real-keys-floor",
    title="A trained model's own keys hold the whole barrier",
    source="Ours, on SmolLM2-135M",
    statement=(
        "Beside the keys that a trained model makes of a text, asked by queries of the norms that its own queries "
        "have, the values hold more than nine tenths of n d_v bits, in every head above the first layer, and twice "
        "as many in twice as long a text: at a real model's geometry and temperature no cache can take less."
    ),
    theory="17",
    checks=(MODEL, HEADS, GROWS, ROTATES),
    cells=grid,
    measure=measure,
    judge=judge,
    draw=draw,
    controls=(
        Control("keys at other tokens", MODEL, _some(shuffled=True)),
        Control("queries of an eighth of the norm", HEADS, _some(norm_scale=1 / 8)),
        Control("one key over and over", GROWS, _some(repeated_from=400)),
        Control("Gaussian keys, rotated", ROTATES, GAUSSIAN),
    ),
    requires=REQUIRES,
)

if __name__ == "__main__":
    run_alone(CLAIM)
