"""Time full decoding, softmax(C K K^T) V, against torch: medians of interleaved rounds, one table.

Run it with ``make bench``, or ``python tests/benchmarks/full_decode.py --threads 2 --rounds 15``.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from kvfloor.attention import softmax_attention, softmax_tolerance

SIZES = ((4096, 64), (4096, 128), (16384, 64))
QUERY_NORMS = (40.0, 120.0)  # plain powers of two, and the bound subtracted


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of both BLAS and torch (default 1)")
    parser.add_argument("--rounds", type=int, default=11, help="interleaved rounds (default 11)")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("this benchmark needs torch, which `make bench` installs")
    torch.set_num_threads(options.threads)

    rng = np.random.default_rng(0)
    print(f"float32, {options.threads} thread(s), medians of {options.rounds} interleaved rounds")
    print(
        f"{'tokens':>8} {'dim':>4} {'query norm':>10} {'ours, ms':>9} {'torch, ms':>9} {'ours / torch':>12}"
    )
    for tokens, dim in SIZES:
        keys = rng.normal(size=(tokens, dim))
        keys = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)
        values = rng.integers(0, 2, (tokens, dim)).astype(np.float32)
        for query_norm in QUERY_NORMS:
            queries = np.float32(query_norm) * keys
            tensors = [torch.from_numpy(array)[None, None] for array in (queries, keys, values)]

            def ours(
                queries: np.ndarray = queries, keys: np.ndarray = keys, values: np.ndarray = values
            ) -> np.ndarray:
                return softmax_attention(queries, keys, values)

            def theirs(tensors: list = tensors) -> np.ndarray:
                return torch.nn.functional.scaled_dot_product_attention(*tensors, scale=1.0)[0, 0].numpy()

            with threadpool_limits(options.threads, user_api="blas"):
                tolerance = 2 * softmax_tolerance(tokens, dim, query_norm, np.float32)
                assert np.abs(ours() - theirs()).max() <= tolerance, "ours and torch do not agree"
                rounds = [(seconds(ours), seconds(theirs)) for _ in range(options.rounds)]
            mine, peer = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(
                f"{tokens:>8} {dim:>4} {query_norm:>10g} {1e3 * mine:>9.1f} {1e3 * peer:>9.1f} {mine / peer:>12.2f}"
            )


if __name__ == "__main__":
    main()
