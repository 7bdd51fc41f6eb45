"""What stands between the parties of an audit: tools of the system, and which channels they close.

Two tools are used where the machine has them: bubblewrap, or the namespaces of util-linux' `unshare`. Either
gives each party namespaces of its own; nothing of it is left when the party ends. What no tool closes is told.
"""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

__all__ = ["CHANNELS", "Isolation", "Tool", "isolation"]

Tool: TypeAlias = Literal["bubblewrap", "unshare", "none"]

CHANNELS = {
    "descriptors": "nothing is inherited but one's own input and reply",
    "environment": "the same few variables for everybody",
    "network": "no network, not even one's own machine",
    "processes": "no other process is seen, and what one starts ends with one",
    "shared memory": "neither System V's nor POSIX's",
    "temporary files": "folders for temporary files are new and empty",
    "other files": "everything else is read-only, and little of it is there",
}
"""The channels from Alice to Bob beside the message, and what it means that one is closed."""

ALWAYS = ("descriptors", "environment")
NAMESPACES = (*ALWAYS, "network", "processes", "shared memory", "temporary files")
SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/alternatives",
)

# Inside of new namespaces: hide what is temporary but for the current folder, and give up what could undo it.
HIDE = (
    'exec 9<"$0"; '
    f"for folder in {' '.join(SCRATCH)}; do mount -t tmpfs tmpfs $folder || exit 97; done; "
    '[ -e "$0" ] || { mkdir -p "$0" && mount -c --bind /proc/self/fd/9 "$0" || exit 98; }; '
    'cd "$0" && exec 9<&- setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"'
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """How parties are kept apart.

    Parameters
    ----------
    tool : str
        "bubblewrap", "unshare" or "none".
    """

    tool: Tool

    @property
    def closed(self) -> tuple[str, ...]:
        """The channels, of `CHANNELS`, that it closes."""
        return {"bubblewrap": tuple(CHANNELS), "unshare": NAMESPACES, "none": ALWAYS}[self.tool]

    @property
    def open(self) -> tuple[str, ...]:
        """The channels that it leaves open."""
        return tuple(channel for channel in CHANNELS if channel not in self.closed)

    def command(self, command: Sequence[str], visible: Sequence[str]) -> list[str]:
        """Return the command that runs another one apart from everything.

        Parameters
        ----------
        command : sequence of str
            What to run.
        visible : sequence of str
            Folders that it needs; the last one is where it starts.

        Returns
        -------
        list of str
            The command.
        """
        if self.tool == "bubblewrap":
            return [*_bubblewrap(visible), *command]
        if self.tool == "unshare":
            namespaces = [
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ]
            dying = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--net", "--ipc", "--uts"]
            return [*dying, "sh", "-c", HIDE, visible[-1], *command]
        return list(command)


def isolation(tool: Tool | Literal["auto"] = "auto") -> Isolation:
    """Return a way to keep parties apart.

    Parameters
    ----------
    tool : str
        "bubblewrap", "unshare" or "none"; "auto" takes the first of them that works here.

    Returns
    -------
    Isolation
        The way.

    Raises
    ------
    ValueError
        If there is no such tool, or it does not work here.
    """
    tools = get_args(Tool)
    if tool == "auto":
        return next(way for way in map(Isolation, tools) if _works(way) is None)
    if tool not in tools:
        raise ValueError(f"isolation must be one of auto, {', '.join(tools)}; got {tool!r}")
    way = Isolation(tool)
    if reason := _works(way):
        raise ValueError(f"isolation by {tool} does not work here: {reason}")
    return way


@functools.cache
def _works(way: Isolation) -> str | None:
    """Return why a tool does not work here, or None if it does."""
    command = way.command([sys.executable, "-I", "-S", "-c", ""], visible_folders(os.getcwd()))
    if shutil.which(command[0]) is None:
        return f"there is no {Path(command[0]).name}"
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = tried.stderr.strip().splitlines()[-1:]
    return None if tried.returncode == 0 else " ".join(said) or f"exit status {tried.returncode}"


def visible_folders(current: str) -> list[str]:
    """Return the folders that a party needs: where Python, its libraries and we are, and the current one."""
    ours = str(Path(__file__).resolve().parents[2])
    needed = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), sys.executable, ours, *sys.path]
    return [*dict.fromkeys(path for path in needed if path and os.path.exists(path)), current]


def _bubblewrap(visible: Sequence[str]) -> list[str]:
    """Return what to put before a command so that bubblewrap runs it."""
    options = [
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--hostname",
        "party",
    ]
    paths: list[str] = []
    for path in sorted({*SYSTEM, *visible, *map(os.path.realpath, visible)}):  # a folder before what is in it
        if not any(_holds(folder, path) for folder in paths):
            paths.append(path)
    bound = [["--ro-bind-try", path, path] for path in paths]
    hidden = [["--proc", "/proc"], ["--dev", "/dev"], *(["--tmpfs", folder] for folder in SCRATCH)]
    outside = [any(_holds(path, folder) for folder in SCRATCH) for path in paths]
    first = [each for each, above in zip(bound, outside, strict=True) if above]
    last = [each for each, above in zip(bound, outside, strict=True) if not above]
    mounts = [word for mount in (*first, *hidden, *last) for word in mount]
    return ["bwrap", *options, *mounts, "--chdir", visible[-1]]


def _holds(folder: str, path: str) -> bool:
    """Return whether a path lies in a folder."""
    return path.startswith(folder.rstrip("/") + "/")
