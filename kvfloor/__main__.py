"""The command as a process of its own: `kvfloor`, or ``python -m kvfloor``."""

import signal

__all__ = ["start"]


def start() -> None:
    """Run the command; until there is something to say, Ctrl-C ends it in silence."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from kvfloor.experiments.show.command import main

    main(prog_name="kvfloor")


if __name__ == "__main__":
    start()
