"""Pointers chased by the hand-built transformer, through caches that keep some of its tokens (theory 19)."""

import math
from typing import Any, TypedDict

import numpy as np

from kvfloor.attention.caches import resolve
from kvfloor.attention.caches.base import Coins
from kvfloor.attention.softmax import softmax_attention
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.reductions.bounds.balls import log2_hamming_ball
from kvfloor.reductions.bounds.certificates import PREFIX_BITS
from kvfloor.reductions.checks import Floats
from kvfloor.reductions.keys.known import Keys
from kvfloor.reductions.problems.pointer_chasing import PointerChasing
from kvfloor.reductions.weights.doubling import Doubling, Head

NODES, DIM = 61, 64
SIGNIFICANCE_BITS = 40
FALSE_ALARM = 1e-6


class Chased(TypedDict):
    """A transformer: its errors and layers, its bits, and between which shares of right answers it must come."""

    errors: int
    layers: int
    wire_bits: int
    certified_bits: float
    least_right: float
    most_right: float


def chase(parameters: dict[str, Any], randomness: Randomness) -> Chased:
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
