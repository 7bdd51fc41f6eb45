"""What the engine costs: time beside the work in blocks of 10 ms, stored rows read and drawn, 100 workers fed.

Prints, for 1 worker up to one a core, the share of the time in which a worker had nothing to do; the seconds in
which 100 000 stored rows are read and drawn; and, for a run on 100 workers whose blocks take random times
without taking this machine's processor, how busy they were kept.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kvfloor.experiments.drawing import style
from kvfloor.experiments.engine.pool import WorkerPool
from kvfloor.experiments.engine.store import Record, Store
from kvfloor.experiments.engine.sweep import Task, run
from kvfloor.experiments.game.randomness import Randomness

MODULE = "engine_overhead"


def measure(parameters: dict[str, Any], randomness: Randomness) -> dict[str, Any]:
    """Take some time: of the processor ("busy"), or asleep as a block on another machine is to us."""
    if parameters["busy"]:
        start = time.thread_time()
        while time.thread_time() - start < parameters["seconds"]:
            pass
    else:
        mean = parameters["seconds"]
        time.sleep(float(randomness.secret().uniform(0.5 * mean, 1.5 * mean)))
    return {"number": 0}


@contextmanager
def store() -> Iterator[Store]:
    """Open a new store."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "r.sqlite") as opened:
        yield opened


def idle_share(executor: Executor, workers: int, blocks: int, seconds: float, busy: bool) -> float:
    """Return the share of the workers' time that was not spent in blocks."""
    parameters = {"seconds": seconds, "busy": busy}
    with store() as opened:
        warm = [Task(MODULE, "warm", parameters, 4 * workers)]
        run(warm, opened, seed=0, executor=executor)
        start, processor = time.perf_counter(), time.process_time()
        records, _ = run([Task(MODULE, "claim", parameters, blocks)], opened, seed=0, executor=executor)
        taken = time.perf_counter() - start
        ours = time.process_time() - processor
    if busy:
        print(f"{ours / blocks * 1e6:.0f} microseconds of processor time here a block, ", end="")
    return 1 - sum(record.seconds for record in records) / (workers * taken)


def read_and_draw(rows: int) -> tuple[float, float]:
    """Return the seconds in which rows are read, and drawn."""
    with store() as opened:
        measured = {"wire_bits": 4096, "errors": 17, "asked": 262144, "certified_bits": 1234.5}
        records = (
            Record(f"{n // 100:032x}", "0", n % 100, "c" * 32, MODULE, "claim", {"tokens": 64, "dim": 64, "n": n // 100},
                   measured | {"errors": n % 97}, 0.01)
            for n in range(rows)
        )  # fmt: skip
        opened.merge(records)
        start = time.perf_counter()
        found = list(opened.records())
        read = time.perf_counter() - start
        with style.styled(), tempfile.TemporaryDirectory() as folder:
            figure, axes = style.new_figure()
            axes.plot(
                [r.parameters["n"] for r in found],
                [r.measured["errors"] for r in found],
                ",",
                rasterized=True,
            )
            style.save(figure, folder, "rows")
        return read, time.perf_counter() - start - read


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=400, help="blocks a worker")
    options = parser.parse_args()
    for workers in sorted({1, os.cpu_count() or 1}):
        with WorkerPool(workers) as pool:
            share = idle_share(pool, workers, options.blocks * workers, 0.010, True)
        print(f"{workers} workers, blocks of 10 ms: {share:.1%} of the time beside the work (bar: 5 %)")
    read, drawn = read_and_draw(100_000)
    print(f"100 000 rows: read in {read:.2f} s, drawn in {drawn:.2f} s (bar: 2 s together)")
    for seconds in (0.25, 1.0):
        with ThreadPoolExecutor(100) as threads:
            share = idle_share(threads, 100, 2000, seconds, False)
        print(f"100 workers, blocks of about {seconds:g} s: {1 - share:.1%} busy")


if __name__ == "__main__":
    main()
