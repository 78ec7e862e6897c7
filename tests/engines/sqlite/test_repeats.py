"""SQLite, `transaction:false`: killed behind a statement that can't be repeated as it stands, the same command
again ends as an undisturbed run does, or refuses by name."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.place import MakePlace, Place

UP = "-- migrate:up transaction:false\n"


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    """Two tenants, of which the first is worked on."""
    return make_place("sqlite")


def killed_at(place: Place, point: str) -> None:
    """Migrate the first tenant, and die there."""
    ended = place.terminal.start(
        "migrate", "--tenant", place.names[0], env={"LEDGER_FAILPOINT": point}
    )
    assert ended.code == -signal.SIGKILL, ended


def ids(path: Path) -> list[tuple[int]]:
    """What the written copy holds."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return database.execute("SELECT id FROM mine").fetchall()


@pytest.mark.parametrize("place_name", ["plain", "uri", "expression", "empty"])
@pytest.mark.parametrize(
    "point", ["engine.after_statement", "engine.before_marker", "engine.after_marker:2"]
)
def test_vacuum_into_writes_its_file_once(place: Place, point: str, place_name: str) -> None:
    """Killed behind it, the copy is found and not refused as a file that is there; nothing else is left."""
    folder = place.folder / "copies"
    folder.mkdir()
    copy = folder / "it's a copy.db"
    literal = str(copy).replace("'", "''")
    text = {
        "plain": f"'{literal}'",
        "uri": f"'{copy.as_uri()}?vfs=unix'".replace("'%27", "'"),
        "expression": f"'{literal[:5]}' || /* ; INTO */ '{literal[5:]}'",
        "empty": f"'{literal}'",
    }[place_name]
    if place_name == "empty":
        copy.touch()
    place.migration(
        "001_copy.sql",
        f"{UP}INSERT INTO mine (id) VALUES (7);\nVACUUM main INTO {text};\nINSERT INTO mine (id) VALUES (8);\n",
    )
    killed_at(place, point)
    place.ok("migrate", "--tenant", place.names[0])
    assert ids(copy) == [(7,)]
    assert list(folder.iterdir()) == [copy]
    assert place.run(place.names[0], "SELECT id FROM mine") == [(7,), (8,)]


def test_vacuum_into_a_file_of_somebody_else_is_refused(place: Place) -> None:
    """As SQLite refuses it; the file stays as it was."""
    other = place.folder / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE theirs (id)")
    before = other.read_bytes()
    place.migration("001_copy.sql", f"{UP}VACUUM INTO '{other}';\n")
    ended = place.ended("migrate", "--tenant", place.names[0])
    assert ended.code == 3 and "already exists" in ended.out
    assert other.read_bytes() == before
    assert sorted(one.name for one in place.folder.iterdir() if "vacuum" in one.name) == []


@pytest.mark.parametrize(
    "make", ["CREATE TEMP TABLE t AS SELECT 1 AS id", "CREATE TABLE temp.t (id)"]
)
def test_a_temporary_table_is_not_taken_for_another_one(place: Place, make: str) -> None:
    """It ended with its connection: what reads it is refused, and does not read the tenant's table instead."""
    first = place.names[0]
    place.run(first, "CREATE TABLE t (id)", "INSERT INTO t VALUES (99)")
    place.migration("001_temp.sql", f"{UP}{make};\nINSERT INTO mine SELECT id FROM t;\n")
    killed_at(place, "engine.after_marker")
    ended = place.ended("migrate", "--tenant", first)
    assert ended.code == 3 and "temporary table t" in ended.out and "restore" in ended.out.lower()
    assert place.run(first, "SELECT id FROM mine") == []


def test_what_a_connection_can_have_again_it_has(place: Place) -> None:
    """Temporary views and triggers are made anew; dropping a temporary table that is gone is done."""
    first = place.names[0]
    place.run(first, "CREATE TABLE t (id)")
    place.migration(
        "001_temp.sql",
        f"{UP}CREATE TEMP VIEW v AS SELECT 5 AS id;\nCREATE TEMP TABLE t (id);\n"
        "INSERT INTO mine SELECT id FROM v;\nDROP TABLE t;\nINSERT INTO t VALUES (3);\n",
    )
    killed_at(place, "engine.after_marker:3")
    place.ok("migrate", "--tenant", first)
    assert place.run(first, "SELECT id FROM mine") == [(5,)]
    assert place.run(first, "SELECT id FROM t") == [(3,)]
