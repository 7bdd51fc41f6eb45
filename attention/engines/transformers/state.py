"""What a cache of transformers holds: as plain data, in allocated bits, and as bytes without pickle.

The state of a cache is a tree of lists, tuples, dicts, numbers, texts and tensors: the attributes of its
layers. Attributes that hold no data (a quantiser's class, say) follow from the compressor's parameters; the
reader's own empty cache has them already. On the wire a tree is an `Envelope` of magic ``KVFT``: the header is the
tree as JSON, each tensor in it as its dtype and shape, and the body are the tensors.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from kvfloor.attention.caches.wire import Envelope, WireError
from kvfloor.attention.engines.transformers.library import needed

__all__ = ["allocated_bits", "from_bytes", "load_state", "state_of", "tensors", "to_bytes"]

_ENVELOPE = Envelope(b"KVFT", version=1, length_bytes=4, longest_header=1 << 32)
_SUBCLASSES = ("WeightQBitsTensor", "PackedTensor")  # quanto's; each is made of plain tensors and texts


def state_of(cache: Any) -> list[dict[str, Any]]:
    """Return the state of a cache, layer by layer.

    Parameters
    ----------
    cache : transformers.Cache
        The cache.

    Returns
    -------
    list of dict
        For each layer its attributes that hold data; nothing is copied.

    Raises
    ------
    ValueError
        If an attribute is of a kind that this format does not know: nothing is left out silently.
    """
    return [
        {name: value for name, value in vars(layer).items() if not _follows_from_parameters(value)}
        for layer in cache.layers
    ]


def load_state(cache: Any, state: list[dict[str, Any]]) -> Any:
    """Give a new, empty cache a state.

    Parameters
    ----------
    cache : transformers.Cache
        Made with the same parameters as the one that the state comes from.
    state : list of dict
        What `state_of` returned.

    Returns
    -------
    transformers.Cache
        The cache.
    """
    while len(cache.layers) < len(state):
        cache.layers.append(cache.layer_class_to_replicate())
    for layer, attributes in zip(cache.layers, state, strict=True):
        for name, value in attributes.items():
            setattr(layer, name, value)
    return cache


def tensors(tree: Any) -> Iterator[Any]:
    """Yield the plain tensors of a tree, those inside of quantised ones included."""
    if isinstance(tree, dict):
        for value in tree.values():
            yield from tensors(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from tensors(value)
    elif hasattr(tree, "__tensor_flatten__"):
        for name in tree.__tensor_flatten__()[0]:
            yield from tensors(getattr(tree, name))
    elif isinstance(tree, needed("torch").Tensor):
        yield tree


def allocated_bits(tree: Any) -> int:
    """Return how many bits the tensors of a tree occupy.

    Parameters
    ----------
    tree : object
        A state.

    Returns
    -------
    int
        8 x the bytes of all storages, each counted once and whole: a view keeps all of its storage.
    """
    storages: dict[int, int] = {}
    for tensor in tensors(tree):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return 8 * sum(storages.values())


def to_bytes(tree: Any) -> bytes:
    """Return the payload of a tree.

    Parameters
    ----------
    tree : object
        A state.

    Returns
    -------
    bytes
        Everything that is sent.

    Raises
    ------
    ValueError
        If it holds something that is no data.
    """
    bodies: list[bytes] = []
    header = json.dumps(_written(tree, bodies), separators=(",", ":"), allow_nan=False).encode("ascii")
    return _ENVELOPE.seal(header, bodies)


def from_bytes(payload: bytes) -> Any:
    """Return the tree that a payload carries, in new tensors.

    Parameters
    ----------
    payload : bytes
        What `to_bytes` returned.

    Returns
    -------
    object
        The tree.

    Raises
    ------
    WireError
        If it is not such a payload, or is damaged.
    """
    header, body = _ENVELOPE.open(payload)
    try:
        tree, rest = _read(json.loads(header), body)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"the header is no tree of this format: {error}") from None
    if len(rest):
        raise WireError(f"{len(rest)} bytes follow the last tensor")
    return tree


def _follows_from_parameters(value: Any) -> bool:
    """Return whether an attribute holds no data: a class, or one of quanto's constants."""
    if isinstance(value, type):
        return True
    return type(value).__module__.startswith("optimum.quanto") and not hasattr(value, "__tensor_flatten__")


def _written(node: Any, bodies: list[bytes]) -> Any:
    """Return a node of a tree as JSON; its tensors' bytes go to `bodies`, in the order of the tree."""
    torch = needed("torch")
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, torch.Size):
        return {"size": list(node)}
    if isinstance(node, list | tuple):
        return {type(node).__name__: [_written(value, bodies) for value in node]}
    if isinstance(node, dict) and all(isinstance(name, str) for name in node):
        return {"dict": {name: _written(value, bodies) for name, value in node.items()}}
    if isinstance(node, torch.dtype | torch.device):
        return {type(node).__name__: str(node).removeprefix("torch.")}
    if hasattr(node, "__tensor_flatten__") and type(node).__name__ in _SUBCLASSES:
        names, facts = node.__tensor_flatten__()
        parts = {name: _written(getattr(node, name), bodies) for name in names}
        return {"quanto": [type(node).__name__, parts, _written(facts, bodies)]}
    if type(node) in (torch.Tensor, torch.nn.Parameter):
        flat = node.detach().contiguous().reshape(-1)
        bodies.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return {"tensor": [str(node.dtype).removeprefix("torch."), list(node.shape)]}
    raise ValueError(f"the cache holds a {type(node).__name__}, which this format does not know")


def _read(node: Any, body: memoryview) -> tuple[Any, memoryview]:
    """Return what a node of the header stands for, and the bytes that are left."""
    torch = needed("torch")
    if not isinstance(node, dict):
        return node, body
    ((kind, content),) = node.items()
    if kind in ("list", "tuple"):
        values = []
        for value in content:
            found, body = _read(value, body)
            values.append(found)
        return values if kind == "list" else tuple(values), body
    if kind == "dict":
        found = {}
        for name, value in content.items():
            found[name], body = _read(value, body)
        return found, body
    if kind == "quanto":
        name, parts, facts = content
        if name not in _SUBCLASSES:
            raise ValueError(f"there is no tensor of kind {name!r}")
        inner = {}
        for part, value in parts.items():
            inner[part], body = _read(value, body)
        facts, body = _read(facts, body)
        return _quanto(name).__tensor_unflatten__(inner, facts, None, None), body
    if kind == "tensor":
        dtype, shape = content
        return _read_tensor(dtype, shape, body)
    if kind == "size":
        return torch.Size(content), body
    if kind == "device":
        return torch.device(content), body
    if kind == "dtype":
        return _dtype(content), body
    raise ValueError(f"there is no node of kind {kind!r}")


def _read_tensor(dtype: str, shape: list[int], body: memoryview) -> tuple[Any, memoryview]:
    """Return a tensor from the next bytes, and the bytes that are left."""
    torch = needed("torch")
    found = _dtype(dtype)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    count = math.prod(shape) * found.itemsize
    if count > len(body):
        raise ValueError(f"a tensor of {count} bytes does not fit into the {len(body)} that are left")
    if not count:
        return torch.empty(shape, dtype=found), body
    return torch.frombuffer(bytearray(body[:count]), dtype=found).reshape(shape), body[count:]


def _dtype(name: str) -> Any:
    """Return torch's dtype of a name."""
    torch = needed("torch")
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"there is no dtype {name!r}")
    return found


def _quanto(name: str) -> Any:
    """Return one of quanto's tensor classes."""
    tensor = needed("optimum.quanto").tensor
    found = getattr(tensor, name, None)
    return found if found is not None else getattr(needed("optimum.quanto.tensor.packed"), name)
