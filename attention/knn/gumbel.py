"""Lazy Gumbel sampling: exact draws from softmax at about n/k score evaluations each (theory 9)."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.checks import Matrix, integer
from kvfloor.attention.knn.indexes import Positions
from kvfloor.attention.knn.shortlist import Shortlist

__all__ = ["Draws", "distinct", "gumbels_above", "lazy_gumbel"]

_Doubles: TypeAlias = NDArray[np.float64]

_ENTRIES_AT_ONCE = 1 << 22  # entries of gathered keys, and draws, in memory at a time


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Independent draws from the softmax of m queries.

    Parameters
    ----------
    tokens : ndarray of int64, shape (m, draws)
        The tokens drawn.
    opened : ndarray of int64, shape (m, draws)
        Tokens of the rest that had to be scored for each draw.
    """

    tokens: Positions
    opened: Positions


def lazy_gumbel(
    queries: Matrix, keys: Matrix, shortlist: Shortlist, draws: int, rng: np.random.Generator
) -> Draws:
    """Draw tokens with exactly the probabilities of softmax, scoring few beyond the shortlist.

    By the Gumbel trick a draw is the token of the largest score + Gumbel. Over the shortlist S this maximum
    M is a Gumbel about log sum_S e^s, and independent of the token that attains it, which is drawn from the
    softmax of S. A token outside S can only win if its Gumbel exceeds B = M - ceiling: their number is
    binomial, they are distinct and uniform, and get Gumbels conditioned to exceed B. The law is exact for
    every S and every true ceiling; near neighbours only make it cheap. With c = e^ceiling / sum_S e^s

        E[opened] = (n - k) c / (1 + c),

    at most (n - k)/(k + 1) where S are the k largest scores.

    Parameters
    ----------
    queries : ndarray, shape (m, d)
        Queries.
    keys : ndarray, shape (n, d)
        Keys of all tokens.
    shortlist : Shortlist
        Of these queries.
    draws : int
        Draws for each query, at least 1.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Draws
        Independent over draws and queries.

    Raises
    ------
    ValueError
        If `draws` is not a positive integer.

    References
    ----------
    S. Mussmann, D. Levy, S. Ermon. Fast amortized inference and learning in log-linear models with randomly
    perturbed nearest neighbor search. UAI 2017.
    """
    integer("draws", draws, 1, 1 << 40)
    scores = shortlist.scores.astype(np.float64)
    peaks = scores.max(axis=1)
    masses = np.cumsum(np.exp(scores - peaks[:, None]), axis=1)
    logs = peaks + np.log(masses[:, -1])
    odds = np.exp(np.minimum(shortlist.ceiling - logs, 700.0))  # c
    expected = shortlist.rest * float((odds / (1 + odds)).sum())
    step = max(1, int(_ENTRIES_AT_ONCE / (keys.shape[1] * expected + len(queries))))
    parts = [
        _draw(queries, keys, shortlist, masses, logs, min(step, draws - start), rng)
        for start in range(0, draws, step)
    ]
    return Draws(np.hstack([p.tokens for p in parts]), np.hstack([p.opened for p in parts]))


def _draw(
    queries: Matrix,
    keys: Matrix,
    shortlist: Shortlist,
    masses: _Doubles,
    logs: _Doubles,
    draws: int,
    rng: np.random.Generator,
) -> Draws:
    """Draw as `lazy_gumbel` does, all at once."""
    shape = len(queries), draws
    best = logs[:, None] + rng.gumbel(size=shape)
    tokens = np.take_along_axis(shortlist.positions, _categorical(masses, draws, rng), axis=1)
    with np.errstate(over="ignore"):  # a bar far below every Gumbel: all tokens pass it
        rates = np.exp(shortlist.ceiling[:, None] - best)  # e^-B
    opened = rng.binomial(shortlist.rest, -np.expm1(-rates))
    counts = opened.reshape(-1)
    owners = np.repeat(np.arange(counts.size), counts)
    if not len(owners):
        return Draws(tokens, opened)

    rows = owners // draws
    rest = shortlist.outside(rows, distinct(counts, shortlist.rest, rng))
    scores = np.einsum("ij,ij->i", queries[rows], keys[rest], dtype=np.float64)
    perturbed = scores + gumbels_above(rates.reshape(-1)[owners], rng)
    asked = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[asked]
    highest = np.maximum.reduceat(perturbed, starts)
    winners = np.flatnonzero(perturbed == np.repeat(highest, counts[asked]))
    winners = winners[np.searchsorted(winners, starts)]  # the first, should two agree to the last bit
    beaten = highest > best.reshape(-1)[asked]
    tokens.reshape(-1)[asked[beaten]] = rest[winners[beaten]]
    return Draws(tokens, opened)


def gumbels_above(rates: _Doubles, rng: np.random.Generator) -> _Doubles:
    """Draw Gumbels conditioned to exceed B, given e^-B.

    A Gumbel is -log E with E exponential; it exceeds B iff E < e^-B. E is drawn by its inverse distribution
    function in a form that loses nothing where B is large (rates tiny) or far below 0 (rates infinite).

    Parameters
    ----------
    rates : ndarray, shape (p,)
        e^-B, positive, up to infinity.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (p,)
        One Gumbel each.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bool((gumbels_above(np.full(1000, np.exp(-300.0)), rng) >= 300.0).all())
    True
    """
    uniform = 1.0 - rng.random(len(rates))  # in (0, 1]
    with np.errstate(divide="ignore"):  # E = infinity where uniform = 1 and B = -infinity
        exponentials = -np.log1p(uniform * np.expm1(-rates))
        gumbels: _Doubles = -np.log(exponentials)
    return gumbels


def distinct(counts: Positions, population: int, rng: np.random.Generator) -> Positions:
    """Draw uniform samples without replacement of many sizes at once.

    Repeats are drawn again until there are none: the first m distinct values of a uniform sequence are a
    uniform set. Of more than half the population the complement is drawn.

    Parameters
    ----------
    counts : ndarray of int, shape (p,)
        Size of each sample, from 0 to `population`.
    population : int
        Values are 0 .. population - 1.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of int64, shape (sum of counts,)
        The samples, one after the other, each ascending.
    """
    most = 2 * counts > population
    drawn = np.where(most, population - counts, counts)
    codes = np.repeat(np.arange(len(counts)) * population, drawn)  # owner and value in one number
    codes += rng.integers(population, size=len(codes))
    while True:
        codes.sort()
        repeats = np.flatnonzero(codes[1:] == codes[:-1])
        if not len(repeats):
            break
        codes[repeats] += rng.integers(population, size=len(repeats)) - codes[repeats] % population
    if most.any():
        large = np.flatnonzero(most)
        absent = np.ones((len(large), population), np.bool_)
        place = np.searchsorted(large, codes // population)
        inside = most[codes // population]
        absent[place[inside], codes[inside] % population] = False
        rows, values = np.nonzero(absent)
        codes = np.sort(np.concatenate([codes[~inside], large[rows] * population + values]))
    samples: Positions = codes % population
    return samples


def _categorical(masses: _Doubles, draws: int, rng: np.random.Generator) -> Positions:
    """Draw columns by cumulated masses, shape (m, s); a column without mass is never drawn."""
    count, columns = masses.shape
    rows = np.arange(count)[:, None]
    cumulated = masses / masses[:, -1:] + rows  # ascending along the flattened array
    flat = np.searchsorted(cumulated.reshape(-1), rng.random((count, draws)) + rows, side="right")
    last = np.argmax(masses == masses[:, -1:], axis=1)  # where rounding up would pass the last mass
    drawn: Positions = np.minimum(flat - columns * rows, last[:, None])
    return drawn
