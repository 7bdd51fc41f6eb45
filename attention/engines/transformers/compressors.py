"""A compressor from a text: a press of kvpress, or a cache of transformers.

    kvpress:SnapKVPress,compression_ratio=0.5
    kvpress:AdaKVPress,press=SnapKVPress,compression_ratio=0.5
    kvpress:DecodingPress,base_press=SnapKVPress,base_press.window_size=32,target_size=256
    transformers:QuantizedCache,backend=quanto,nbits=2

Values are numbers, true, false, none, other texts, or the names of presses. A press inside has its defaults,
a compression ratio as in KnormPress@0.5, or parameters of its own behind a dot; + separates the entries of a
list.
"""

import contextlib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any

from kvfloor.attention.engines.transformers.library import needed, quiet
from kvfloor.attention.spelling import assignments, nearest

__all__ = ["CACHES", "LIBRARIES", "Compressor", "presses"]

LIBRARIES = ("kvpress", "transformers")
CACHES = ("DynamicCache", "QuantizedCache", "StaticCache")
"""The caches of transformers that are known here; the first and the last slide with `sliding_window`."""

_SEVERAL = ("presses", "compression_ratios")


@dataclass(frozen=True, slots=True)
class Compressor:
    """What is under audit, by name.

    Parameters
    ----------
    spec : str
        The text it comes from.
    library : str
        One of ``LIBRARIES``.
    name : str
        The class in that library.
    parameters : mapping of str to object
        As the text gives them; names of presses are still texts.
    """

    spec: str
    library: str
    name: str
    parameters: Mapping[str, Any] = field(hash=False)

    @classmethod
    def parse(cls, spec: str) -> "Compressor":
        """Return the compressor that a text stands for.

        Parameters
        ----------
        spec : str
            ``library:Class`` or ``library:Class,name=value,...``.

        Returns
        -------
        Compressor
            It may still be refused by its library, when it is made.

        Raises
        ------
        ValueError
            If the text is not of that form. Nothing is imported for it.
        """
        library, _, rest = spec.partition(":")
        name, comma, given = rest.partition(",")
        if library not in LIBRARIES or not name:
            raise ValueError(
                f"{spec!r} is not of the form {' or '.join(f'{x}:Class' for x in LIBRARIES)},name=value,..."
            )
        parameters = {
            key: [_value(t) for t in text.split("+")] if key in _SEVERAL else _value(text)
            for key, text in assignments(spec, given or comma).items()
        }
        return cls(spec, library, name, MappingProxyType(parameters))

    @property
    def sliding_window(self) -> int | None:
        """How many tokens the model's queries see, if the compressor says so."""
        found = self.parameters.get("sliding_window") if self.library == "transformers" else None
        return None if found is None else int(found)

    @property
    def streams(self) -> bool:
        """Whether it works only while tokens are generated, not on a prompt."""
        return self.library == "kvpress" and issubclass(presses().get(self.name, type), _decoding())

    @property
    def compresses(self) -> bool:
        """Whether it is there to save anything: a cache that holds the whole stream as it is promises nothing."""
        return self.library == "kvpress" or self.name == "QuantizedCache" or self.sliding_window is not None

    def cache(self, config: Any, tokens: int) -> Any:
        """Return a new, empty cache.

        Parameters
        ----------
        config : transformers.PreTrainedConfig
            The model's configuration.
        tokens : int
            Length of the stream: how much a static cache has room for, with one question, by default.

        Returns
        -------
        transformers.Cache
            The cache.

        Raises
        ------
        ValueError
            If the library has no such cache or refuses the parameters; `NotInstalledError` if it is not
            installed.
        """
        transformers = needed("transformers")
        if self.library == "kvpress":
            return transformers.DynamicCache()
        self._check(CACHES)
        given = {k: v for k, v in self.parameters.items() if k != "sliding_window"}
        if self.name == "StaticCache":
            given = {"max_cache_len": tokens + 1, **given}
        if given.get("backend") == "quanto":
            _compile_nothing()
        return _made(self.spec, getattr(transformers, self.name), {"config": config, **given})

    def press(self) -> Any:
        """Return a new press, or None for a cache.

        Raises
        ------
        ValueError
            If kvpress has no such press or refuses the parameters; `NotInstalledError` if it is not installed.
        """
        if self.library != "kvpress":
            return None
        known = presses()
        self._check(known)
        own = {k: v for k, v in self.parameters.items() if "." not in k}
        given = {k: _pressed(v, known, _behind(k, self.parameters)) for k, v in own.items()}
        takes = inspect.signature(known[self.name]).parameters
        for key in self.parameters:
            if "." in key and key.partition(".")[0] not in given:
                raise ValueError(f"{self.spec!r} gives {key} to a press that it does not name")
        for name, parameter in takes.items():
            if name not in given and (name == "press" or parameter.default is parameter.empty):
                raise ValueError(f"{self.spec!r} needs the parameter {name}, as in {name}=KnormPress")
        press = _made(self.spec, known[self.name], {k: v for k, v in given.items() if k in takes})
        for name, value in given.items():
            if name in takes:
                continue
            if not isinstance(getattr(type(press), name, None), property):
                raise ValueError(f"{self.spec!r} has no parameter {name!r}{nearest(name, takes)}")
            try:
                setattr(press, name, value)  # wrappers hand a ratio on to the press inside
            except AttributeError as error:
                raise ValueError(f"{self.spec!r}: {error}") from None
        return press

    def _check(self, known: Collection[str]) -> None:
        """Raise ValueError unless the library has such a class."""
        if self.name not in known:
            raise ValueError(f"{self.library} has no {self.name!r}{nearest(self.name, known)}")

    def nominal_bits(self, press: Any, full_cache_bits: int, tokens: int, item_bits: int) -> float | None:
        """Return what the method says that it keeps.

        Parameters
        ----------
        press : object
            The press after the run, or None for a cache.
        full_cache_bits : int
            The cache without compression.
        tokens : int
            Length of the stream.
        item_bits : int
            Bits of a number of the model.

        Returns
        -------
        float or None
            Bits, by its ratio, target size or bits per number; None where it says nothing.
        """
        if press is None:
            bits = self.parameters.get("nbits", 4) if self.name == "QuantizedCache" else item_bits
            kept = min(self.sliding_window or tokens, tokens) / tokens
            return float(full_cache_bits * bits / item_bits * kept)
        press = getattr(press, "decoding_press", None) or press
        with contextlib.suppress(AttributeError, AssertionError, ValueError, TypeError):
            if hasattr(press, "target_compression_ratio"):
                return float(full_cache_bits * (1.0 - press.target_compression_ratio))
            if isinstance(press, _decoding()):
                return float(full_cache_bits * min(1.0, press.target_size / tokens))
            return float(full_cache_bits * (1.0 - press.compression_ratio))
        return None


def presses() -> Mapping[str, type[Any]]:
    """Return the presses of the installed kvpress by name, without the abstract ones.

    Returns
    -------
    mapping of str to type
        In alphabetical order.

    Raises
    ------
    NotInstalledError
        If kvpress is not installed.
    """
    library = needed("kvpress")
    classes = {name: getattr(library, name) for name in sorted(vars(library)) if name.endswith("Press")}
    return {name: cls for name, cls in classes.items() if name not in ("BasePress", "ScorerPress")}


def _decoding() -> tuple[type[Any], ...]:
    """Return the presses that work on generated tokens."""
    library = needed("kvpress")
    return (library.DecodingPress, library.PrefillDecodingPress)


def _value(text: str) -> Any:
    """Return what a text spells: a number, a truth value, nothing, or itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _behind(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters whose names start with a name and a dot, without them."""
    return {k.partition(".")[2]: v for k, v in parameters.items() if k.partition(".")[0] == name and "." in k}


def _pressed(value: Any, known: Mapping[str, type[Any]], inside: dict[str, Any]) -> Any:
    """Return a value with names of presses replaced by presses that have the parameters `inside`."""
    if isinstance(value, list):
        return [_pressed(entry, known, inside) for entry in value]
    name, _, ratio = value.partition("@") if isinstance(value, str) else ("", "", "")
    if name not in known:
        return value
    parameters = inside | ({"compression_ratio": _value(ratio)} if ratio else {})
    return Compressor(value, "kvpress", name, parameters).press()


def _made(spec: str, factory: Any, parameters: dict[str, Any]) -> Any:
    """Call a library's class; whatever it objects to becomes one sentence."""
    try:
        with quiet():
            return factory(**parameters)
    except Exception as error:  # somebody else's code
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{spec!r} cannot be made: {reason}") from None


def _compile_nothing() -> None:
    """Let quanto unpack with torch's own operations: its extension takes a compiler and over a minute."""
    extension = needed("optimum.quanto.library.extensions").get_extension("quanto_cpp")
    if extension._lib is None:
        extension._lib = SimpleNamespace(unpack=_unpack)


def _unpack(packed: Any, bits: int) -> Any:
    """Return the integers packed into bytes, as quanto's operation `unpack` defines it: low bits first."""
    torch = needed("torch")
    parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return torch.cat(parts).to(torch.uint8)
