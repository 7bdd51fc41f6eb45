"""The claims, a folder a section of docs/theory.md: statement, work, judgement, figure and negative controls.

A module below this folder that defines ``CLAIM`` is a claim; nothing else has to know of it. The modules
beside it are its helpers. A claim measures, and says how it is judged and drawn; shared checks live in
`judging`, shared panels in `drawing`.
"""

import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Mapping
from types import MappingProxyType

from kvfloor.experiments.judging.claim import Claim

__all__ = ["all_claims", "run_alone"]


@functools.cache
def all_claims() -> Mapping[str, Claim]:
    """Return every claim by its id, in alphabetical order."""
    found = pkgutil.walk_packages(__path__, f"{__name__}.")
    modules = [importlib.import_module(module.name) for module in found]
    claims = sorted((m.CLAIM for m in modules if hasattr(m, "CLAIM")), key=lambda claim: claim.id)
    return MappingProxyType({claim.id: claim for claim in claims})


def run_alone(claim: Claim) -> None:
    """Go on as `kvfloor reproduce` of this claim: its module was started as an experiment script."""
    os.execv(sys.executable, [sys.executable, "-m", "kvfloor", "reproduce", claim.id, *sys.argv[1:]])
