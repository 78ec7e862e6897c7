"""The Python page and the public names say what is true."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import ledger
from ledger import _public, errors
from tests.servers import ROOT

PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_python_page_runs_as_it_stands(program: str, tmp_path: Path) -> None:
    """Over two tenants, one of them called acme."""
    (tmp_path / "data").mkdir()
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "001_notes.sql").write_text("CREATE TABLE notes (id INT);\n")
    for name in ("acme", "beta"):
        with closing(sqlite3.connect(tmp_path / "data" / f"{name}.db")) as tenant:
            tenant.execute("CREATE TABLE old (id INT)")
    (tmp_path / "ledger.toml").write_text('[[tenants]]\nsqlite = "data/*.db"\n')
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_public_name_loads_and_nothing_else_does() -> None:
    """Every error of `ledger.errors` is among them; names that look public and are not have none."""
    assert [name for name in _public.__all__ if not hasattr(ledger, name)] == []
    assert set(dir(ledger)) == {"__version__", *_public.__all__}
    own = {name for name, value in vars(errors).items() if isinstance(value, type)}
    missing = {name for name in own if name.endswith("Error")} - set(_public.__all__)
    assert not missing
    with pytest.raises(AttributeError, match="no attribute 'Sqlite3'"):
        _ = ledger.Sqlite3
