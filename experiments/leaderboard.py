"""Every press of kvpress and every cache of transformers over budgets: a table and a figure."""

import csv
import importlib.metadata
import inspect
import io
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attention.hf.compressors import presses
from attention.hf.library import EXTRA, INSTALL, NotInstalledError, missing
from attention.hf.model import Model
from experiments import plotting, real
from experiments.plotting import COLOURS, THEORY, new_figure, shade_impossible
from experiments.randomness import Randomness
from experiments.store import Record, Store
from experiments.sweep import Task, run
from reductions.certificates import frontier_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KEPT", "draw", "leaderboard", "table", "tasks", "write"]

REQUIRES = EXTRA
VERSIONED = (*EXTRA, "optimum-quanto", "hqq")
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

COLUMNS = (
    "compressor", "budget", "accuracy", "nominal", "allocated", "wire", "certified", "verdict", "note",
)  # fmt: skip


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
    runs = [
        (n, f"kvpress:{n},{spelling(n, cls, f, tokens)}", f) for n, cls in presses().items() for f in kept
    ]
    runs += [(name, spec.format(removed=round(1 - f, 6)), f) for name, spec in VARIANTS.items() for f in kept]
    runs += [(name.split(",")[0], f"transformers:{name}", None) for name in CACHES]
    runs += [
        (f"{name}, sliding", f"transformers:{name},sliding_window={round(f * tokens)}", f)
        for name in SLIDING
        for f in kept
    ]
    size = {"tokens": tokens, "dim": dim}
    return [
        Task(__name__, "claim", {"name": name, "spec": spec, "kept": fraction, **size})
        for name, spec, fraction in runs
    ]


def spelling(name: str, press: type[Any], kept: float, tokens: int) -> str:
    """Return the parameters that ask a press for a budget; wrappers are given kvpress' plainest scorer."""
    removed = round(1 - kept, 6)
    if name in SPELLINGS:
        return SPELLINGS[name].format(removed=removed, tokens=round(kept * tokens))
    inside = [p for p in ("press", "base_press") if p in inspect.signature(press).parameters]
    return ",".join([*(f"{p}=KnormPress" for p in inside), f"compression_ratio={removed}"])


def measure(parameters: dict[str, Any], randomness: Randomness) -> dict[str, Any]:
    """Play once; a compressor that does not run here says why."""
    sliding = "sliding" in parameters["spec"]
    model = Model("mistral" if sliding else "llama")
    setting = real.Setting(parameters["spec"], model, parameters["tokens"], parameters["dim"])
    try:
        return real.measure(setting, randomness)
    except ValueError as error:
        return {"cannot": str(error).removeprefix(f"{parameters['spec']}: ")}


def leaderboard(
    *,
    store: Store,
    folder: Path,
    executor: Executor,
    seed: int = 0,
    progress: Callable[[int], None] = lambda blocks: None,
) -> list[dict[str, Any]]:
    """Play what the store lacks, and write table and figure.

    Parameters
    ----------
    store : Store
        Where finished plays are kept.
    folder : Path
        Where ``leaderboard.md``, ``.csv``, ``.svg`` and ``.png`` go.
    executor : concurrent.futures.Executor
        Who does the work.
    seed : int
        Root seed.
    progress : callable
        Told how many plays were just found or finished.

    Returns
    -------
    list of dict
        The table's rows; see `table`.
    """
    records = run(tasks(), store, seed=seed, executor=executor, progress=progress)
    rows = table(records)
    write(rows, folder, records[0].parameters, seed)
    with plotting.styled():
        plotting.save(draw(records), folder, "leaderboard")
    return rows


def table(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the leaderboard, most accurate first within a budget; what cannot run stands last.

    Parameters
    ----------
    records : sequence of Record
        Plays.

    Returns
    -------
    list of dict
        Under the names in ``COLUMNS``: sizes in bits for each hidden bit, "" where there is none. What cannot
        run has one row.
    """
    rows, refused = [], set()
    for record in records:
        asked, found = record.parameters, record.measured
        if "cannot" in found:
            if asked["name"] in refused:
                continue
            refused.add(asked["name"])
        row = dict.fromkeys(COLUMNS, "") | {"compressor": asked["spec"], "budget": asked["kept"] or ""}
        if "cannot" in found:
            row |= {
                "verdict": "cannot run",
                "note": textwrap.shorten(found["cannot"], 150, placeholder=" ..."),
            }
        else:
            bits = {name: found[f"{name}_bits"] for name in ("nominal", "allocated", "wire", "certified")}
            row |= {name: "" if n is None else round(n / found["symbols"], 3) for name, n in bits.items()}
            row |= {"accuracy": round(1 - found["errors"] / found["symbols"], 4), "verdict": found["verdict"]}
            row["note"] = _note(found)
        rows.append(row)
    return sorted(
        rows, key=lambda r: (r["verdict"] == "cannot run", -(r["budget"] or 2), -(r["accuracy"] or 0))
    )


def _note(found: dict[str, Any]) -> str:
    """Return in a few words what a method does with tokens."""
    if found["masked_entries"]:
        return "masks tokens"
    if found["drops_only"]:
        return "drops tokens" if found["kept_entries"] < found["all_entries"] else "keeps every token"
    return "changes keys or values"


def write(rows: Sequence[dict[str, Any]], folder: Path, size: dict[str, Any], seed: int) -> None:
    """Write the table as Markdown and CSV, with versions and command.

    Parameters
    ----------
    rows : sequence of dict
        What `table` returned.
    folder : Path
        Made if it does not exist.
    size : dict
        "tokens" and "dim" of the instance.
    seed : int
        Root seed of the plays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / "leaderboard.csv").write_text(text.getvalue())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONED)
    lines = [
        "# Compressors as they ship, on the hard instance",
        "",
        f"INDEX in the values of one layer and one head, n = {size['tokens']:,} tokens, d = {size['dim']}, float32: "
        f"{size['tokens'] * size['dim']:,} hidden bits. Sizes are bits for each hidden bit; the full cache takes 64. "
        "*Budget* is the fraction that the method is asked to keep, *nominal* what it says that it keeps, *allocated* "
        "what its tensors occupy, *wire* what crosses as bytes, *certified* what decoding proves (wrong with "
        "probability at most 2^-40).",
        "",
        f"Written by `kvfloor leaderboard --seed {seed}` with {versions.replace('+cpu', '')}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    lines += ["| " + " | ".join(str(row[c]).replace("|", "\\|") for c in COLUMNS) + " |" for row in rows]
    (folder / "leaderboard.md").write_text("\n".join(lines) + "\n")


def draw(records: Sequence[Record]) -> "Figure":
    """Draw accuracy and certified bits against nominal, allocated and wire bits."""
    import numpy as np

    figure, axes = new_figure(3, width=3.7, height=6.2, sharex=True, sharey="row", rows=2)
    ran = [r for r in records if "cannot" not in r.measured]
    low = np.geomspace(0.5, 1, 100)
    for column, (name, title) in enumerate(
        (("nominal", "a   what is said"), ("allocated", "b   what is there"), ("wire", "c   what crosses"))
    ):
        top, bottom = axes[:, column]
        shade_impossible(top, low, [frontier_accuracy(rate, 2) for rate in low], 1.02)
        shade_impossible(bottom, low, low, 1.05)
        for label, marker, colour, belongs in _GROUPS:
            found = [r.measured for r in ran if belongs(r) and r.measured[f"{name}_bits"] is not None]
            sizes = [m[f"{name}_bits"] / m["symbols"] for m in found]
            look = {"marker": marker, "color": colour, "linestyle": "none", "markerfacecolor": "none"}
            top.plot(sizes, [1 - m["errors"] / m["symbols"] for m in found], **look, label=label)
            bottom.plot(sizes, [m["certified_bits"] / m["symbols"] for m in found], **look)
        for each in (top, bottom):
            each.axvline(64, color=THEORY, linewidth=0.9, linestyle="--", label="the full cache")
        top.text(0.53, 0.99, "closed", style="italic", color="#555555", va="center", fontsize=7)
        top.set(title=title, xscale="log", xlim=(0.5, 180), ylim=(0.5, 1.02))
        bottom.set(xlabel=f"{name} bits for each hidden bit", ylim=(0, 1.05))
        bottom.set_xticks([1, 4, 16, 64], ["1", "4", "16", "64"])
        bottom.minorticks_off()
    axes[0, 0].set_ylabel("hidden bits decoded rightly")
    axes[1, 0].set_ylabel("certified bits for each hidden bit")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


_GROUPS: tuple[tuple[str, str, str, Callable[[Record], bool]], ...] = (
    (
        "drops tokens",
        "o",
        COLOURS[0],
        lambda r: r.measured["drops_only"] and not r.measured["masked_entries"],
    ),
    ("masks tokens", "v", COLOURS[1], lambda r: bool(r.measured["masked_entries"])),
    (
        "changes keys or values",
        "s",
        COLOURS[2],
        lambda r: not r.measured["drops_only"] and "Quantized" not in r.parameters["spec"],
    ),
    ("quantises", "D", COLOURS[7], lambda r: "Quantized" in r.parameters["spec"]),
)
