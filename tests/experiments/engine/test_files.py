"""Files are whole or not there, and nothing stands beside them, whoever is killed."""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvfloor.experiments.engine.files import write_whole

WRITER = """
import itertools, sys
from kvfloor.experiments.engine.files import write_whole
print("ready", flush=True)
for number in itertools.count():
    write_whole(sys.argv[1], b"%d" % (number % 10) * 300_000)
"""


def test_content_is_there_and_replaced(tmp_path):
    path = tmp_path / "a.svg"
    for content in (b"one", b"two" * 100_000, b""):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_content_leaves_the_file_alone(tmp_path):
    path = tmp_path / "a.svg"
    write_whole(path, b"one")
    before = path.stat()
    write_whole(path, b"one")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_it_works_without_nameless_files(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE")
    test_content_is_there_and_replaced(tmp_path)


def test_many_may_write_at_once(tmp_path):
    path = tmp_path / "a.svg"
    contents = [b"%d" % number * 50_000 for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write_whole(path, contents[number % 4]), range(80)))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="a file must be made without a name")
def test_who_is_killed_leaves_the_old_file_the_new_one_or_none(tmp_path):
    rng = random.Random(0)
    for _ in range(int(os.environ.get("KVFLOOR_KILLS", "4"))):
        path = tmp_path / "a.svg"
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            writer.kill()
        left = list(tmp_path.iterdir())
        assert left in ([], [path])
        if left:
            content = path.read_bytes()
            assert content == content[:1] * 300_000


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "a.svg", b"")
