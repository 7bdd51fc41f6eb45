"""What these tests share: the optional libraries, and one run of every claim."""

import fcntl
import json
import os

import pytest
from click.testing import CliRunner

from kvfloor.attention.engines.transformers.library import EXTRA, needed, offline, quiet
from kvfloor.experiments.show.command import main


@pytest.fixture(scope="session")
def extra():
    """Skip where the extra `transformers` is not installed."""
    offline()
    for package in EXTRA:
        with quiet():
            pytest.importorskip(package, reason=f"needs the extra transformers: {package} is not installed")
    needed("torch").set_num_threads(1)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """Run every claim at quick scale once, for all processes of this test run; return JSON, and results and figures."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reproduced"
    folder.mkdir(exist_ok=True)
    shown = folder / "shown.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shown.exists():
            arguments = [
                "--results",
                str(folder / "r.sqlite"),
                "--figures",
                str(folder / "figures"),
                "--json",
            ]
            result = CliRunner().invoke(main, ["reproduce", "--workers", "2", *arguments])
            assert result.exit_code == 0, result.output
            shown.write_text(result.stdout)
    return json.loads(shown.read_text()), folder
