"""Low rank against NumPy's singular values: the best approximation, exact where the rank suffices."""

import numpy as np

from kvfloor.attention.caches import Coins, resolve
from kvfloor.attention.softmax import softmax_attention_reference


def made(ranks, dtype="float64"):
    return resolve(f"lowrank:key_rank={ranks[0]},value_rank={ranks[1]},dtype={dtype}").make(6, 5, Coins(0))


def tokens(seed, count=30):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 6)), rng.normal(size=(count, 5)), rng.normal(size=(4, 6))


def test_the_error_is_that_of_the_dropped_singular_values():
    """Eckart and Young; eigenvalues of a Gram matrix are right to about 1e-15 of the largest."""
    keys, values, _ = tokens(0)
    for ranks in ((1, 2), (3, 4), (5, 1)):
        cache = made(ranks)
        cache.append(keys, values)
        for rows, kept, rank in zip((keys, values), cache._tokens(), ranks, strict=True):
            dropped = np.linalg.svd(rows, compute_uv=False)[rank:]
            assert np.isclose(np.linalg.norm(rows - kept), np.linalg.norm(dropped), rtol=1e-10)


def test_a_rank_that_suffices_is_exact():
    keys, values, queries = tokens(1)
    keys[:, 3:] = keys[:, :3] @ np.ones((3, 3))
    exact = softmax_attention_reference(queries, keys, values)
    cache, short = made((3, 5)), made((2, 5))
    for one in (cache, short):
        one.append(keys, values)
    assert np.allclose(cache.attend(queries), exact, atol=1e-7)  # the square root of the Gram matrix's 1e-15
    assert not np.allclose(short.attend(queries), exact, atol=1e-3)


def test_fewer_tokens_than_the_rank_are_exact():
    keys, values, queries = tokens(2, count=2)
    cache = made((4, 4))
    cache.append(keys, values)
    assert np.allclose(cache.attend(queries), softmax_attention_reference(queries, keys, values), atol=1e-7)


def test_tokens_after_the_prefill_are_kept_whole():
    keys, values, _ = tokens(3)
    cache = made((1, 1))
    cache.append(keys[:20], values[:20])
    cache = type(cache).from_bytes(cache.to_bytes(), Coins(0))
    cache.append(keys[20:], values[20:])
    assert np.array_equal(cache._tokens()[0][20:], keys[20:])
    assert np.linalg.matrix_rank(cache._tokens()[0][:20]) == 1


def test_the_wire_holds_the_factors():
    sizes = []
    for count in (30, 130):
        cache = made((2, 3), "float16")
        cache.append(*tokens(4, count)[:2])
        sizes.append(len(cache.to_bytes()))
    assert sizes[1] - sizes[0] == 100 * (2 + 3) * 2 + 1  # and a longer count in the header
