"""Named directions: where a vector lies does not depend on the order of the names, and nothing is guessed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvfloor.reductions.weights.basis import Basis, Direction, linear, wires

SHAPES = st.dictionaries(
    st.sampled_from("abcd"), st.sampled_from([(), (1,), (3,), (2, 3), (2, 1, 2)]), min_size=1
)


@given(SHAPES, st.randoms())
def test_vectors_are_read_as_they_were_written_in_any_order(shapes, random):
    parts = {
        name: np.arange(2 * np.prod(shape), dtype=float).reshape(2, -1) for name, shape in shapes.items()
    }
    names = list(shapes)
    random.shuffle(names)
    for basis in (Basis.of(**shapes), Basis.of(**{name: shapes[name] for name in names})):
        rows = basis.vectors(2, **parts)
        assert rows.shape == (2, len(basis))
        for name, part in parts.items():
            assert np.array_equal(basis.coordinates(rows, name), part)


@given(SHAPES)
def test_a_map_composes_as_its_wires_do(shapes):
    basis = Basis.of(**shapes)
    other = Basis(basis.directions[::-1])
    there = linear(basis, other, wires(basis.directions, basis.directions, 2.0))
    back = linear(other, basis, wires(basis.directions, basis.directions, 0.5))
    assert np.array_equal(back @ there, np.eye(len(basis)))


def test_wires_of_the_same_ends_add_up_and_none_leaves_the_basis():
    ends = Direction("a"), Direction("b")
    source, target = Basis.of(a=()), Basis.of(b=())
    assert linear(source, target, [(*ends, 1.0), (*ends, 2.0)]) == 3
    with pytest.raises(KeyError):
        linear(source, target, [(ends[1], ends[0], 1.0)])


def test_labels_narrow_a_name():
    basis = Basis.of(value=(2, 3, 4), key=(4,))
    assert basis.named("value", 1, 2) == tuple(Direction("value", (1, 2, c)) for c in range(4))
    with pytest.raises(ValueError, match=r"no 'value' with labels \(2,\)"):
        basis.named("value", 2)
    with pytest.raises(ValueError, match="no 'query'"):
        basis.named("query")
    with pytest.raises(ValueError, match="twice"):
        Basis((Direction("a"), Direction("a")))
