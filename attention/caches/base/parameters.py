"""The parameters of our caches: each declared once, in the body of its class, with what it may be.

    kept_tokens: int = whole("tokens that stay", 1)

declares a keyword of the constructor, and an attribute of every cache of the class. Classes inherit the
parameters of their frames. The order is that of a signature: required ones first, a class's own before those
of its frames.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any

from kvfloor.attention.checks import LARGEST, integer, one_of, positive

__all__ = ["Parameter", "declared", "parameter", "real", "signature_of", "whole", "word"]

_NONE = Argument.empty  # the default of a parameter that must be given


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Parameters
    ----------
    meaning : str
        What it says, in a few words.
    kind : type or union of types
        What a text that spells it is read as.
    check : callable
        ``check(name, value)`` returns the value, or raises ValueError with its name.
    default : object
        Its value where none is given; None is never checked.
    """

    meaning: str
    kind: Any
    check: Callable[[str, Any], Any]
    default: Any = _NONE

    def checked(self, name: str, value: Any) -> Any:
        """Return a value if it is allowed; ValueError otherwise."""
        return None if value is None and self.default is None else self.check(name, value)


def parameter(meaning: str, check: Callable[[str, Any], Any], kind: Any = int, default: Any = _NONE) -> Any:
    """Declare a parameter by its own check; see `Parameter`."""
    return Parameter(meaning, kind | None if default is None else kind, check, default)


def whole(meaning: str, low: int, high: int = 1 << 48, default: Any = _NONE) -> Any:
    """Declare a whole number from `low` to `high`; a default of None stands for a number left open."""
    return parameter(meaning, lambda name, value: integer(name, value, low, high), int, default)


def real(meaning: str, high: float = LARGEST, default: Any = _NONE) -> Any:
    """Declare a positive number up to `high`."""
    return parameter(meaning, lambda name, value: positive(name, value, high), float, default)


def word(meaning: str, allowed: Collection[str], default: Any = _NONE) -> Any:
    """Declare one of some words."""
    return parameter(meaning, lambda name, value: one_of(name, value, allowed), str, default)


def declared(cls: type) -> dict[str, Parameter]:
    """Return the parameters of a class of caches and of its frames by name, in the order of its signature."""
    found: dict[str, Parameter] = {}
    for base in cls.__mro__:
        own = {name: each for name, each in vars(base).items() if isinstance(each, Parameter)}
        found = {**found, **{name: each for name, each in own.items() if name not in found}}
    return dict(sorted(found.items(), key=lambda item: item[1].default is not _NONE))


def signature_of(parameters: Mapping[str, Parameter]) -> Signature:
    """Return the signature of a class with these parameters: dim, value_dim, coins, and each by keyword."""
    leading = [Argument(name, Argument.POSITIONAL_OR_KEYWORD) for name in ("dim", "value_dim", "coins")]
    keywords = [
        Argument(name, Argument.KEYWORD_ONLY, default=each.default, annotation=each.kind)
        for name, each in parameters.items()
    ]
    return Signature([*leading, *keywords])
