"""Every press of kvpress and every cache of transformers over budgets: the plays behind the leaderboard."""

import inspect
from collections.abc import Sequence
from typing import Any

from kvfloor.attention.engines.transformers.compressors import presses
from kvfloor.attention.engines.transformers.library import EXTRA, INSTALL, NotInstalledError, missing
from kvfloor.experiments.claims.engines.counting import counted
from kvfloor.experiments.engine.sweep import Task
from kvfloor.experiments.game.hosts.transformers import TransformerCache
from kvfloor.experiments.game.randomness import Randomness

__all__ = ["KEPT", "tasks"]

REQUIRES = EXTRA
KEPT = (0.75, 0.5, 0.25, 0.1)
"""The nominal fractions of the cache that every press is asked to keep."""

# Presses whose budget is spelt in a way of its own; {removed} and {kept} are fractions, {tokens} is kept n.
SPELLINGS = {
    "CAMPress": "base_press=KnormPress,compression_interval=64,target_size={tokens}",
    "CompressionRatioDecodingPress": "base_press=KnormPress,compression_interval=64,target_compression_ratio={removed}",
    "ComposedPress": "presses=ThinKPress+KnormPress@{removed}",
    "DMSPress": "press=RandomPress,threshold={removed},sliding_window_size=1",
    "DecodingPress": "base_press=KnormPress,compression_interval=64,target_size={tokens}",
    "DuoAttentionPress": "head_compression_ratio={removed}",
    "PerLayerCompressionPress": "press=KnormPress,compression_ratios={removed}",
    "PrefillDecodingPress": "prefilling_press=KnormPress@{removed},decoding_press=DecodingPress,"
    "decoding_press.base_press=KnormPress,decoding_press.target_size={tokens},decoding_press.compression_interval=64",
    "SimLayerKVPress": "lazy_threshold=0.0,n_recent={tokens}",
    "ThinKPress": "key_channel_compression_ratio={removed}",
}
VARIANTS = {
    "KVComposePress, unstructured": "kvpress:KVComposePress,structured=false,compression_ratio={removed}",
}
CACHES = (
    "DynamicCache",
    "StaticCache",
    *(f"QuantizedCache,backend=quanto,nbits={bits}" for bits in (4, 2)),
    *(f"QuantizedCache,backend=hqq,nbits={bits}" for bits in (8, 4, 3, 2, 1)),
)
SLIDING = ("DynamicCache", "StaticCache")


def tasks(tokens: int = 512, dim: int = 64, kept: Sequence[float] = KEPT) -> list[Task]:
    """Return one task for every press and budget, and one for every cache.

    Parameters
    ----------
    tokens, dim : int
        Facts n and dimension d of a head.
    kept : sequence of float
        Nominal fractions, in (0, 1).

    Returns
    -------
    list of Task
        In alphabetical order of the presses, then the caches.

    Raises
    ------
    NotInstalledError
        If the libraries are not installed.
    """
    if lacking := missing(EXTRA):
        raise NotInstalledError(f"{', '.join(lacking)} not installed; {INSTALL}")
    runs: list[tuple[str, str, float | None]] = [
        *((n, f"kvpress:{n},{spelling(n, cls, f, tokens)}", f) for n, cls in presses().items() for f in kept),
        *((name, spec.format(removed=_removed(f)), f) for name, spec in VARIANTS.items() for f in kept),
        *((name.split(",")[0], f"transformers:{name}", None) for name in CACHES),
        *(
            (f"{name}, sliding", f"transformers:{name},sliding_window={round(f * tokens)}", f)
            for name in SLIDING
            for f in kept
        ),
    ]
    size = {"tokens": tokens, "dim": dim}
    return [
        Task(__name__, "claim", {"name": name, "spec": spec, "kept": fraction, **size})
        for name, spec, fraction in runs
    ]


def spelling(name: str, press: type[Any], kept: float, tokens: int) -> str:
    """Return the parameters that ask a press for a budget; wrappers are given kvpress' plainest scorer."""
    removed = _removed(kept)
    if name in SPELLINGS:
        return SPELLINGS[name].format(removed=removed, tokens=round(kept * tokens))
    inside = [p for p in ("press", "base_press") if p in inspect.signature(press).parameters]
    return ",".join([*(f"{p}=KnormPress" for p in inside), f"compression_ratio={removed}"])


def _removed(kept: float) -> float:
    """Return the fraction that is removed, without the rounding of 1 - 0.9."""
    return round(1 - kept, 6)


def measure(parameters: dict[str, Any], randomness: Randomness) -> dict[str, Any]:
    """Play once; a compressor that does not run here says why."""
    host = TransformerCache(parameters["spec"], "mistral" if "sliding" in parameters["spec"] else "llama")
    try:
        return {**counted(host, parameters["tokens"], parameters["dim"], randomness)}
    except ValueError as error:
        return {"cannot": str(error).removeprefix(f"{parameters['spec']}: ")}
