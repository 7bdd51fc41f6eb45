"""Proof by use that the library's parameters are where they are looked for."""

import contextlib
import functools
import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.llamacpp.contexts import TOGETHER, EngineFailedError, opened
from kvfloor.attention.engines.llamacpp.library import library, logged, unknown_build
from kvfloor.attention.engines.llamacpp.settings import Settings

__all__ = ["proved"]


@functools.cache
def proved() -> None:
    """Show on a tiny model that the library does what its parameters say.

    Raises
    ------
    UnknownBuildError
        If sizes are not those that were asked for, a token's state is not of the types that were asked for,
        or a switch has no effect.
    """
    weights = _tiny()
    asked = Settings("f32", "f16", flash="off", sequences=2)
    grown = {}
    for settings in (asked, replace(asked, type_k="q8_0"), replace(asked, unified=True, flash="on")):
        with opened(weights, 32, settings, 768) as context:
            lib, got = library(), {}
            for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_threads"):
                got[name] = getattr(lib, f"llama_{name}")(context.handle)
            expected = {
                "n_ctx": 768 * (1 if settings.unified else 2),
                "n_batch": 768,
                "n_ubatch": TOGETHER,
                "n_seq_max": 2,
                "n_threads": 1,
            }
            words = (
                f"flash_attn = {'enabled' if settings.flash == 'on' else 'disabled'}",
                (f"kv_unified = {'true' if settings.unified else 'false'}"),
            )
            told = re.sub(" +", " ", logged())
            if got != expected or not all(word in told for word in words):
                raise unknown_build(f"takes {expected} and {', '.join(words)} for {got}")
            sizes = []
            for _ in range(2):
                context.feed(np.ones((1, context.width), np.float32))
                sizes.append(len(context.state()))
            grown[settings.type_k, settings.flash] = sizes[1] - sizes[0]
    with (
        contextlib.suppress(EngineFailedError),
        opened(weights, 32, replace(asked, type_v="q8_0"), 256),
    ):
        raise unknown_build("takes a type of values for one of keys, or flash attention for something else")
    if grown["f32", "off"] - grown["q8_0", "off"] != 32 * 4 - 34 or grown["f32", "on"] != grown["f32", "off"]:
        raise unknown_build(f"stores a token in {grown} bytes, which are not those of the types asked for")


def _tiny() -> dict[str, NDArray[np.float32]]:
    """Return the matrices of a model of one layer and one head of 32 channels that does nothing."""
    shapes = {
        "query": (32, 64), "key": (32, 64), "value": (32, 64), "output": (64, 32),
        "gate": (1, 64), "up": (1, 64), "down": (64, 1),
    }  # fmt: skip
    matrices = {f"0.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return matrices | {"unembed": np.zeros((1, 64), np.float32)}
