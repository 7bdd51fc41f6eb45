"""llama.cpp's own cache, inside of a model whose heads answer attention over its input rows.

A key-value head holds an attention of its own: keys, values and queries stand side by side, head by head. The
message is the engine's own state of the sequence. The model's weights follow from its sizes and the reader's
queries alone; tokens and questions come in as embeddings.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kvfloor.attention.caches.base import Coins
from kvfloor.attention.engines.llamacpp.sessions import Session
from kvfloor.attention.engines.llamacpp.settings import Settings
from kvfloor.attention.engines.transformers.model import Model
from kvfloor.experiments.game.hosts.host import Accounts, Host, Written
from kvfloor.reductions.encodings.protocol import Stream, Tokens
from kvfloor.reductions.weights.compiler import Shape
from kvfloor.reductions.weights.passage import Passage

__all__ = ["LlamaCache"]


@dataclass(frozen=True, slots=True)
class LlamaCache(Host):
    """A cache of llama.cpp by its name, inside of a model.

    Parameters
    ----------
    cache : str
        Such as "llamacpp:type_k=q8_0,type_v=q4_0"; see `kvfloor.attention.engines.llamacpp.settings`.
    model : str
        The sizes of the model, such as "llama:layers=2,heads=4,kv_heads=2".

    Raises
    ------
    ValueError
        If one of them is wrong.
    """

    preload: ClassVar[tuple[str, ...]] = ("gguf",)

    cache: str
    model: str = "llama"

    def __post_init__(self) -> None:
        Settings.parse(self.cache)
        parsed = Model.parse(self.model)
        if (parsed.architecture, parsed.dtype) != ("llama", "float32"):
            raise ValueError(
                f"{self.model!r}: in llama.cpp the model is llama, with layers, heads and kv_heads; "
                "its types are the cache's"
            )

    @property
    def name(self) -> str:
        """The cache as it was named."""
        return self.cache

    @property
    def heads(self) -> int:
        """Key-value heads of all layers: how many instances stand side by side."""
        parsed = Model.parse(self.model)
        return parsed.layers * parsed.kv_heads

    def write(self, stream: Stream, coins: Coins) -> Written:
        """Let the engine read the stream; see `Host`."""
        session, passage = self._session(stream, 1.0)
        assert isinstance(stream, Tokens)
        written = session.write(passage.tokens(stream))
        accounts = Accounts(
            nominal_bits=written.nominal_bits,
            allocated_bits=written.allocated_bits,
            full_cache_bits=written.full_cache_bits,
            compresses=written.nominal_bits < written.full_cache_bits,
        )
        return Written(written.payload, accounts)

    def ask(self, payload: bytes, token: Stream, queries: NDArray[Any], coins: Coins) -> NDArray[Any]:
        """Ask an engine to which a message was restored; see `Host`."""
        assert isinstance(token, Tokens)
        norms = np.linalg.norm(np.reshape(queries, (len(queries), self.heads, -1)), axis=2)
        session, passage = self._session(token, max(1.0, float(norms.max(initial=0.0))))
        questions = passage.questions(queries)
        return passage.outputs(session.read(payload, questions, passage.tokens(token)), questions)

    def _session(self, stream: Stream, query_norm: float) -> tuple[Session, Passage]:
        """Return what both halves run, and how streams pass through it."""
        parsed = Model.parse(self.model)
        dim, rest = divmod(stream.dim, self.heads)
        if rest or stream.value_dim != stream.dim:
            raise ValueError(
                f"llama.cpp's heads have values of the dimension of keys; got {stream.value_dim} and {stream.dim}"
            )
        shape = Shape(parsed.layers, parsed.kv_heads, parsed.group, dim)
        passage = Passage(shape, query_norm)
        return Session(Settings.parse(self.cache), passage.weights(), dim), passage
