"""Let threads share work block by block, each with one thread of BLAS: pools inside pools only wait."""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["allowed_threads", "share"]

Item = TypeVar("Item")


def allowed_threads() -> int:
    """Return how many threads a computation may take: as many as the BLAS of this process has.

    Who limits BLAS, by ``OMP_NUM_THREADS`` or ``threadpoolctl``, limits the threads of `share` with it.

    Returns
    -------
    int
        At least 1; 1 where the library is one that cannot be asked.
    """
    return _BLAS.threads()


def share(items: Sequence[Item], work: Callable[[Iterator[Item]], None]) -> None:
    """Let threads take items from one queue until none is left.

    As long as it lasts BLAS has one thread a caller, in the whole process. A call inside another one, or beside
    it, takes no further threads.

    Parameters
    ----------
    items : sequence
        What is to be done, longest first.
    work : callable
        Takes items off the iterator it is given; runs in as many threads as are allowed and worth it, and must
        write what it finds where no other item does.
    """
    with _BLAS.one_thread() as threads:
        queue = iter(items)
        helpers = min(threads, len(items)) - 1
        if helpers < 1:
            work(queue)
            return
        with ThreadPoolExecutor(helpers) as pool:
            # np.errstate is in the context.
            futures = [
                pool.submit(contextvars.copy_context().run, _help, work, queue) for _ in range(helpers)
            ]
            work(queue)
            for future in futures:
                future.result()


def _help(work: Callable[[Iterator[Item]], None], queue: Iterator[Item]) -> None:
    """Work in another thread; some libraries keep the number of their threads for each thread apart."""
    _controller().limit(limits=1, user_api="blas")
    work(queue)


@cache
def _controller() -> ThreadpoolController:
    """Return what sets the number of BLAS's threads; finding the library takes longer than a small product."""
    return ThreadpoolController().select(user_api="blas")


class _Blas:
    """The number of BLAS's threads, which belongs to the process: the last to leave puts it back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._threads = 1

    def threads(self) -> int:
        """Return the number of threads, as it was before anybody came in."""
        with self._lock:
            return self._threads if self._inside else self._now()

    @contextmanager
    def one_thread(self) -> Iterator[int]:
        """Hold BLAS at one thread; the first to come in is given the number of threads there are to take."""
        with self._lock:
            if not self._inside:
                self._threads = self._now()
                self._limit = _controller().limit(limits=1, user_api="blas") if self._threads > 1 else None
            threads = 1 if self._inside else self._threads
            self._inside += 1
        try:
            yield threads
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._limit:
                    self._limit.restore_original_limits()

    @staticmethod
    def _now() -> int:
        """Return the least number of threads of the libraries found."""
        return min((library.num_threads for library in _controller().lib_controllers), default=1)


_BLAS = _Blas()
