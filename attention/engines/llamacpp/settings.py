"""A cache of llama.cpp from a text.

llamacpp:type_k=q8_0,type_v=q4_0
llamacpp:type_k=f16,type_v=f16,flash=off,rotation=off,sequences=4,unified=on,sliding_window=128
"""

from dataclasses import dataclass, fields
from typing import Any

from kvfloor.attention.checks import integer, one_of
from kvfloor.attention.engines.llamacpp.parameters import FLASH, TYPES

__all__ = ["Settings"]

_SWITCH = {"on": True, "off": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is under audit.

    Parameters
    ----------
    type_k, type_v : str
        Types of keys and values, names in ``TYPES``.
    flash : str
        Flash attention, a name in ``FLASH``.
    rotation : bool
        Whether quantised keys and values are rotated before.
    sequences : int
        Sequences that the cache has room for, 1 to 256; the stream is the last one of them.
    unified : bool
        Whether the sequences share one buffer.
    sliding_window : int
        Tokens that a query sees in every other layer, the first among them; 0 for all, in all layers.

    Raises
    ------
    ValueError
        If a value is not allowed.
    """

    type_k: str = "f16"
    type_v: str = "f16"
    flash: str = "auto"
    rotation: bool = True
    sequences: int = 1
    unified: bool = False
    sliding_window: int = 0

    def __post_init__(self) -> None:
        one_of("type_k", self.type_k, TYPES)
        one_of("type_v", self.type_v, TYPES)
        one_of("flash", self.flash, FLASH)
        integer("sequences", self.sequences, 1, 256)
        integer("sliding_window", self.sliding_window, 0, 1 << 20)

    @classmethod
    def parse(cls, spec: str) -> "Settings":
        """Return the cache that a text stands for.

        Parameters
        ----------
        spec : str
            ``llamacpp`` or ``llamacpp:name=value,...``; truth values are on and off.

        Returns
        -------
        Settings
            The cache.

        Raises
        ------
        ValueError
            If a name or a value is not allowed.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        given: dict[str, Any] = {}
        for assignment in filter(None, spec.partition(":")[2].split(",")):
            name, _, text = assignment.partition("=")
            one_of(f"the parameter in {assignment!r} of {spec!r}", name, kinds)
            if name in given:
                raise ValueError(f"{spec!r} gives the parameter {name!r} twice")
            if kinds[name] is bool:
                given[name] = _SWITCH[one_of(name, text, _SWITCH)]
            else:
                given[name] = int(text) if kinds[name] is int and text.isdecimal() else text
        return cls(**given)

    def slides(self, layer: int) -> bool:
        """Return whether a layer's queries see no more than the window."""
        return self.sliding_window > 0 and layer % 2 == 0

    @property
    def entry_bits(self) -> float:
        """Bits of an entry of a key and one of a value together, their share of a block's scales included."""
        return sum(8 * TYPES[t][2] / TYPES[t][1] for t in (self.type_k, self.type_v))

    def nominal_bits(self, layers: int, kv_heads: int, dim: int, tokens: int) -> float:
        """Return what the types say that keys and values take.

        Parameters
        ----------
        layers, kv_heads, dim : int
            Of the model.
        tokens : int
            Length of the stream.

        Returns
        -------
        float
            Bits, without positions and headers; scales of the blocks included.
        """
        kept = [min(tokens, self.sliding_window) if self.slides(i) else tokens for i in range(layers)]
        return self.entry_bits * sum(kept) * kv_heads * dim
