"""The fault table in docs/ is the one that the tests make."""

from __future__ import annotations

import subprocess
import sys

from tests.servers import ROOT


def test_the_table_is_up_to_date() -> None:
    """Every row has a test that exists; `python -m tests.faults.table > docs/faults.md` makes it anew."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.faults.table"], cwd=ROOT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert (ROOT / "docs" / "faults.md").read_text() == made.stdout
