"""MySQL and MariaDB tenants under a process that is killed at every point: the same command again ends correct."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import MakeDatabase
from tests.engines import mysql_child
from tests.servers import Rows, Server, query

POINTS = (
    "engine.before_begin", "engine.in_transaction", "engine.before_marker", "engine.after_commit",
    "engine.after_intent", "engine.after_statement", "engine.after_marker",
)  # fmt: skip
TIMES = range(1, 10)
"""How often a point may be passed before the kill; beyond the last the run ends undisturbed."""


@pytest.fixture
def folder(sql_server: Server, make_database: MakeDatabase, tmp_path: Path) -> Path:
    """A child's folder for a fresh database."""
    return _folder(sql_server, make_database, tmp_path)


def _folder(server: Server, make_database: MakeDatabase, path: Path) -> Path:
    name = make_database(server)
    path.mkdir(exist_ok=True)
    mysql_child.write_target(path, server.url_for(name), server.password)
    return path


def _content(server: Server, folder: Path) -> dict[str, Rows]:
    """All rows of all tables, the marker apart."""
    database = mysql_child.read_target(folder).name
    names = [str(row[0]) for row in query(server, "SHOW TABLES", database=database)]
    return {
        name: query(server, f"SELECT * FROM `{name}` ORDER BY 1", database=database)
        for name in names
        if name != "ledger_marker"
    }


def _recorded(folder: Path) -> list[int]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event["landed"] for event in map(json.loads, lines) if "landed" in event]


@pytest.fixture
def undisturbed(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> tuple[dict[str, object], dict[str, Rows]]:
    """What a run that nobody kills makes of an empty tenant."""
    folder = _folder(sql_server, make_database, tmp_path / "undisturbed")
    _, answer = mysql_child.run("up", folder)
    assert "error" not in answer, answer
    return answer, _content(sql_server, folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
def test_killed_migration_converges(
    sql_server: Server,
    make_database: MakeDatabase,
    tmp_path: Path,
    undisturbed: tuple[dict[str, object], dict[str, Rows]],
    point: str,
) -> None:
    """Killed at the point's n-th passing, one plain re-run ends with every step applied and recorded once."""
    killed = 0
    for times in TIMES:
        folder = _folder(sql_server, make_database, tmp_path / f"{point}-{times}")
        code, _ = mysql_child.run("up", folder, failpoint=f"{point}:{times}")
        if code == 0:
            break
        killed += 1
        _, answer = mysql_child.run("up", folder)
        assert "error" not in answer, (times, answer)
        assert answer == undisturbed[0], times
        assert _content(sql_server, folder) == undisturbed[1], times
        assert _recorded(folder) == list(range(1, len(mysql_child.UP) + 1)), times
    assert killed, "the point is never reached"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "point",
    [
        "engine.after_intent",
        "engine.after_statement",
        "engine.after_marker",
        "engine.in_transaction",
    ],
)
def test_killed_rollback_converges(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path, point: str
) -> None:
    """The same for the down steps; at the end nothing of the migration is left in the marker."""
    killed = 0
    for times in TIMES:
        folder = _folder(sql_server, make_database, tmp_path / f"{point}-{times}")
        mysql_child.run("up", folder)
        code, _ = mysql_child.run("down", folder, failpoint=f"{point}:{times}")
        if code == 0:
            break
        killed += 1
        _, answer = mysql_child.run("down", folder)
        assert "error" not in answer, (times, answer)
        assert set(_content(sql_server, folder)) == {"builders"}
        ups = list(range(1, len(mysql_child.UP) + 1))
        downs = list(range(1, len(mysql_child.DOWN) + 1))
        assert _recorded(folder) == ups + downs, times
    assert killed, "the point is never reached"


MAKING = (
    "CREATE TABLE one (id INT PRIMARY KEY)",
    "CREATE TABLE two AS SELECT 2 AS id",
    "CREATE VIEW both_of_them AS SELECT id FROM one UNION SELECT id FROM two",
    "CREATE TABLE three (id INT PRIMARY KEY, one INT, FOREIGN KEY (one) REFERENCES one (id))",
)
"""Each makes something new, so that one intent announces all of them."""


def _intents(folder: Path) -> list[list[int]]:
    """The steps that each recorded intent announces."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    found = [event["intent"] for event in map(json.loads, lines) if "intent" in event]
    return [[one["step"], *(more["step"] for more in one["ahead"])] for one in found]


def _making(server: Server, make_database: MakeDatabase, path: Path, *, killed_after: int) -> Path:
    """A tenant whose run was killed after so many of the steps."""
    folder = _folder(server, make_database, path)
    (folder / "steps.json").write_text(json.dumps(MAKING))
    point = f"engine.after_statement:{killed_after}" if killed_after else "engine.after_intent"
    code, _ = mysql_child.run("up", folder, failpoint=point)
    assert code == -9
    assert _intents(folder) == [[1, 2, 3, 4]]
    return folder


@pytest.mark.parametrize("landed", range(len(MAKING) + 1))
def test_killed_among_steps_that_were_announced_together(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path, landed: int
) -> None:
    """The re-run finds what has landed, runs the rest once, and announces the rest together again."""
    folder = _making(sql_server, make_database, tmp_path, killed_after=landed)
    _, answer = mysql_child.run("up", folder)
    assert "error" not in answer, answer
    assert set(_content(sql_server, folder)) == {"one", "two", "both_of_them", "three"}
    assert _content(sql_server, folder)["two"] == ((2,),)
    assert _recorded(folder) == [1, 2, 3, 4]
    rest = list(range(landed + 1, len(MAKING) + 1))
    assert _intents(folder)[1:] == ([rest] if rest else [])


def test_killed_among_steps_of_which_a_later_one_was_corrected(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """A step that had been announced and had not begun may be edited: nothing of it is there."""
    folder = _making(sql_server, make_database, tmp_path, killed_after=2)
    (folder / "steps.json").write_text(
        json.dumps([*MAKING[:2], "CREATE VIEW other AS SELECT id FROM one", MAKING[3]])
    )
    _, answer = mysql_child.run("up", folder)
    assert "error" not in answer, answer
    assert set(_content(sql_server, folder)) == {"one", "two", "other", "three"}


def test_killed_among_steps_of_which_one_that_landed_was_edited(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """What was announced, and is there, is not taken for another statement's: a person has to look."""
    folder = _making(sql_server, make_database, tmp_path, killed_after=2)
    (folder / "steps.json").write_text(
        json.dumps([MAKING[0], "CREATE TABLE two AS SELECT 3 AS id", *MAKING[2:]])
    )
    _, answer = mysql_child.run("up", folder)
    assert answer["error"] == "InDoubtError"
    assert "edited" in answer["evidence"]["reason"]
    assert _content(sql_server, folder)["two"] == ((2,),)


@pytest.mark.parametrize("name", ["event", "trigger", "procedure", "sequence", "temporary"])
def test_killed_change_of_a_table_named_like_another_kind_of_object(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path, name: str
) -> None:
    """What a statement is about is not read from its words for people: the index comes once."""
    folder = _folder(sql_server, make_database, tmp_path)
    steps = (f"CREATE TABLE `{name}` (a INT)", f"ALTER TABLE `{name}` ADD INDEX (a)")
    (folder / "steps.json").write_text(json.dumps(steps))
    code, _ = mysql_child.run("up", folder, failpoint="engine.after_statement:2")
    assert code == -9
    _, answer = mysql_child.run("up", folder)
    assert "error" not in answer, answer
    database = mysql_child.read_target(folder).name
    keys = query(sql_server, f"SHOW INDEX FROM `{name}`", database=database)
    assert [row[2] for row in keys] == ["a"]


def test_killed_change_that_is_tried_elsewhere_is_read_in_its_mode(
    sql_server: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """The scratch database that settles it has the sql_mode that the file has set."""
    folder = _folder(sql_server, make_database, tmp_path)
    steps = (
        "SET sql_mode = 'ANSI_QUOTES'",
        'CREATE TABLE "t" (a INT)',
        "ALTER TABLE \"t\" ADD COLUMN b INT COMMENT 'x'",
    )
    (folder / "steps.json").write_text(json.dumps(steps))
    code, _ = mysql_child.run("up", folder, failpoint="engine.after_statement:2")
    assert code == -9
    _, answer = mysql_child.run("up", folder)
    assert "error" not in answer, answer


def test_killed_after_a_package_body_that_is_then_edited(
    mariadb: Server, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """A kind of object that has two words is told from its name: what landed is found."""
    folder = _folder(mariadb, make_database, tmp_path)
    steps = [
        "SET sql_mode = 'ORACLE'",
        "CREATE PACKAGE p AS FUNCTION f RETURN INT; END",
        "CREATE PACKAGE BODY p AS FUNCTION f RETURN INT AS BEGIN RETURN 1; END; END",
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    code, _ = mysql_child.run("up", folder, failpoint="engine.after_statement:2")
    assert code == -9
    steps[2] = steps[2].replace("RETURN 1", "RETURN 2")
    (folder / "steps.json").write_text(json.dumps(steps))
    _, answer = mysql_child.run("up", folder)
    assert answer["error"] == "InDoubtError", answer
    assert "RETURN 1" in answer["evidence"]["package body p"]


@pytest.mark.parametrize(
    "point", ["restore.before_write", "restore.half_written", "restore.after_write"]
)
def test_killed_restore_is_repeated(sql_server: Server, folder: Path, point: str) -> None:
    """Between the kill and the repeated restore nobody can migrate; afterwards all is as in the backup."""
    mysql_child.run("up", folder)
    mysql_child.run("backup", folder)
    before = _content(sql_server, folder)
    mysql_child.run("down", folder)
    code, _ = mysql_child.run("restore", folder, failpoint=point)
    assert code == -9
    _, refused = mysql_child.run("up", folder)
    assert "restore" in refused["message"]
    _, answer = mysql_child.run("restore", folder)
    assert answer["fingerprint"] == answer["was"]
    assert _content(sql_server, folder) == before


@pytest.mark.parametrize("point", ["backup.half_written", "backup.before_rename"])
def test_killed_backup_leaves_no_backup(folder: Path, point: str) -> None:
    """A half-written backup has no final name, holds no password, and the next one works."""
    mysql_child.run("up", folder)
    code, _ = mysql_child.run("backup", folder, failpoint=point)
    assert code == -9
    assert list(folder.glob("backup-*")) == []
    _, answer = mysql_child.run("backup", folder)
    assert answer["sha256"]
    assert len(list(folder.glob("backup-*"))) == 1
    assert list(folder.glob(".*")) == []
