"""Files that are written whole or not at all, and that leave nothing beside them whatever ends the process."""

import contextlib
import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | Path, content: bytes) -> None:
    """Put content where a path says; a file that has it already is left alone.

    On Linux the content is written to a file without a name, which then takes the old one's place: whoever is
    killed meanwhile leaves the old file, the new one, or none. Elsewhere it is written beside it under a hidden
    name and renamed.

    Parameters
    ----------
    path : str or Path
        The file; its folder exists.
    content : bytes
        All of it.
    """
    path = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            nameless = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o644, dir_fd=folder)
        except (AttributeError, OSError):  # a system or a file system without such files
            hidden = path.with_name(f".{path.name}.new")
            hidden.write_bytes(content)
            hidden.replace(path)
            return
        with open(nameless, "wb") as file:
            file.write(content)
            file.flush()
            while True:
                path.unlink(missing_ok=True)
                with contextlib.suppress(FileExistsError):  # another process was faster
                    os.link(f"/proc/self/fd/{nameless}", path.name, src_dir_fd=folder, dst_dir_fd=folder)
                    return
    finally:
        os.close(folder)
