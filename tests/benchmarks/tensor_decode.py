"""Time decoding one query of tensor attention against torch, and against rows that are formed or stored.

Run it with ``python tests/benchmarks/tensor_decode.py --threads 1 --rounds 9``, in an environment with torch.
"""

import argparse
import math
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from kvfloor.attention import tensor_attention, tensor_tolerance
from kvfloor.attention.tensor import kronecker_rows

SIZES = ((512, 64), (1024, 64), (4096, 64), (1024, 16), (1024, 256))
LARGEST_ROWS = 1024  # stored rows of more tokens would take gigabytes


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def formed(query: np.ndarray, k1: np.ndarray, v1: np.ndarray, k2: np.ndarray, v2: np.ndarray) -> np.ndarray:
    """Attend to rows that are formed a few tokens of the first side at a time, so that they fit memory."""
    step = max(1, (1 << 22) // k2.size)
    top, total, output = -math.inf, 0.0, np.zeros(v1.shape[1])
    for start in range(0, len(k1), step):
        part = slice(start, start + step)
        scores = kronecker_rows(k1[part], k2) @ query[0]
        highest = max(top, float(scores.max()))
        weights, scale = np.exp(scores - highest), math.exp(top - highest)
        output = output * scale + weights @ kronecker_rows(v1[part], v2)
        total, top = total * scale + float(weights.sum()), highest
    return (output / total)[None]


def stored(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Attend to rows that are stored: the two-cache form."""
    scores = keys @ query[0]
    weights = np.exp(scores - scores.max())
    return (weights @ values / weights.sum())[None]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of both BLAS and torch (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("this benchmark needs torch, which `make bench` installs")
    torch.set_num_threads(options.threads)

    rng = np.random.default_rng(0)
    print(f"one query, float32, {options.threads} thread(s), medians of {options.rounds} interleaved rounds")
    print(f"{'tokens':>7} {'dim':>4} {'ours, ms':>9} {'torch, ms':>10} {'torch/ours':>11} {'formed/ours':>12} "
          f"{'stored/ours':>12} {'peak, MB':>9}")  # fmt: skip
    for tokens, dim in SIZES:
        k1, v1, k2, v2 = (rng.normal(size=(tokens, dim)).astype(np.float32) for _ in range(4))
        query = (3 * rng.normal(size=(1, dim)) / math.sqrt(dim)).astype(np.float32)
        tensors = [torch.from_numpy(array) for array in (query, k1, v1, k2, v2)]
        arrays = query, k1, v1, k2, v2

        def ours(arrays: tuple = arrays) -> np.ndarray:
            return tensor_attention(*arrays)

        def theirs(tensors: list = tensors) -> np.ndarray:
            q, k1, v1, k2, v2 = tensors
            weights = torch.softmax(((k1 * q) @ k2.T).flatten(), dim=0).view(len(k1), len(k2))
            return ((weights @ v2) * v1).sum(dim=0, keepdim=True).numpy()

        peers: list[Callable[[], np.ndarray]] = [theirs, lambda arrays=arrays: formed(*arrays)]
        if tokens <= LARGEST_ROWS:
            rows = kronecker_rows(k1, k2), kronecker_rows(v1, v2)
            peers.append(lambda rows=rows, query=query: stored(query, *rows))
        with threadpool_limits(options.threads, user_api="blas"):
            bound = float(np.linalg.norm(query * k1, axis=1).max() * np.linalg.norm(k2, axis=1).max())
            allowed = 4 * tensor_tolerance(tokens, tokens, dim, bound, np.float32)
            allowed *= float(np.abs(v1).max() * np.abs(v2).max())
            for peer in peers:
                assert np.abs(ours() - peer()).max() <= allowed, "ours and a peer do not agree"
            rounds = [[seconds(work) for work in (ours, *peers)] for _ in range(options.rounds)]
            tracemalloc.start()
            ours()
            peak = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
        mine, *others = (statistics.median(column) for column in zip(*rounds, strict=True))
        shown = f"{others[2] / mine:.1f}" if len(others) > 2 else "-"
        print(f"{tokens:>7} {dim:>4} {1e3 * mine:>9.2f} {1e3 * others[0]:>10.2f} {others[0] / mine:>11.2f} "
              f"{others[1] / mine:>12.1f} {shown:>12} {peak:>9.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
