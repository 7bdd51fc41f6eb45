"""Random streams: reproducible, independent of each other, and named by what they are for."""

from hypothesis import given
from hypothesis import strategies as st

from kvfloor.experiments.game.randomness import Randomness

seeds = st.integers(0, 2**128)
names = st.text(max_size=20)


def draws(randomness):
    """Return a first draw of every stream."""
    streams = (randomness.keys(), randomness.secret(), randomness.positions())
    return [int(rng.integers(2**63)) for rng in streams] + [randomness.coins_seed()]


@given(seeds, names, st.integers(0, 1000))
def test_the_same_name_gives_the_same_draws(root, name, block):
    assert draws(Randomness(root, name, block)) == draws(Randomness(root, name, block))


@given(seeds, names, st.integers(0, 1000))
def test_streams_blocks_names_and_roots_differ(root, name, block):
    # 63-bit draws: a chance collision among 16 of them has probability below 2^-55 per example.
    others = [
        Randomness(root, name, block),
        Randomness(root + 1, name, block),
        Randomness(root, name + "x", block),
        Randomness(root, name, block + 1),
    ]
    every = [draw for randomness in others for draw in draws(randomness)]
    assert len(set(every)) == len(every)


def test_coins_fit_a_signed_word():
    assert all(0 <= Randomness(seed, "x").coins_seed() < 2**63 for seed in range(200))
