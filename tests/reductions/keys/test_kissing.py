"""Kissing configurations in integers: counts, norms and products exactly; Leech's by the lattice it lies in."""

from collections import Counter

import numpy as np
import pytest

from kvfloor.reductions.keys.incoherence import check_unit_rows, incoherence
from kvfloor.reductions.keys.kissing import KISSING, quadratic_residue_code

SMALL = ("hexagon", "fcc", "d4", "e8")
SIZES = {"hexagon": 6, "fcc": 12, "d4": 24, "e8": 240, "leech": 196_560}


@pytest.fixture(scope="module")
def leech():
    return KISSING["leech"].vectors().astype(np.int32)


@pytest.mark.parametrize(("prime", "weights"), [
    (7, {0: 1, 4: 14, 8: 1}),
    (23, {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}),
])  # fmt: skip
def test_codes_are_linear_with_the_known_weights(prime, weights):
    code = quadratic_residue_code(prime)
    words = code @ (1 << np.arange(prime + 1))
    assert Counter(code.sum(axis=1).tolist()) == weights
    assert len(set(words.tolist())) == len(words) == 2 ** ((prime + 1) // 2)
    subsets = np.arange(len(code))[:, np.newaxis] >> np.arange((prime + 1) // 2) & 1
    spanned = (subsets @ basis(code)).astype(int) % 2 @ (1 << np.arange(prime + 1))
    assert set(spanned.tolist()) == set(words.tolist())
    # All weights are multiples of 4 and the code is linear, so the code lies in its dual; of half dimension.
    assert not ((basis(code) @ code.T) % 2).any()


@pytest.mark.parametrize("name", SMALL)
def test_small_kissing_configurations_in_integers(name):
    kissing = KISSING[name]
    vectors = kissing.vectors().astype(np.int64)
    assert vectors.shape == (SIZES[name], kissing.dim) == (kissing.size, kissing.dim)
    gram = (vectors * kissing.form) @ vectors.T
    assert set(gram.diagonal().tolist()) == {kissing.norm}
    np.fill_diagonal(gram, -kissing.norm)
    assert 2 * gram.max() == kissing.norm


def basis(code):
    """Return the words at places 1, 2, 4, ...: each doubles the words before it."""
    return code[1 << np.arange(code.shape[1] // 2)].astype(np.float32)


def in_leech_lattice(vectors):
    """Return which vectors lie in the lattice: one parity m; sum = 4 m mod 8; each residue mod 4 on a codeword."""
    parity = vectors[:, :1] % 2
    one_parity = (vectors % 2 == parity).all(axis=1)
    right_sum = (vectors.sum(axis=1) - 4 * parity[:, 0]) % 8 == 0
    # With one parity the entries have two residues modulo 4; the code is its own dual and holds all ones,
    # so it is enough that the places of one residue meet each word of a basis in an even number.
    upper = (vectors - parity) // 2 % 2
    in_code = ~((upper.astype(np.float32) @ basis(quadratic_residue_code(23)).T) % 2).any(axis=1)
    return one_parity & right_sum & in_code


def test_leech_has_its_three_shapes(leech):
    assert leech.shape == (196_560, 24)
    assert len(np.unique(leech, axis=0)) == 196_560
    assert set((leech * leech).sum(axis=1).tolist()) == {32}
    shapes = Counter(map(bytes, np.sort(np.abs(leech), axis=1).astype(np.uint8)))
    assert {
        bytes([0] * 16 + [2] * 8): 97_152,
        bytes([1] * 23 + [3]): 98_304,
        bytes([0] * 22 + [4] * 2): 1104,
    } == shapes


def test_no_two_of_leech_are_closer_than_sixty_degrees(leech):
    """All lie in a lattice without shorter vectors, so their differences have norm 32 (theory 4)."""
    for start in range(0, len(leech), 16_384):
        assert in_leech_lattice(leech[start : start + 16_384]).all()
    # And by plain multiplication for one vector of each shape: the known numbers of neighbours.
    for picked in leech[[0, 97_152, 98_000, 196_559]]:
        products = Counter((leech @ picked).tolist())
        assert products == {32: 1, 16: 4600, 8: 47_104, 0: 93_150, -8: 47_104, -16: 4600, -32: 1}


def test_vectors_outside_the_leech_lattice_are_told(leech):
    rng = np.random.default_rng(0)
    picked = leech[rng.choice(len(leech), 200, replace=False)]
    flipped = picked.copy()
    place = np.abs(picked).argmax(axis=1)
    rows = np.arange(len(picked))
    flipped[rows, place] *= -1  # a sign more or less: of (4, 4) it is a lattice vector again
    fours = np.abs(picked).max(axis=1) == 4
    assert np.array_equal(in_leech_lattice(flipped), fours)
    swapped = picked[:, [1, 0, *range(2, 24)]]  # a transposition is no automorphism of the Golay code
    assert not in_leech_lattice(swapped).all()
    doubled = picked.copy()
    doubled[:, 0] += 4
    assert not in_leech_lattice(doubled).any()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SMALL)
def test_keys_are_unit_vectors_of_incoherence_one_half(name, dtype):
    known = KISSING[name].keys(dtype)
    keys = check_unit_rows(known.rows)
    assert (keys.dtype, known.bound) == (dtype, 0.5)
    # Entries are off by 4 u relatively, and a product by d u more.
    tolerance = (keys.shape[1] + 8) * float(np.finfo(dtype).eps) / 2
    assert incoherence(keys) == pytest.approx(0.5, rel=0, abs=tolerance)


def test_leech_keys_are_unit_vectors(leech):
    keys = check_unit_rows(KISSING["leech"].keys(np.float32).rows)
    assert keys.dtype == np.float32
    assert np.array_equal(np.rint(keys * np.sqrt(32)), leech)


def test_other_primes_are_refused():
    with pytest.raises(ValueError, match="prime must be 7 or 23, got 5"):
        quadratic_residue_code(5)
