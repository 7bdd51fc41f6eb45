"""Alice meets Bob: plays, audits, claims, their store and their figures.

``experiments.audit(cache, tokens=..., dim=...)`` is the Python side of `kvfloor audit`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.auditor import Audit, audit

__all__ = ["Audit", "audit"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command must start at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments import auditor

    return getattr(auditor, name)
