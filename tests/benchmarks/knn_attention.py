"""Time full kNN attention against exact attention and torch in the same run, and show a million tokens.

Run it with ``python tests/benchmarks/knn_attention.py --threads 2``; ``--tokens 100000`` adds that size and
``--million 256`` answers so many queries over a million tokens. torch is compared where it is installed.
Seconds are of the processor unless it says wall; the answers' errors are measured beside them.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable
from math import isqrt

import numpy as np
from threadpoolctl import threadpool_limits

from kvfloor.attention import softmax_attention
from kvfloor.attention.knn import CellIndex, Inputs, Near, knn_attention, recall, truncated_attention

QUERY_NORM = 6.0
COMPARED = 128  # queries whose error is measured


def instance(kind: str, tokens: int, dim: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return float32 queries near keys, unit keys, and 0/1 values that follow the keys."""
    keys = rng.standard_normal((tokens, dim), dtype=np.float32)
    if kind == "clustered":
        centres = rng.standard_normal((isqrt(tokens), dim), dtype=np.float32)
        keys = centres[rng.integers(len(centres), size=tokens)] + np.float32(0.3) * keys
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = keys[rng.permutation(tokens)] + rng.standard_normal(
        (tokens, dim), dtype=np.float32
    ) / np.float32(2 * dim**0.5)
    queries *= np.float32(QUERY_NORM) / np.linalg.norm(queries, axis=1, keepdims=True)
    values = keys @ rng.standard_normal((dim, dim), dtype=np.float32) > 0
    return queries, keys, values.astype(np.float32)


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """Return a result, processor seconds and wall seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - processor, time.perf_counter() - wall


def compare(kind: str, tokens: int, dim: int, torch: object) -> None:
    """Print the rows of one size."""
    rng = np.random.default_rng(0)
    queries, keys, values = instance(kind, tokens, dim, rng)
    inputs, root = Inputs(queries, keys, values), isqrt(tokens)
    in_cells = lambda: Near(root, CellIndex(keys, rng, visited=2))  # noqa: E731
    exact = softmax_attention(queries[:COMPARED], keys, values)
    ways: dict[str, Callable[[], object]] = {
        "exact attention": lambda: softmax_attention(queries, keys, values),
        "kNN, exact search": lambda: knn_attention(inputs, Near(root), root, rng),
        "kNN, cells": lambda: knn_attention(inputs, in_cells(), root, rng),
        "cut off, cells": lambda: truncated_attention(inputs, in_cells()),
    }
    if torch is not None:
        tensors = [torch.from_numpy(array)[None, None] for array in (queries, keys, values)]
        attend = torch.nn.functional.scaled_dot_product_attention
        ways["torch"] = lambda: attend(*tensors, scale=1.0)[0, 0].numpy()
    base = None
    for name, work in ways.items():
        result, processor, wall = timed(work)
        outputs = getattr(result, "outputs", result)
        probes = result.probes.mean() if hasattr(result, "probes") else tokens
        error = float(np.sqrt(((outputs[:COMPARED] - exact) ** 2).mean()))
        base = base or processor
        print(
            f"{kind:>9} {tokens:>8} {name:>18} {processor:>10.2f} {wall:>9.2f} {processor / base:>10.3f} "
            f"{probes:>10.0f} {error:>9.4f}",
            flush=True,
        )


def sample(kind: str, tokens: int, count: int, dim: int, rng: np.random.Generator) -> None:
    """Answer some queries over many tokens through cells, beside exact attention."""
    queries, keys, values = instance(kind, tokens, dim, rng)
    queries, root = queries[:count].copy(), isqrt(tokens)
    tracemalloc.start()
    index, build, _ = timed(lambda: CellIndex(keys, rng, visited=2, rounds=1))
    inputs = Inputs(queries, keys, values)
    answer, near, _ = timed(lambda: knn_attention(inputs, Near(root, index), root, rng))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    exact, full, _ = timed(lambda: softmax_attention(queries, keys, values))
    error = float(np.sqrt(((answer.outputs - exact) ** 2).mean()))
    print(
        f"n = {tokens:,}, {kind} keys: index {build:.1f} s; {count} queries {near:.2f} s, exact {full:.2f} s, "
        f"ratio {near / full:.3f}; probes {answer.probes.mean():,.0f} a query; "
        f"recall {recall(index, queries[:32], root):.2f}; error {error:.4f}; "
        f"peak memory {peak / 2**20:,.0f} MiB beside arrays of {2 * keys.nbytes / 2**20:,.0f} MiB",
        flush=True,
    )


def million(count: int, dim: int) -> None:
    """Answer some queries over a million tokens, on both kinds of keys."""
    tokens, rng = 1_000_000, np.random.default_rng(0)
    for kind in ("random", "clustered"):
        sample(kind, tokens, count, dim, rng)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of both BLAS and torch (default 1)")
    parser.add_argument("--tokens", type=int, nargs="*", default=[4096, 16384, 65536], help="sizes")
    parser.add_argument("--dim", type=int, default=64, help="dimension of keys and values (default 64)")
    parser.add_argument("--million", type=int, default=0, help="queries over a million tokens (default none)")
    options = parser.parse_args()
    try:
        import torch

        torch.set_num_threads(options.threads)
    except ImportError:
        torch = None
        print("torch is not installed: exact attention in NumPy is the peer")
    with threadpool_limits(options.threads, user_api="blas"):
        print(
            f"float32, d = {options.dim}, k = tail = √n, {options.threads} thread(s), index building included"
        )
        print(
            f"{'keys':>9} {'tokens':>8} {'':>18} {'CPU, s':>10} {'wall, s':>9} {'of exact':>10} {'probes':>10} {'error':>9}"
        )
        for kind in ("random", "clustered"):
            for tokens in options.tokens:
                compare(kind, tokens, options.dim, torch)
        if options.million:
            million(options.million, options.dim)


if __name__ == "__main__":
    main()
