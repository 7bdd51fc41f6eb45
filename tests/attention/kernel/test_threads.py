"""Threads that share work: everything is done once, BLAS waits meanwhile, and nothing is left as it should not be."""

import os
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from kvfloor.attention.kernel.threads import allowed_threads, share


def blas_threads():
    """Return how many threads each BLAS library of this process has."""
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def watched(items, seen):
    """Return work that notes each item with its thread and what BLAS may do meanwhile."""

    def work(queue):
        for item in queue:
            seen.append((item, threading.get_ident(), blas_threads()))
            time.sleep(0.002)

    return work


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_item_is_done_once_by_as_many_threads_as_blas_has(threads):
    with threadpool_limits(threads, user_api="blas"):
        assert allowed_threads() == threads
        seen = []
        share(range(30), watched(range(30), seen))
        assert sorted(item for item, *_ in seen) == list(range(30))
        assert len({thread for _, thread, _ in seen}) == threads
        assert all(set(blas) == {1} for *_, blas in seen)
        assert set(blas_threads()) == {threads}


def test_no_more_threads_than_are_worth_it():
    with threadpool_limits(3, user_api="blas"):
        for items, most, expected in ((range(30), 2, 2), (range(30), 1, 1), (range(1), None, 1)):
            seen = []
            share(items, watched(items, seen), most)
            assert len({thread for _, thread, _ in seen}) == expected


def test_a_call_within_takes_no_threads_and_leaves_blas_at_one():
    with threadpool_limits(2, user_api="blas"):
        seen, within = [], []

        def work(queue):
            for _ in queue:
                share(range(5), watched(range(5), seen))
                within.append((threading.get_ident(), blas_threads(), allowed_threads()))

        share(range(6), work)
        assert len(seen) == 30
        assert {thread for _, thread, _ in seen} <= {thread for thread, *_ in within}
        assert all(set(blas) == {1} and allowed == 2 for _, blas, allowed in within)
        assert set(blas_threads()) == {2}


@pytest.mark.parametrize("where", ["first", "last"])
def test_an_error_in_any_thread_comes_out_and_blas_gets_its_threads_back(where):
    with threadpool_limits(2, user_api="blas"):

        def work(queue):
            for item in queue:
                if item == (0 if where == "first" else 19):
                    raise RuntimeError("this one fails")
                time.sleep(0.001)

        with pytest.raises(RuntimeError, match="this one fails"):
            share(range(20), work)
        assert set(blas_threads()) == {2}


def test_the_callers_error_state_holds_in_every_thread():
    with threadpool_limits(2, user_api="blas"), np.errstate(divide="ignore"):

        def work(queue):
            for _ in queue:
                np.ones(3) / np.zeros(3)  # a warning would be an error
                time.sleep(0.002)

        share(range(10), work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads, which is the point
def test_a_forked_process_finds_threads_of_its_own():
    with threadpool_limits(2, user_api="blas"):
        share(range(10), watched(range(10), []))
        child = os.fork()
        if not child:
            seen = []
            share(range(10), watched(range(10), seen))
            os._exit(0 if len(seen) == 10 and len({thread for _, thread, _ in seen}) == 2 else 1)
        deadline = time.monotonic() + 60
        while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < deadline:
            time.sleep(0.01)
        if not done[0]:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert done == (child, 0)
