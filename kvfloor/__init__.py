"""Tells how many bits a KV cache must keep, and how many one really keeps.

``kvfloor.audit(cache, tokens=..., dim=...)`` is the Python side of `kvfloor audit`. Below it stand three
packages: `kvfloor.reductions` (problems as attention inputs, and what they prove), `kvfloor.attention`
(attention and its caches) and `kvfloor.experiments` (Alice meets Bob). The folders themselves stand at the
top of the repository; this one only gives them their common name.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvfloor.experiments.audits.audit import Audit, audit

__all__ = ["Audit", "__version__", "audit"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command must start at once."""
    if name not in ("Audit", "audit"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kvfloor.experiments.audits import audit

    return getattr(audit, name)
