"""What an arrow of the atlas is: an instance of one problem or model inside another, and what it costs there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from kvfloor.reductions.accuracy import Guarantee
from kvfloor.reductions.bounds.certificates import one_shot_certificate
from kvfloor.reductions.checks import check_count, check_eta
from kvfloor.reductions.encodings.protocol import Encoding
from kvfloor.reductions.problems.index import Index


@dataclass(frozen=True, slots=True)
class Parts:
    """What some attention models have beside one stream; each reads what it has.

    Parameters
    ----------
    caches : int
        Separate caches of a transformer: layers times key-value heads, at least 1.
    window : int, optional
        W >= 2: the last tokens, whose keys count in sliding-window attention.
    last_map : int, optional
        Tokens of the map that is being generated, after those of all earlier ones; at least 1.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    caches: int = 1
    window: int | None = None
    last_map: int | None = None

    def __post_init__(self) -> None:
        check_count("caches", self.caches)
        if self.last_map is not None:
            check_count("last_map", self.last_map)


@dataclass(frozen=True, slots=True)
class Shape:
    """The parameters of an attention model.

    Parameters
    ----------
    tokens : int
        n, tokens in the stream before the reader's: at least 2. For tensor attention, on each side.
    dim, value_dim : int
        d and d_v, at least 1.
    eta : float
        Relative accuracy in [0, 1).
    parts : Parts
        What the model has beside; a window of at most n tokens.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    tokens: int
    dim: int
    value_dim: int
    eta: float = 0.0
    parts: Parts = Parts()

    def __post_init__(self) -> None:
        check_count("tokens", self.tokens, 2)
        check_count("dim", self.dim)
        check_count("value_dim", self.value_dim)
        window = self.parts.window
        if window is not None and not 2 <= window <= self.tokens:
            raise ValueError(f"window must be in 2..{self.tokens}, got {window}")
        check_eta(self.eta)


@dataclass(frozen=True, slots=True)
class Instance:
    """INDEX as it sits in a model.

    Parameters
    ----------
    problem : Index
        N symbols of q.
    query_norm : float
        C that the queries need; 0 in INDEX itself.
    incoherence : float
        eps of the keys, in [0, 1).
    """

    problem: Index
    query_norm: float = 0.0
    incoherence: float = 0.0

    @property
    def floor_bits(self) -> float:
        """What an error-free play proves: max(0, N log2 q - 104) bits, but for a chance of 2^-40."""
        return one_shot_certificate(self.problem.length, 0, self.problem.alphabet).certified_bits

    def asked_by(self, guarantee: Guarantee | None) -> Instance | None:
        """Return the instance with what a guarantee asks for; None without one."""
        if guarantee is None:
            return None
        return replace(self, query_norm=guarantee.query_norm, incoherence=guarantee.incoherence)


Down: TypeAlias = Callable[[Shape], "Shape | Index | None"]
Up: TypeAlias = Callable[[Instance, Shape], "Instance | None"]


@dataclass(frozen=True, slots=True)
class About:
    """What people are told of an arrow.

    Parameters
    ----------
    name : str
        What tells it from the others.
    theory : str
        Section of docs/theory.md.
    reference : str
        Whose it is.
    statement : str
        What it says.
    symbols : str
        How many symbols, or which shape, in formulas.
    """

    name: str
    theory: str
    reference: str
    statement: str
    symbols: str


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """An edge: an instance of the source inside the target.

    Parameters
    ----------
    source, target : str
        A problem or a model, and a model.
    about : About
        What people are told of it.
    down : callable
        From the target's shape to the source's, or to the `Index` that fits; None where none does.
    up : callable
        From the source's instance and the target's shape to the instance in the target; None where no query
        norm decodes.
    encoding : callable, optional
        From a shape and a generator to the `Encoding` that plays it. Without one, the bound is theory's word.
    """

    source: str
    target: str
    about: About
    down: Down
    up: Up
    encoding: Callable[[Shape, np.random.Generator], Encoding] | None = None

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return self.about.name
