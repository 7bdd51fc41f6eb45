"""Which heads need much of a cache: their attention's variance, and budgets that follow it (theory 8)."""

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import integer, matrix

__all__ = ["attention_variance", "classify_heads", "head_budgets"]

LEAST_GAP = 0.1


def attention_variance(queries: object, keys: object, heads: int) -> NDArray[np.float64]:
    """Return how much each head's attention moves with the query.

    With w_q the attention weights of query q, the mean of |w_q - mean w|^2 over the queries: 0 if all
    queries attend alike (vertical patterns), and near 1 if each attends to a token of its own (diagonal
    ones).

    Parameters
    ----------
    queries, keys : array_like, shapes (m, heads d) and (n, heads d)
        A calibration stream; head h has columns h d to (h + 1) d - 1.
    heads : int
        Number of heads, at least 1.

    Returns
    -------
    ndarray of float64, shape (heads,)
        Variances in [0, 1].

    Raises
    ------
    ValueError
        If the columns cannot be shared among the heads, or shapes or entries are wrong.
    """
    k = matrix("keys", keys)
    q = matrix("queries", queries, k.shape[1])
    heads = integer("heads", heads, 1, 1 << 20)
    if k.shape[1] % heads:
        raise ValueError(f"{k.shape[1]} columns cannot be shared among {heads} heads")
    variances = np.empty(heads)
    for head, (its_queries, its_keys) in enumerate(
        zip(np.hsplit(q.astype(np.float64), heads), np.hsplit(k.astype(np.float64), heads), strict=True)
    ):
        scores = its_queries @ its_keys.T
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        variances[head] = np.square(weights - weights.mean(axis=0)).sum(axis=1).mean()
    return variances


def classify_heads(variances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell structural heads, whose attention moves with the query, from contextual ones.

    The variances are parted at their widest gap; where no gap is as wide as 0.1, all heads are of one kind.

    Parameters
    ----------
    variances : ndarray, shape (heads,)
        What `attention_variance` returned.

    Returns
    -------
    ndarray of bool, shape (heads,)
        True for structural heads; all True where they are of one kind.
    """
    order = np.sort(variances)
    gaps = np.diff(order)
    if not len(gaps) or gaps.max() < LEAST_GAP:
        return np.ones(len(variances), np.bool_)
    structural: NDArray[np.bool_] = variances > order[int(gaps.argmax())]
    return structural


def head_budgets(structural: NDArray[np.bool_], kept_tokens: int, contextual_tokens: int) -> list[int]:
    """Share a budget out: few tokens for contextual heads, equal shares of the rest for structural ones.

    Parameters
    ----------
    structural : ndarray of bool, shape (heads,)
        What `classify_heads` returned.
    kept_tokens : int
        The budget of a head on average; `kept_tokens` times the number of heads are shared out.
    contextual_tokens : int
        What a contextual head gets, from 1 to `kept_tokens`.

    Returns
    -------
    list of int
        A budget a head; they add up to the whole.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    kept_tokens = integer("kept_tokens", kept_tokens, 1, 1 << 48)
    contextual_tokens = integer("contextual_tokens", contextual_tokens, 1, kept_tokens)
    if not structural.any():
        raise ValueError("at least one head must be structural, or nobody takes the rest of the budget")
    many = int(structural.sum())
    rest = kept_tokens * len(structural) - contextual_tokens * (len(structural) - many)
    shares = iter([rest // many + (place < rest % many) for place in range(many)])
    return [next(shares) if each else contextual_tokens for each in structural]
