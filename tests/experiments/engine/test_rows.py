"""Which JSON values are of a type."""

from math import inf, nan
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from kvfloor.experiments.engine.rows import fits


class Row(TypedDict):
    errors: int
    note: NotRequired[str]


@pytest.mark.parametrize(("value", "kind", "expected"), [
    (1, int, True), (1.0, int, False), (True, int, False), (False, bool, True), (0, bool, False),
    (1, float, True), (1.5, float, True), (True, float, False), (nan, float, False), (-inf, float, False),
    (10**400, float, True), ("1", float, False), (None, None, True), (None, int | None, True), (0, None, False),
    ("a", Literal["a", "b"], True), ("c", Literal["a", "b"], False),
    ([1, 2], list[int], True), ([], list[int], False), ([1, None], list[int], False), ((1,), list[int], False),
    ([1, 2], tuple[int, int], True), ([1], tuple[int, int], False), ([[1, 0.5]], list[tuple[int, float]], True),
    ({"a": 1}, dict[str, int], True), ({"a": nan}, dict[str, float], False), ([], dict[str, int], False),
    ({"errors": 1}, Row, True), ({"errors": 1, "note": "x"}, Row, True), ({"errors": 1, "more": 2}, Row, False),
    ({"note": "x"}, Row, False), ({}, Row, False), ([1], Row, False), ({"errors": nan}, Row, False),
    ({"errors": 1}, Row | list[int], True), ([1], Row | list[int], True), ("x", Row | list[int], False),
    ({"a": [1, {"b": None}]}, dict[str, Any], True), ({"a": [1, {"b": nan}]}, dict[str, Any], False),
    ([inf], Any, False), (-inf, Any, False), ([], Any, True), ("x", Any, True),
])  # fmt: skip
def test_a_value_is_of_a_type_or_not(value, kind, expected):
    assert fits(value, kind) is expected
