"""What these tests share: the optional libraries, and one run of every claim."""

import json

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
    """Run every claim at quick scale once; return the JSON, the results and the figures."""
    folder = tmp_path_factory.mktemp("reproduced")
    arguments = ["--results", str(folder / "r.sqlite"), "--figures", str(folder / "figures"), "--json"]
    result = CliRunner().invoke(main, ["reproduce", "--workers", "2", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), folder
