"""What the account may not read is named with its path and the next step, and stops nothing else."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

NOBODY = 65534
CONFIG = """
url = "sqlite:///{ledger}"

[[tenants]]
sqlite = "{tenants}/*.db"
migrations = "migrations"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a migration, one SQLite tenant, and a folder `closed` that `forbid` closes."""
    for name in ("migrations", "tenants", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "migrations/001_users.sql").write_text("CREATE TABLE users (id INTEGER);\n")
    with closing(sqlite3.connect(tmp_path / "tenants/a.db")) as database:
        database.execute("CREATE TABLE own (id INTEGER)")
    return tmp_path


def configure(place: Path, *, ledger: str = "ledger.db", file: str = "ledger.toml") -> None:
    """Write a configuration for the place's tenants."""
    (place / file).write_text(CONFIG.format(ledger=place / ledger, tenants=place / "tenants"))


def forbid(folder: Path) -> None:
    """Take the right to pass through a folder from this account; also from root without capabilities."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o700)
    else:
        folder.chmod(0)


def ledger(place: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and all output of the command, run without root's right to pass everywhere."""
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without, sys.executable, "-m", "ledger", *arguments],
        cwd=place,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    closed = place / "closed"
    if os.geteuid() != 0:
        closed.chmod(0o700)
    return done.returncode, done.stdout + done.stderr


def test_a_configuration(place: Path) -> None:
    """`--config` names a file in a closed folder."""
    configure(place, file="closed/ledger.toml")
    forbid(place / "closed")
    code, said = ledger(place, "--config", "closed/ledger.toml", "status")
    assert code != 0
    assert "closed/ledger.toml: cannot be read: permission denied" in said
    assert "rights" in said


@pytest.mark.parametrize("command", [("status",), ("migrate", "--all-tenants"), ("doctor",)])
def test_a_ledger(place: Path, command: tuple[str, ...]) -> None:
    """A ledger that may not be seen is not taken for a missing one, which would be made anew."""
    configure(place, ledger="closed/ledger.db")
    forbid(place / "closed")
    code, said = ledger(place, *command)
    assert code != 0
    assert "closed/ledger.db" in said.replace("\n", "")
    assert "permission denied" in " ".join(said.split())
    assert "internal error" not in said


def test_the_doctor_looks_on(place: Path) -> None:
    """A ledger that may not be seen is one finding, and the tenants are examined."""
    configure(place, ledger="closed/ledger.db")
    forbid(place / "closed")
    code, said = ledger(place, "doctor")
    assert code == 4
    assert "1 tenant checked, 1 sound" in said


def test_a_new_migration(place: Path) -> None:
    """What is written into a closed folder is refused with the folder's name and the rights."""
    configure(place)
    config = place / "ledger.toml"
    (place / "closed/inside").mkdir()
    config.write_text(config.read_text().replace('"migrations"', '"closed/inside"'))
    forbid(place / "closed")
    code, said = ledger(place, "new", "users")
    assert code != 0
    assert "closed/inside: permission denied" in said and "rights" in said
    assert "internal error" not in said


def test_a_ledger_below_a_file(place: Path) -> None:
    """There can be none, so that it is missing, and not one that may not be seen."""
    configure(place, ledger="ledger.toml/ledger.db")
    code, said = ledger(place, "status")
    assert code == 0
    assert "1 new" in said


def test_one_tenant(place: Path) -> None:
    """A tenant behind a link into a closed folder is unreachable by name; the others are migrated."""
    configure(place)
    with closing(sqlite3.connect(place / "closed/b.db")) as database:
        database.execute("CREATE TABLE own (id INTEGER)")
    (place / "tenants/b.db").symlink_to(place / "closed/b.db")
    forbid(place / "closed")
    code, said = ledger(place, "migrate", "--all-tenants")
    assert code == 3
    assert "b: unreachable" in said
    assert "a: migrated" in said
