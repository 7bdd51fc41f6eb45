"""Lazy Gumbel sampling: the exact law, and each ingredient by itself."""

import itertools

import numpy as np
import pytest
from scipy import stats

from kvfloor.attention.knn.gumbel import distinct, gumbels_above, lazy_gumbel
from kvfloor.attention.knn.shortlist import Near, Shortlist, shortlists

FALSE_ALARM = 1e-6  # of each statistical test below; the seeds are fixed
DRAWS = 100_000


def agrees_with_softmax(scores, drawn):
    """Say whether drawn tokens follow softmax (chi-square; rare tokens are pooled)."""
    expected = np.exp(scores - np.logaddexp.reduce(scores)) * len(drawn)
    counts = np.bincount(drawn, minlength=len(scores))
    rare = expected < 50
    if rare.any() and not rare.all():
        expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-300))
        counts = np.append(counts[~rare], counts[rare].sum())
        if expected[-1] < 50:
            expected, counts = expected[:-1], counts[:-1]
    statistic = ((counts - expected) ** 2 / expected).sum()
    return stats.chi2.sf(statistic, max(len(expected) - 1, 1)) > FALSE_ALARM


def drawn(scores, shortlist, seed=0):
    keys, query = scores[:, None], np.ones((1, 1))
    return lazy_gumbel(query, keys, shortlist, DRAWS, np.random.default_rng(seed))


@pytest.mark.parametrize("kept", [1, 3, 11, 12])
@pytest.mark.parametrize("shape", ["flat", "peaked", "ramp", "ties", "huge", "tiny"])
def test_the_law_is_softmax(shape, kept):
    scores = {
        "flat": np.zeros(12),
        "peaked": np.append(4.0, np.zeros(11)),
        "ramp": np.linspace(-2, 2, 12),
        "ties": np.repeat([0.0, 1.0, 2.0], 4),
        "huge": 1e6 + np.linspace(-2, 2, 12),
        "tiny": -1e6 + np.linspace(-1, 1, 12),
    }[shape]
    ((_, shortlist),) = shortlists(np.ones((1, 1)), scores[:, None], Near(kept))
    draws = drawn(scores, shortlist)
    assert agrees_with_softmax(scores, draws.tokens[0])
    mass = np.exp(shortlist.scores - shortlist.ceiling[0]).sum() if kept < 12 else np.inf
    assert draws.opened.mean() == pytest.approx((12 - kept) / (1 + mass), abs=12 * 5 / DRAWS**0.5)


def listed(scores, positions, ceiling):
    positions = np.array([positions])
    return Shortlist(positions, scores[positions], np.array([ceiling]), positions.shape[1], len(scores),
                     np.zeros(1, np.int64))  # fmt: skip


def test_any_shortlist_with_a_true_ceiling_gives_the_law_and_a_false_one_does_not():
    scores = np.linspace(-1, 2, 10)
    assert agrees_with_softmax(scores, drawn(scores, listed(scores, [0, 4], 2.0)).tokens[0])
    assert agrees_with_softmax(scores, drawn(scores, listed(scores, [0, 4], 5.0)).tokens[0])
    assert not agrees_with_softmax(scores, drawn(scores, listed(scores, [0, 4], 0.0)).tokens[0])


def test_many_queries_at_once_keep_to_themselves():
    rng = np.random.default_rng(1)
    keys, queries = rng.normal(size=(40, 3)), rng.normal(size=(5, 3)) * [[0], [1], [2], [3], [10]]
    ((_, shortlist),) = shortlists(queries, keys, Near(6))
    draws = lazy_gumbel(queries, keys, shortlist, DRAWS, rng)
    for query, tokens in zip(queries, draws.tokens, strict=True):
        assert agrees_with_softmax(keys @ query, tokens)


def test_causal_draws_see_no_later_token():
    rng = np.random.default_rng(2)
    keys, queries = rng.normal(size=(300, 2)), rng.normal(size=(300, 2))
    rows = np.array([0, 5, 5, 259, 299])
    for block, shortlist in shortlists(queries, keys, Near(4, causal=True), rows):
        draws = lazy_gumbel(queries[block], keys, shortlist, 20_000, rng)
        for row, tokens in zip(block, draws.tokens, strict=True):
            assert tokens.max() <= row
            assert agrees_with_softmax(keys[: row + 1] @ queries[row], tokens)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5])
def test_samples_are_uniform_over_sets(size):
    drawn = distinct(np.full(60_000, size), 5, np.random.default_rng(size)).reshape(60_000, size)
    assert (np.diff(drawn, axis=1) > 0).all()
    sets = list(itertools.combinations(range(5), size))
    counts = np.bincount((1 << drawn).sum(axis=1), minlength=32)[[sum(1 << v for v in s) for s in sets]]
    assert counts.sum() == 60_000
    expected = 60_000 / len(sets)
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert len(sets) == 1 or stats.chi2.sf(chi2, len(sets) - 1) > FALSE_ALARM


def test_samples_of_many_sizes_stand_one_after_the_other():
    counts = np.random.default_rng(3).integers(0, 21, 500)
    drawn = np.split(distinct(counts, 20, np.random.default_rng(4)), np.cumsum(counts)[:-1])
    for count, values in zip(counts, drawn, strict=True):
        assert len(values) == count
        assert (np.diff(values) > 0).all()
        assert len(values) == 0 or 0 <= values[0] <= values[-1] < 20


@pytest.mark.parametrize("bar", [-800.0, -2.0, 0.0, 3.0, 40.0, 700.0])
def test_gumbels_above_a_bar_have_the_conditional_law(bar):
    with np.errstate(over="ignore"):
        gumbels = gumbels_above(np.exp(np.full(20_000, -bar)), np.random.default_rng(5))
    # P(G > x | G > bar) = (1 - exp(-e^-x)) / (1 - exp(-e^-bar)); uniform if the law is right.
    with np.errstate(over="ignore"):
        uniform = np.expm1(-np.exp(-gumbels)) / np.expm1(-np.exp(-bar))
    assert (gumbels >= bar - 1e-9 * abs(bar)).all()
    assert stats.kstest(uniform, "uniform").pvalue > FALSE_ALARM


def test_zero_draws_are_refused():
    ((_, shortlist),) = shortlists(np.ones((1, 1)), np.ones((3, 1)), Near(1))
    with pytest.raises(ValueError, match="draws is 0, expected an integer from 1"):
        lazy_gumbel(np.ones((1, 1)), np.ones((3, 1)), shortlist, 0, np.random.default_rng(0))
