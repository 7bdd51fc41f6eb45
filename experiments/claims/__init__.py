"""The claims, one module each: statement, work, judgement, figure and negative controls.

A module in this folder that defines ``CLAIM`` is a claim; nothing else has to know of it.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from experiments.claim import Claim

__all__ = ["all_claims"]


@functools.cache
def all_claims() -> Mapping[str, Claim]:
    """Return every claim by its id, in alphabetical order of the modules."""
    modules = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    claims = [module.CLAIM for module in modules if hasattr(module, "CLAIM")]
    return MappingProxyType({claim.id: claim for claim in claims})
