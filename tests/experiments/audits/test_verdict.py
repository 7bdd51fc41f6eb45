"""The verdict: what each rests on, and the nearest case in which it must not be given."""

import pytest

from kvfloor.experiments.audits.verdict import MEANINGS, verdict
from kvfloor.experiments.game.hosts.host import Accounts
from kvfloor.experiments.game.protocol import Transcript

ALL, HALF = 64000, 32000
READ, GUESSED = Transcript(70000, 0, 1000, 1000, 2), Transcript(70000, 250, 1000, 1000, 2)
LEAKED = Transcript(800, 0, 1000, 1000, 2)


@pytest.mark.parametrize(("transcript", "accounts", "expected"), [
    (LEAKED, None, "impossible"),
    (LEAKED, Accounts(ALL, ALL, ALL), "impossible"),
    (Transcript(1000, 0, 1000, 1000, 2), None, "consistent"),
    (READ, None, "consistent"),
    (GUESSED, Accounts(HALF, ALL, ALL), "saves nothing"),
    (READ, Accounts(HALF, ALL + 8, ALL), "saves nothing"),
    (READ, Accounts(HALF, ALL, ALL, compresses=False), "saves nothing"),
    (READ, Accounts(HALF, ALL - 8, ALL), "consistent"),
    (READ, Accounts(ALL, ALL, ALL), "does nothing"),
    (READ, Accounts(ALL, ALL - 8, ALL), "consistent"),
    (READ, Accounts(ALL, ALL, ALL, compresses=False), "consistent"),
    (GUESSED, Accounts(ALL, ALL, ALL), "consistent"),
    (READ, Accounts(None, ALL, ALL), "consistent"),
])  # fmt: skip
def test_a_verdict_follows_from_the_counts(transcript, accounts, expected):
    assert verdict(transcript, accounts) == expected
    assert expected in MEANINGS
