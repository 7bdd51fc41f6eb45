"""What numbers and arrays must be, said once: the lowest file of the package, which imports nothing of it."""

from __future__ import annotations

from math import inf
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Doubles: TypeAlias = NDArray[np.float64]


def check_count(name: str, count: int, least: int = 1) -> int:
    """Return the count if it is at least the least, else raise ValueError.

    Parameters
    ----------
    name : str
        What the message calls it.
    count, least : int
        The count, and what it must not fall below.

    Returns
    -------
    int
        The same number.

    Raises
    ------
    ValueError
        If it is smaller.
    """
    if not count >= least:
        raise ValueError(f"{name} must be at least {least}, got {count}")
    return count


def check_within(name: str, number: float, interval: str) -> float:
    """Return the number if it lies in the interval, else raise ValueError.

    Parameters
    ----------
    name : str
        What the message calls it.
    number : float
        Candidate.
    interval : str
        As one writes it: "[0, 1)" holds 0 and not 1.

    Returns
    -------
    float
        The same number.

    Raises
    ------
    ValueError
        If it lies outside; NaN lies in no interval.

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
    """Return the norm if it is finite and at least 0, else raise ValueError.

    Parameters
    ----------
    name : str
        What the message calls it.
    norm : float
        Candidate.

    Returns
    -------
    float
        The same number.

    Raises
    ------
    ValueError
        If it is negative, infinite or NaN.
    """
    if not 0 <= norm < inf:
        raise ValueError(f"{name} must be finite and at least 0, got {norm}")
    return norm


def check_eta(eta: float) -> float:
    """Return `eta` if it is a relative accuracy, in [0, 1); see `check_within`."""
    return check_within("eta", eta, "[0, 1)")


def check_outputs(outputs: Floats, queries: int, value_dim: int) -> Floats:
    """Return `outputs` if they answer that many queries, else raise ValueError.

    Parameters
    ----------
    outputs : ndarray
        Candidate outputs.
    queries : int
        Number m of queries that were asked.
    value_dim : int
        Value dimension d_v.

    Returns
    -------
    ndarray, shape (m, d_v)
        The same array.

    Raises
    ------
    ValueError
        If the shape differs.
    """
    outputs = np.asarray(outputs)
    if outputs.shape != (queries, value_dim):
        raise ValueError(f"outputs must have shape {(queries, value_dim)}, got {outputs.shape}")
    return outputs
