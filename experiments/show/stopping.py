"""Being told to stop: Ctrl-C, SIGTERM and SIGHUP end the command at once, after one sentence.

Whatever is kept is kept block by block and whatever was started ends with us, so there is nothing to unwind:
an exception that breaks out of any line of any library would only be one more way to go wrong.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["stops_with"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = "\x1b[?25h"  # a bar that is being drawn hides it


@contextlib.contextmanager
def stops_with(sentence: Callable[[], str]) -> Iterator[None]:
    """Say a sentence on standard error and end, with status 128 + n, on the signals that ask for it.

    A signal that was ignored before (as nohup does) stays ignored.

    Parameters
    ----------
    sentence : callable
        Asked for what to say when it is time.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
        with contextlib.suppress(OSError):  # nobody may be there to read it
            os.write(2, f"{cursor}\n{sentence()}\n".encode())
        os._exit(128 + number)

    before = {}
    try:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
