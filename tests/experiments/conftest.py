"""One run of every claim, for all tests that look at what comes out."""

import json

import pytest
from click.testing import CliRunner

from kvfloor.experiments.show.command import main


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """Run every claim at quick scale once; return the JSON, the results and the figures."""
    folder = tmp_path_factory.mktemp("reproduced")
    arguments = ["--results", str(folder / "r.sqlite"), "--figures", str(folder / "figures"), "--json"]
    result = CliRunner().invoke(main, ["reproduce", "--workers", "2", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), folder
