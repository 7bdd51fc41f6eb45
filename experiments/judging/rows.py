"""Stored rows by what was asked: picked, grouped, and as columns of numbers."""

from collections.abc import Callable, Iterable
from typing import Any

from kvfloor.experiments.engine.store import Record

__all__ = ["grouped", "series", "value", "where"]

Column = str | Callable[[Record], Any]


def value(record: Record, column: Column) -> Any:
    """Return a number of a row: a parameter or something measured by name, or what a function makes of it."""
    if callable(column):
        return column(record)
    return record.parameters[column] if column in record.parameters else record.measured[column]


def where(records: Iterable[Record], **parameters: Any) -> list[Record]:
    """Return the rows whose parameters have these values; one that is not given counts as None.

    Parameters
    ----------
    records : iterable of Record
        Rows.
    **parameters : object
        What is asked for.

    Returns
    -------
    list of Record
        In their order.
    """
    asked = parameters.items()
    return [r for r in records if all(r.parameters.get(name) == wanted for name, wanted in asked)]


def grouped(records: Iterable[Record], *columns: Column) -> dict[Any, list[Record]]:
    """Return the rows of each value of a column, or of each tuple of values of several, in their order."""
    found: dict[Any, list[Record]] = {}
    for record in records:
        key = tuple(value(record, column) for column in columns)
        found.setdefault(key if len(columns) > 1 else key[0], []).append(record)
    return found


def series(records: Iterable[Record], *columns: Column) -> list[tuple[Any, ...]]:
    """Return columns of rows, in ascending order of the first, and of the next where it is equal.

    Parameters
    ----------
    records : iterable of Record
        At least one row.
    *columns : str or callable
        As `value` takes them.

    Returns
    -------
    list of tuple
        One tuple a column: what a plot takes as x and y.
    """
    return list(zip(*sorted(tuple(value(r, c) for c in columns) for r in records), strict=True))
