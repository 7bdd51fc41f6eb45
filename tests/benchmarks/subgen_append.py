"""Time how fast SubGen reads tokens, over their number and that of clusters, beside two peers in the same run.

The peers are the dense cache, which only copies, and the one matrix product of all keys with all
representatives that the search for the nearest one cannot do without: O(m d) a token. Medians of
interleaved rounds. Run it with ``python tests/benchmarks/subgen_append.py``.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from kvfloor.attention.caches import Coins, resolve
from kvfloor.experiments.game.hosts.numpy_caches import write
from kvfloor.reductions.encodings.protocol import Tokens

TOKENS = (1 << 14, 1 << 17)
CLUSTERS = (16, 128, 1024, 4096)
SPREAD, DELTA = 0.01, 0.5  # of the keys about their centres; the centres are further apart than both


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def stream(tokens: int, clusters: int, dim: int, rng: np.random.Generator) -> Tokens:
    """Return keys about so many centres of a sphere, the centres among them and first."""
    centres = rng.standard_normal((clusters, dim))
    centres *= 10 / np.linalg.norm(centres, axis=1, keepdims=True)
    keys = centres[np.append(np.arange(clusters), rng.integers(0, clusters, tokens - clusters))]
    keys[clusters:] += SPREAD * rng.standard_normal((tokens - clusters, dim))
    return Tokens(keys.astype(np.float32), rng.standard_normal((tokens, dim)).astype(np.float32))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=16, help="dimension of keys and values (default 16)")
    parser.add_argument("--slots", type=int, default=64, help="slots a cluster, and value slots (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    options = parser.parse_args()
    dim, rng = options.dim, np.random.default_rng(0)
    spec = f"subgen:delta={DELTA},cluster_slots={options.slots},value_slots={options.slots}"
    print(f"{spec}, dim = value dim = {dim}, 1 thread, tokens per second, medians of {options.rounds} rounds")
    print(
        f"{'tokens':>8} {'clusters':>8} {'subgen':>12} {'product':>12} {'dense':>12} {'subgen / product':>17}"
    )
    for tokens in TOKENS:
        for clusters in CLUSTERS:
            given = stream(tokens, clusters, dim, rng)
            keys = given.keys.astype(np.float64)
            representatives = np.ascontiguousarray(keys[:clusters].T)

            def fill(name: str, given: Tokens = given) -> object:
                cache = resolve(name).make(dim, dim, Coins(0))
                write(cache, given)
                return cache

            def product(keys: np.ndarray = keys, representatives: np.ndarray = representatives) -> None:
                for start in range(0, len(keys), 256):
                    keys[start : start + 256] @ representatives

            works = (lambda fill=fill: fill(spec), product, lambda fill=fill: fill("dense:dtype=float32"))
            with threadpool_limits(1, user_api="blas"):
                rounds = [[seconds(work) for work in works] for _ in range(options.rounds)]
            rates = [tokens / statistics.median(column) for column in zip(*rounds, strict=True)]
            print(
                f"{tokens:>8,} {clusters:>8,} {rates[0]:>12,.0f} {rates[1]:>12,.0f} {rates[2]:>12,.0f}"
                f" {rates[0] / rates[1]:>17.2f}"
            )


if __name__ == "__main__":
    main()
