"""How texts name things: parameters as ``name=value,...``, and what to say of a name that nobody knows."""

import difflib
from collections.abc import Iterable

__all__ = ["assignments", "nearest"]


def assignments(spec: str, text: str) -> dict[str, str]:
    """Return the values that a part of a text gives to names.

    Parameters
    ----------
    spec : str
        The whole text, for error messages.
    text : str
        ``name=value,...``, or nothing.

    Returns
    -------
    dict of str to str
        Values by name, in their order; a name is an identifier, or several behind dots.

    Raises
    ------
    ValueError
        If the part is not of that form, or gives a name twice.
    """
    found: dict[str, str] = {}
    for assignment in text.split(",") if text else []:
        name, equals, value = assignment.partition("=")
        if not equals or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{assignment!r} in {spec!r} is not of the form name=value")
        if name in found:
            raise ValueError(f"{spec!r} gives the parameter {name!r} twice")
        found[name] = value
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remark on which known names there are, the nearest first."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (there are {', '.join(names)})" if names else " (there are none)"
