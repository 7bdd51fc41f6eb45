"""The claims, a folder a section of docs/theory.md: statement, work, judgement, figure and negative controls.

A module below this folder that defines ``CLAIM`` is a claim; nothing else has to know of it. The modules
beside it are its helpers.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from kvfloor.experiments.judging.claim import Claim

__all__ = ["all_claims"]


@functools.cache
def all_claims() -> Mapping[str, Claim]:
    """Return every claim by its id, in alphabetical order."""
    found = pkgutil.walk_packages(__path__, f"{__name__}.")
    modules = [importlib.import_module(module.name) for module in found]
    claims = sorted((m.CLAIM for m in modules if hasattr(m, "CLAIM")), key=lambda claim: claim.id)
    return MappingProxyType({claim.id: claim for claim in claims})
