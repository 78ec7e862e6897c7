"""What is shipped works without this folder: the source distribution, the wheel made of it, and its drivers."""

# mypy: allow-untyped-calls

from __future__ import annotations

import inspect
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import tomllib
from importlib.metadata import version
from pathlib import Path

import aiosqlite
import pytest

from ledger.drivers.sqlite import close
from tests.servers import ROOT

PARTS = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "ledger",
    "migrations",
)
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run it with this interpreter's packages and no network; its output."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | NO_INDEX | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `pip install` makes of the wheel that is built from the source distribution."""
    root = tmp_path_factory.mktemp("packages")
    tree = root / "tree"
    tree.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    sdist = root / run("-c", BUILD, "build_sdist", root, cwd=tree).split()[-1]
    with tarfile.open(sdist) as archive:
        archive.extractall(root / "unpacked", filter="data")
    (unpacked,) = (root / "unpacked").iterdir()
    wheel = root / run("-c", BUILD, "build_wheel", root, cwd=unpacked).split()[-1]
    run("-m", "pip", "install", "--no-deps", "--target", root / "installed", wheel, cwd=root)
    return root / "installed"


def ledger(installed: Path, *arguments: str | Path, cwd: Path) -> str:
    """The installed command `ledger`."""
    return run(installed / "bin" / "ledger", *arguments, cwd=cwd, PYTHONPATH=str(installed))


def test_the_wheel_runs_by_itself(installed: Path, tmp_path: Path) -> None:
    """Its command starts, from its own files, and says the version that its metadata has."""
    where = "import ledger; print(ledger.__file__)"
    found = run("-c", where, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(found.strip()).is_relative_to(installed)
    (metadata,) = installed.glob("migration_ledger-*.dist-info/METADATA")
    said = ledger(installed, "--version", cwd=tmp_path).split()
    assert said[0] == "ledger"
    assert f"\nVersion: {said[1]}\n" in metadata.read_text()
    assert (installed / "ledger" / "py.typed").exists()


def test_the_wheel_brings_the_shipped_sets(installed: Path, tmp_path: Path) -> None:
    """Every file of both sets is in it, and a fleet is made and migrated with them."""
    sets = installed / "ledger" / "_sets"
    shipped = {path.relative_to(sets): path.read_bytes() for path in sets.rglob("*.*")}
    wanted = (ROOT / "migrations").rglob("*.*")
    assert shipped == {path.relative_to(ROOT / "migrations"): path.read_bytes() for path in wanted}
    told = ledger(installed, "demo", "fleet", "--tenants", "2", cwd=tmp_path)
    assert "2 migrated" in told
    config = tmp_path / "woo.toml"
    config.write_text(
        f'migrations = "{sets / "woo_ai"}"\n[[tenants]]\nmysql = "mysql://app@localhost/wp"\n'
        'prefixes = ["wp_"]\nvariables = { wpdb_users = "wp_users" }\n'
    )
    assert ledger(installed, "lint", "--config", config, cwd=tmp_path) == "Nothing found.\n"


async def test_what_aiosqlite_does_not_promise() -> None:
    """The private parts that ledger/drivers/sqlite.py stands on are there in the version that is installed.

    The versions that are admitted were each held to this; a wider range needs the same.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    assert "aiosqlite>=0.21,<0.23" in wanted, "run this test with each version newly admitted"
    assert version("aiosqlite").split(".")[:2] in (["0", "21"], ["0", "22"])
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 64)
    assert list(inspect.signature(connection._execute).parameters) == ["fn", "args", "kwargs"]
    await connection
    assert connection._connection is connection._conn
    thread = await connection._execute(lambda database: threading.get_ident(), connection._conn)
    assert thread != threading.get_ident(), "it runs in the connection's own thread"
    assert (
        await connection._execute(lambda database: database.in_transaction, connection._conn) == 0
    )
    await close(connection)
    assert connection._connection is None
