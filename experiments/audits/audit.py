"""Audit one cache against the floor: one play between fresh processes, one certificate, one verdict."""

import math
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from kvfloor.experiments.audits.instances import Sides, Wanted, pose
from kvfloor.experiments.audits.record import Audit
from kvfloor.experiments.audits.verdict import verdict
from kvfloor.experiments.game.hosts.isolated import Isolated
from kvfloor.experiments.game.hosts.names import named
from kvfloor.experiments.game.processes import Parties
from kvfloor.experiments.game.protocol import Asking, play_in_full
from kvfloor.experiments.game.randomness import Randomness
from kvfloor.experiments.game.reading import fitting_readers
from kvfloor.reductions.bounds.frontier import rate_distortion

__all__ = ["Audit", "audit"]


def audit(
    cache: str | Callable[..., Any],
    *,
    model: str | None = None,
    tokens: int | None = None,
    dim: int = 64,
    value_dim: int | None = None,
    levels: int = 2,
    sides: Sides = "values",
    seed: int | None = None,
    positions: int | None = None,
    readers: Sequence[str] | None = None,
    feed: Any = "auto",
    readout: Any = "rows",
) -> Audit:
    """Audit a cache: hide random symbols in a stream, count the bytes, decode, certify.

    Alice and Bob run in fresh processes (`kvfloor.experiments.game.processes`).

    Parameters
    ----------
    cache : str or callable
        A name with optional parameters (``"uniform:bits=2"``, ``"kvpress:SnapKVPress,compression_ratio=0.5"``),
        ``"package.module:factory"``, or a factory that can be imported under its module and name. For
        "tensor4" it reads two sides, or is the cache of either side, or two of them joined by ``+``.
    model : str, optional
        Input model (theory 3, 7 and 8): "attention" by default, "tensor4" or "tensor2" for tensor attention
        over four caches or over two of opaque rows, "visual" for visual autoregressive attention. For a
        compressor as it ships the transformer that holds it (theory 12), "llama" by default; see
        `kvfloor.attention.engines.transformers.model.Model.parse`.
    tokens, dim, value_dim : int
        Size of the stream, see `kvfloor.experiments.audits.instances.Instance`; `tokens` is that of
        `kvfloor.experiments.audits.instances.MODELS`, or 512 in a transformer, and `value_dim` is `dim` if
        not given.
    levels : int
        Alphabet of the values: 2, or that many geometric levels (theory 3).
    sides : {"values", "keys", "both"}
        Where the symbols are hidden. In "values" the keys are public coins; in the others they are data.
    seed : int, optional
        Root seed; drawn from the operating system if not given, so that no cache can foresee it.
    positions : int, optional
        Symbols to ask; all of them up to 8192 tokens and in a transformer, else 4096, and fewer where tensor
        attention over pairs would take minutes.
    readers : sequence of str, optional
        Who reads, of `kvfloor.experiments.game.reading.READERS`; all that apply and take seconds if not given: those that
        solve for the values up to 1024 tokens, the search for the likeliest string up to 64.
    feed : {"auto", "prefill", "stream"}
        How a transformer reads its facts.
    readout : {"rows", "tokens"}
        How a transformer is read.

    Returns
    -------
    Audit
        The accounts and the verdict.

    Raises
    ------
    ValueError
        If a size is out of range, or the cache is unknown or fails.
    """
    start = time.perf_counter()
    seed = secrets.randbits(64) if seed is None else seed
    randomness = Randomness(seed, "audit")
    asked_readers = None if readers is None else tuple(readers)
    wanted = Wanted(model, tokens, dim, value_dim, levels, sides, feed, readout, asked_readers)
    posed = pose(named(cache), wanted, randomness)
    encoding, problem = posed.encoding, posed.encoding.problem
    positions = posed.positions if positions is None else positions
    fitting = fitting_readers(encoding, positions is None or positions >= problem.length)
    asking = Asking(positions, fitting if asked_readers is None else asked_readers)
    with Parties(posed.host.name, posed.host.preload) as parties:
        played = play_in_full(encoding, Isolated(posed.host, parties), randomness, asking=asking)
    transcript, accounts = played.transcript, played.written.accounts
    certificate = transcript.certificate()
    return Audit(
        cache=posed.host.name,
        model=posed.model,
        feed=None if accounts is None else feed,
        readout=None if accounts is None else readout,
        tokens=posed.tokens,
        dim=encoding.dim,
        value_dim=encoding.value_dim,
        alphabet=problem.alphabet,
        sides=sides,
        seed=seed,
        asked=transcript.asked,
        capacity_bits=problem.capacity_bits,
        full_cache_bits=accounts.full_cache_bits if accounts else posed.full_cache_bits,
        nominal_bits=accounts.nominal_bits if accounts else None,
        allocated_bits=accounts.allocated_bits if accounts else None,
        peak_bits=accounts.peak_bits if accounts else None,
        wire_bits=transcript.wire_bits,
        reader=transcript.reader,
        readers=asking.readers,
        errors=transcript.errors,
        accuracy=transcript.accuracy,
        certified_bits=math.floor(certificate.certified_bits),
        significance_log2=certificate.significance_log2,
        frontier_bits=math.floor(
            problem.length * rate_distortion(1.0 - transcript.accuracy, problem.alphabet)
        ),
        verdict=verdict(transcript, accounts),
        seconds=time.perf_counter() - start,
    )
