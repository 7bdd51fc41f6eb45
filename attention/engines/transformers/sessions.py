"""The two halves of a run: a writer feeds tokens to a compressed cache, a reader asks what arrived."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.engines.transformers.compressors import Compressor
from kvfloor.attention.engines.transformers.library import needed, quiet
from kvfloor.attention.engines.transformers.model import Model, build, set_rows
from kvfloor.attention.engines.transformers.state import (
    allocated_bits,
    from_bytes,
    load_state,
    state_of,
    to_bytes,
)

__all__ = ["CompressorFailedError", "Feed", "Session", "Written", "surviving"]

Feed = Literal["auto", "prefill", "stream"]
TOGETHER = 512  # questions in one forward pass
APART = 64  # questions in one batch, each beside a copy of the cache


class CompressorFailedError(ValueError):
    """The compressor cannot run here; the message is the library's own, in one line."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the writer leaves behind.

    Parameters
    ----------
    payload : bytes
        The whole cache, and which of its entries are masked.
    nominal_bits : float or None
        What the method says that it keeps.
    allocated_bits : int
        What its tensors occupy.
    full_cache_bits : int
        Keys and values of all tokens in the model's number format.
    masked_entries : int
        Entries (head, token) that are still there but masked, over all layers.
    """

    payload: bytes
    nominal_bits: float | None
    allocated_bits: int
    full_cache_bits: int
    masked_entries: int


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """A model whose cache is compressed; its writer and its reader each build it anew.

    Parameters
    ----------
    model : Model
        The model's class and sizes.
    weights : mapping of str to ndarray
        Its matrices.
    dim : int
        Dimension of a head.
    compressor : Compressor
        What is under audit.
    """

    model: Model
    weights: Mapping[str, NDArray[Any]]
    dim: int
    compressor: Compressor

    def write(self, facts: NDArray[np.float32], seed: int, feed: Feed = "auto") -> Written:
        """Feed facts to the model and return its cache as bytes.

        Parameters
        ----------
        facts : ndarray of float32, shape (n, H)
            Rows of the embedding table, one token each.
        seed : int
            Public coins: the seed of every draw of the compressor.
        feed : str
            "prefill": the facts are one prompt. "stream": they are generated one after the other.
            "auto": as a prompt, unless the compressor works on generated tokens alone.

        Returns
        -------
        Written
            The payload and the accounts.

        Raises
        ------
        CompressorFailedError
            If the compressor fails, with sdpa and with eager attention.
        ValueError
            If its parameters are wrong.
        """
        stream = feed == "stream" or (feed == "auto" and self.compressor.streams)
        reason = ""
        for attention in ("sdpa", "eager"):
            press = self.compressor.press()
            with tempfile.TemporaryDirectory(prefix="kvfloor-") as folder:
                built = self._built(len(facts), attention=attention)
                # Where it comes from: some compressors ask for a tokenizer there.
                built.name_or_path = built.config.name_or_path = folder
                cache = self.compressor.cache(built.config, len(facts))
                _write_tokenizer(Path(folder))
                try:
                    with quiet():
                        _feed(built, press, cache, set_rows(built, facts), seed, stream=stream)
                except Exception as error:  # somebody else's code
                    told = " ".join(str(error).replace(folder, "this model").split())
                    reason = reason or f"{type(error).__name__}: {told}"
                    continue
            return self._accounts(press, built, cache, len(facts))
        raise CompressorFailedError(f"{self.compressor.spec}: {reason}") from None

    def read(
        self, payload: bytes, tokens: int, questions: NDArray[np.float32], *, generate: bool = False
    ) -> NDArray[Any]:
        """Ask a cache that arrived as bytes.

        The reader's model is a new one and its embedding table holds questions alone. Masked entries are erased.

        Parameters
        ----------
        payload : bytes
            What `write` left.
        tokens : int
            Length of the stream.
        questions : ndarray of float32, shape (m, H)
            One token each.
        generate : bool
            Whether to return greedily generated tokens instead of hidden states.

        Returns
        -------
        ndarray, shape (m, H) or (m,)
            The last hidden state at each question in float32, or the token generated after it.
        """
        torch = needed("torch")
        built = self._built(TOGETHER)
        answers = []
        start = 0
        with torch.no_grad(), quiet():
            while start < len(questions):
                cache = _restored(self.compressor, built, payload, tokens)
                together = _takes_many(cache)
                ids = set_rows(built, questions[start : start + (TOGETHER if together else APART)])
                start += len(ids)
                ids = ids[None] if together else ids[:, None]
                if not together:
                    _repeat(cache, len(ids))
                if generate:
                    found = built(input_ids=ids, past_key_values=cache).logits.argmax(-1)
                else:
                    found = built.model(input_ids=ids, past_key_values=cache).last_hidden_state.float()
                answers.append(found.flatten(0, 1).numpy())
        return np.concatenate(answers)

    def _built(self, rows: int, **options: Any) -> Any:
        """Return the model with an embedding table of so many rows."""
        window = self.compressor.sliding_window
        return build(self.model, self.weights, self.dim, rows, sliding_window=window, **options)

    def _accounts(self, press: Any, built: Any, cache: Any, tokens: int) -> Written:
        """Return the cache as bytes, and what it takes by each way of counting."""
        model = self.model
        item_bits = 8 * getattr(needed("torch"), model.dtype).itemsize
        full = 2 * tokens * self.dim * model.layers * model.kv_heads * item_bits
        masks = [getattr(layer.self_attn, "masked_key_indices", None) for layer in built.model.layers]
        masks = [None if mask is None else list(mask) for mask in masks]
        tree = {"layers": state_of(cache), "masked": masks}
        return Written(
            payload=to_bytes(tree),
            nominal_bits=self.compressor.nominal_bits(press, full, tokens, item_bits),
            allocated_bits=allocated_bits(tree),
            full_cache_bits=full,
            masked_entries=sum(len(mask[0]) for mask in masks if mask is not None),
        )


def _feed(built: Any, press: Any, cache: Any, ids: Any, seed: int, *, stream: bool) -> None:
    """Let the model read the facts into the cache while the press works."""
    torch = needed("torch")
    torch.manual_seed(seed)
    for parameter in built.parameters():
        parameter.requires_grad_(False)
    context = press(built) if press is not None else quiet()
    with torch.no_grad(), context:
        if stream:
            # A press for both phases is given half of the facts as a prompt, others just the first.
            prompt = len(ids) // 2 if hasattr(press, "prefilling_press") else 1
            built.generate(
                input_ids=ids[None, :prompt],
                past_key_values=cache,
                max_new_tokens=len(ids) - prompt + 1,
                do_sample=False,
                logits_processor=[_dictation(ids)],
            )
        else:
            built.model(input_ids=ids[None], past_key_values=cache)


def _dictation(ids: Any) -> Any:
    """Return a logits processor that makes `generate` say the facts in turn, and a last word unheard."""
    torch = needed("torch")

    def dictate(said: Any, scores: Any) -> Any:
        following = int(ids[said.shape[1]]) if said.shape[1] < len(ids) else 0
        forced = torch.full_like(scores, -torch.inf)
        forced[:, following] = 0.0
        return forced

    return dictate


def surviving(payload: bytes) -> list[tuple[NDArray[Any], NDArray[Any]]] | None:
    """Return the tokens that a payload holds, head by head.

    Parameters
    ----------
    payload : bytes
        What `write` left.

    Returns
    -------
    list of (ndarray, ndarray), or None
        For each layer and key-value head the keys and values, shapes (k, d), of the entries that are not
        masked, in float32; None where a layer holds no plain tensors.
    """
    torch, tree = needed("torch"), from_bytes(payload)
    found = []
    for layer, mask in zip(tree["layers"], tree["masked"], strict=True):
        keys, values = layer["keys"], layer["values"]
        if keys.ndim != 4:
            return None
        kept = torch.ones(keys.shape[:3], dtype=torch.bool)
        if mask is not None:
            kept[tuple(mask)] = False
        for head, rows in enumerate(kept[0]):
            found.append((keys[0, head][rows].float().numpy(), values[0, head][rows].float().numpy()))
    return found


def _restored(compressor: Compressor, built: Any, payload: bytes, tokens: int) -> Any:
    """Return a new cache with the state that a payload carries, its masked entries erased."""
    tree = from_bytes(payload)
    cache = load_state(compressor.cache(built.config, tokens), tree["layers"])
    for layer, mask in zip(cache.layers, tree["masked"], strict=True):
        if mask is not None:
            layer.keys[tuple(mask)] = 0
            layer.values[tuple(mask)] = 0
    return cache


def _takes_many(cache: Any) -> bool:
    """Return whether many questions fit into one pass: layers of one length that grow with each of them."""
    growing = needed("transformers.cache_utils")
    kinds = (growing.DynamicLayer, growing.QuantoQuantizedLayer, growing.HQQQuantizedLayer)
    lengths = {layer.get_seq_length() for layer in cache.layers}
    return len(lengths) == 1 and all(type(layer) in kinds for layer in cache.layers)


def _repeat(cache: Any, times: int) -> None:
    """Give every question of a batch a copy of the cache."""
    for layer in cache.layers:
        layer.keys = layer.keys.repeat_interleave(times, dim=0)
        layer.values = layer.values.repeat_interleave(times, dim=0)


def _write_tokenizer(folder: Path) -> None:
    """Leave a tokenizer of one word in a folder: some compressors prompt the model with texts of their own."""
    transformers, tokenizers = needed("transformers"), needed("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
