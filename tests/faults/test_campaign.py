"""The random campaign in short: it ends with its count, and it finds a bug that is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT


def campaign(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.faults`, which leaves what it keeps in `folder`."""
    command = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_some_kills_converge_with_one_re_run_each(tmp_path: Path) -> None:
    """Both ledgers at once; as many kills as asked for, counted, and nothing left behind."""
    ended = campaign(tmp_path, "--seed", "3", "--kills", "6")
    assert ended.returncode == 0, ended
    summary = ended.stdout.splitlines()[-1]
    count = int(summary.split(" kills with one re-run each")[0].split()[-1])
    assert count >= 6
    assert list(tmp_path.glob("ledger-campaign-*")) == []


@pytest.mark.slow
def test_without_a_guard_the_campaign_fails(tmp_path: Path) -> None:
    """Recovery that forgets to ask a SQLite tenant what has landed: the campaign says so, and keeps it."""
    ended = campaign(tmp_path, "--seed", "5", "--break", "entry", "--minutes", "1.5")
    assert ended.returncode == 1, ended
    last = ended.stdout.splitlines()[-1]
    assert last.startswith("seed 5: failed in the lane with its ledger in ")
    assert list(tmp_path.glob("ledger-campaign-*")) != []
