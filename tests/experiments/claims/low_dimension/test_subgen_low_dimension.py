"""What the figure of SubGen in low dimension calls a packing number is one."""

import pytest

from kvfloor.experiments.claims import all_claims
from kvfloor.experiments.drawing import style
from kvfloor.experiments.engine.store import Store
from kvfloor.reductions.keys.packing_numbers import packing_limit


@pytest.fixture(scope="module")
def curves(reproduced):
    """Return the lines of panel b by their labels: dimensions and numbers of keys."""
    _, folder = reproduced
    claim = all_claims()["subgen-low-dimension"]
    with Store(folder / "r.sqlite") as store, style.styled():
        rows = [r for r in store.records() if (r.claim, r.variant) == (claim.module, "claim")]
        _, axes = claim.draw(rows).axes
    return {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_packing_numbers_are_the_kissing_numbers(curves):
    known, bound = curves["P(d, 1/2): kissing numbers"], curves["1 / area of a 60° cap, at most P(d, 1/2)"]
    assert {dim: known[dim] for dim in (2, 3, 4)} == {2: 6, 3: 12, 4: 24}
    assert all(bound[dim] <= known.get(dim, packing_limit(dim, 0.5)) for dim in bound)
