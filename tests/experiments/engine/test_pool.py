"""Local workers: they do what is asked, are replaced when they die, and never outlive their pool or its process."""

import math
import operator
import os
import signal
import subprocess
import sys
import time

import pytest

from kvfloor.experiments.engine.pool import ATTEMPTS, WorkerDiedError, WorkerError, WorkerPool

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found through /proc")
SLEEPER = ["sleep", "600"]


def running(mark):
    """Return the processes that have a mark in their environment, by id, with their state."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as environment, open(f"/proc/{name}/stat") as stat:
                if mark.encode() in environment.read():
                    found[int(name)] = stat.read().rpartition(")")[2].split()[0]
        except OSError:  # it ended meanwhile
            continue
    return found


def gone(mark, seconds=10.0):
    """Wait until no process has a mark; return those that still have it in the end."""
    deadline = time.monotonic() + seconds
    while (left := running(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def until(condition, seconds=20.0):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def mark(monkeypatch):
    """Mark all processes that are started, and those alone."""
    monkeypatch.setenv("KVFLOOR_TEST_MARK", f"{os.getpid()}-{time.monotonic_ns()}")
    return f"KVFLOOR_TEST_MARK={os.environ['KVFLOOR_TEST_MARK']}"


def die_unless(path):
    """Die by SIGKILL unless a file exists; then say so."""
    if not os.path.exists(path):
        with open(path, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def count_and_die(path):
    """Leave a line and die."""
    with open(path, "a") as file:
        file.write("x\n")
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_child():
    """Start a process that holds all we have open, and go on."""
    if os.fork() == 0:
        os.execvp("sleep", SLEEPER)
    return os.getpid()


def test_calls_are_answered_whatever_the_number_of_workers():
    for workers in (1, 3):
        with WorkerPool(workers) as pool:
            futures = [pool.submit(operator.mul, i, i) for i in range(50)]
            assert [future.result() for future in futures] == [i * i for i in range(50)]


def test_results_survive_the_way_exactly():
    with WorkerPool(1) as pool:
        for value in (0.1 + 0.2, 5e-324, [1, None, {"a": "ä\n"}], "x" * 3_000_000):
            assert pool.submit(operator.getitem, [value], 0).result() == value
        assert math.isnan(pool.submit(operator.getitem, [math.nan], 0).result())


def test_an_error_is_one_sentence_and_the_worker_goes_on():
    with WorkerPool(1) as pool:
        pid = pool.submit(os.getpid).result()
        with pytest.raises(WorkerError, match="ZeroDivisionError: division by zero"):
            pool.submit(operator.truediv, 1, 0).result()
        assert pool.submit(os.getpid).result() == pid


def test_what_is_no_json_or_has_keywords_is_refused():
    with WorkerPool(1) as pool:
        with pytest.raises(TypeError, match="not JSON serializable"):
            pool.submit(operator.neg, object())
        with pytest.raises(TypeError, match="keyword"):
            pool.submit(sorted, [1], reverse=True)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(operator.neg, 1)


def test_a_block_whose_worker_dies_is_done_again(tmp_path):
    with WorkerPool(1) as pool:
        assert pool.submit(die_unless, str(tmp_path / "once")).result() == "survived"


def test_a_block_that_kills_three_workers_is_given_up_and_the_rest_goes_on(tmp_path):
    with WorkerPool(2) as pool:
        bad = pool.submit(count_and_die, str(tmp_path / "deaths"))
        rest = [pool.submit(operator.neg, i) for i in range(20)]
        with pytest.raises(WorkerDiedError, match="3 workers died over it, the last by SIGKILL"):
            bad.result()
        assert [future.result() for future in rest] == [-i for i in range(20)]
    assert (tmp_path / "deaths").read_text() == "x\n" * ATTEMPTS


def test_an_idle_worker_that_is_killed_is_replaced():
    with WorkerPool(1) as pool:
        for _ in range(ATTEMPTS + 1):
            os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        assert pool.submit(operator.neg, 3).result() == -3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_worker_killed_at_work_is_replaced(number, tmp_path, mark, capfd):
    with WorkerPool(1) as pool:
        future = pool.submit(time.sleep, 1.0)
        until(lambda: running(mark))
        os.kill(next(iter(running(mark))), number)  # perhaps before it has started
        assert future.result() is None
    assert "Traceback" not in capfd.readouterr().err


def test_a_stopped_worker_goes_on():
    with WorkerPool(1) as pool:
        pid = pool.submit(os.getpid).result()
        future = pool.submit(time.sleep, 0.5)
        os.kill(pid, signal.SIGSTOP)
        assert future.result(timeout=20) is None
        assert pool.submit(os.getpid).result() == pid


def test_a_death_is_seen_although_a_child_holds_the_socket(mark):
    with WorkerPool(1) as pool:
        pid = pool.submit(leave_a_child).result()
        future = pool.submit(time.sleep, 2.0)
        os.kill(pid, signal.SIGKILL)
        assert future.result(timeout=30) is None
        assert len(running(mark)) == 1  # the child is gone with the worker
    assert gone(mark) == {}


def test_shutting_down_ends_all_workers_and_cancels_what_waits(mark):
    with WorkerPool(2) as pool:
        pool.submit(operator.neg, 1).result()
        until(lambda: len(running(mark)) == 2 or pool.submit(operator.neg, 1).result() is None)
        futures = [pool.submit(time.sleep, 0.3) for _ in range(10)]
        pool.shutdown(cancel_futures=True)
        assert any(future.cancelled() for future in futures)
        assert all(future.done() for future in futures)
    assert gone(mark) == {}


def test_no_process_is_started_before_there_is_work(mark):
    with WorkerPool(4) as pool:
        assert running(mark) == {}
        pool.submit(operator.neg, 1).result()
        assert len(running(mark)) == 1


PARENT = """
import sys, time
from kvfloor.experiments.engine.pool import WorkerPool
pool = WorkerPool(2)
futures = [pool.submit(time.sleep, 600) for _ in range(4)]
print("ready", flush=True)
futures[0].result()
"""


@pytest.mark.parametrize("stopped", ["nobody", "a worker", "the parent"])
def test_workers_end_with_a_parent_that_is_killed(mark, stopped):
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        until(lambda: len(running(mark)) == 3)
        (worker, _) = (pid for pid in running(mark) if pid != parent.pid)
        if stopped == "a worker" and sys.platform == "linux":
            time.sleep(1.0)  # it has asked the kernel by then
        if stopped != "nobody":
            os.kill(parent.pid if stopped == "the parent" else worker, signal.SIGSTOP)
        parent.kill()
    assert gone(mark) == {}
