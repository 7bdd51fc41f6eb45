"""The leaderboard on paper: a table in Markdown and CSV, and a figure, from stored plays alone."""

import csv
import importlib.metadata
import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvfloor.attention.engines.transformers.library import EXTRA
from kvfloor.experiments.audits.verdict import verdict
from kvfloor.experiments.drawing import style
from kvfloor.experiments.drawing.style import COLOURS, THEORY, new_figure, shade_impossible
from kvfloor.experiments.engine.store import Record
from kvfloor.experiments.engine.sweep import Lost
from kvfloor.experiments.game.hosts.host import Accounts
from kvfloor.experiments.game.protocol import Transcript
from kvfloor.reductions.bounds.frontier import frontier_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLUMNS", "draw", "publish", "table", "write"]

VERSIONED = (*EXTRA, "optimum-quanto", "hqq")
COLUMNS = (
    "compressor", "budget", "accuracy", "nominal", "allocated", "wire", "certified", "verdict", "note",
)  # fmt: skip


def publish(records: Sequence[Record], lost: Sequence[Lost], folder: Path, seed: int) -> list[dict[str, Any]]:
    """Write ``leaderboard.md``, ``.csv``, ``.svg`` and ``.png`` from all plays of a leaderboard.

    Parameters
    ----------
    records : sequence of Record
        The plays.
    lost : sequence of Lost
        Those that ended their worker.
    folder : Path
        Where the files go.
    seed : int
        Root seed of the plays.

    Returns
    -------
    list of dict
        The table's rows; see `table`.
    """
    for play in lost:
        task, cannot = play.task, {"cannot": play.reason}
        row = Record(task.id, str(seed), 0, "", task.claim, "claim", task.parameters, cannot, 0.0)
        records = [*records, row]
    rows = table(records)
    write(rows, folder, records[0].parameters, seed)
    with style.styled():
        style.save(draw(records), folder, "leaderboard")
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
            row |= {"accuracy": round(1 - found["errors"] / found["symbols"], 4), "verdict": _verdict(found)}
            row["note"] = _note(found)
        rows.append(row)
    return sorted(
        rows, key=lambda r: (r["verdict"] == "cannot run", -(r["budget"] or 2), -(r["accuracy"] or 0))
    )


def _verdict(found: dict[str, Any]) -> str:
    """Return the verdict on the counts of a play."""
    accounts = Accounts(**{field.name: found[field.name] for field in fields(Accounts)})
    symbols = found["symbols"]
    return verdict(Transcript(found["wire_bits"], found["errors"], symbols, symbols, 2), accounts)


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
