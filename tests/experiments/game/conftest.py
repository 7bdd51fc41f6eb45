"""What these tests share: the tools of isolation that work here."""

from typing import get_args

import pytest

from kvfloor.experiments.game.isolation import Tool, isolation


@pytest.fixture(scope="session")
def tools():
    """Return the tools of isolation that work on this machine."""
    found = []
    for tool in get_args(Tool):
        try:
            found.append(isolation(tool).tool)
        except ValueError:
            continue
    return found
