"""What numbers and arrays must be, said once: the lowest file of the package, which imports nothing of it."""

from __future__ import annotations

from math import inf
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Doubles: TypeAlias = NDArray[np.float64]


def check_count(name: str, count: int, least: int = 1) -> int:
    """Return a count that is called `name` in messages, or raise ValueError if it is below the least."""
    if not count >= least:
        raise ValueError(f"{name} must be at least {least}, got {count}")
    return count


def check_within(name: str, number: float, interval: str) -> float:
    """Return a number that is called `name` in messages, or raise ValueError unless it lies in the interval.

    The interval is as one writes it: "[0, 1)" holds 0 and not 1. NaN lies in none.

    Examples
    --------
    >>> check_within("eta", 0.5, "[0, 1)")
    0.5
    """
    low, high = map(float, interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"{name} must be in {interval}, got {number}")
    return number


def check_norm(name: str, norm: float) -> float:
    """Return a norm that is called `name` in messages, or raise ValueError unless it is finite and at least 0."""
    if not 0 <= norm < inf:
        raise ValueError(f"{name} must be finite and at least 0, got {norm}")
    return norm


def check_eta(eta: float) -> float:
    """Return `eta` if it is a relative accuracy, in [0, 1), else raise ValueError."""
    return check_within("eta", eta, "[0, 1)")


def check_outputs(outputs: Floats, queries: int, value_dim: int) -> Floats:
    """Return `outputs` if they have the shape (m, d_v) of answers to m queries, else raise ValueError."""
    outputs = np.asarray(outputs)
    if outputs.shape != (queries, value_dim):
        raise ValueError(f"outputs must have shape {(queries, value_dim)}, got {outputs.shape}")
    return outputs
