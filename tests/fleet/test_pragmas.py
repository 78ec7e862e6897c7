"""PRAGMAs of a SQLite migration or session mean to the ledger what they mean to SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import ScriptError
from tests.fleet.world import Fleet

FAMILY = """\
CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id) ON DELETE CASCADE);
INSERT INTO parents VALUES (1, 'a'), (2, 'b');
INSERT INTO children VALUES (10, 1), (20, 2);
"""
REBUILD = """\
CREATE TABLE new_parents (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO new_parents SELECT id, name FROM parents;
DROP TABLE parents;
ALTER TABLE new_parents RENAME TO parents;
"""
VALUES = (
    "= -1", "= full", "= extra", "= 256", "= 257", "= 0x0", "= 0x1", "= -0x1", "(1)", "(-1)",
    "= 'on'", '= "yes"', "= [true]", "= `off`", "= 1.9", "= 0.9", "= +2", "= none", "=TRUE",
    "(  'No' )", "= 2147483648", "= 'o''n'", "= default", "= '1 '", "= ' 1'", "= 1e1",
)  # fmt: skip
NAMES = ('"foreign_keys"', "main.foreign_keys", "[main] . 'foreign_keys'", "/* x */ FOREIGN_KEYS")
STATEMENTS = (
    *(f"PRAGMA foreign_keys {value}" for value in VALUES),
    *(f"pragma {name} {value}" for name in NAMES for value in ("= -1", "(2)")),
)


def _fleet(root: Path, *session: str, extra: str = "") -> Fleet:
    """One tenant with two parents, each with a child."""
    fleet = Fleet(root, tenants=1, extra=extra)
    (fleet.migrations / "001_notes.sql").unlink()
    fleet.run("t0", FAMILY)
    listed = ", ".join(f'"""{one}"""' for one in session)
    fleet.config.write_text(fleet.config.read_text() + f"session = [{listed}]\n")
    return fleet


def _sqlite_enforces(*statements: str) -> bool:
    with closing(sqlite3.connect(":memory:")) as database:
        for one in statements:
            database.execute(one)
        return bool(database.execute("PRAGMA foreign_keys").fetchone()[0])


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_a_file_switches_foreign_keys_as_sqlite_does(tmp_path: Path, statement: str) -> None:
    """Whatever the spelling: children survive the rebuild exactly where SQLite would say OFF."""
    enforced = _sqlite_enforces("PRAGMA foreign_keys = ON", statement)
    fleet = _fleet(tmp_path, f"PRAGMA foreign_keys = {'OFF' if enforced else 'ON'}")
    fleet.write("001_rebuild.sql", f"{statement};\n{REBUILD}")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.error for one in report.outcomes] == [None]
    assert fleet.query("t0", "SELECT count(*) FROM children") == [(0 if enforced else 2,)]


@pytest.mark.parametrize(
    "session",
    [
        ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = -1"),
        ("PRAGMA foreign_keys = full",),
        ("PRAGMA foreign_keys = no", "PRAGMA main.foreign_keys(2)"),
        ('PRAGMA "foreign_keys" = 0x1',),
        ("PRAGMA foreign_keys = 1", "PRAGMA foreign_keys"),
        (),
    ],
)
async def test_the_plan_knows_what_a_session_enforces(
    tmp_path: Path, session: tuple[str, ...]
) -> None:
    """The plan warns of a rebuild exactly where its DROP deletes rows; the last statement counts."""
    fleet = _fleet(tmp_path, *session)
    fleet.write("001_rebuild.sql", REBUILD)
    async with fleet.open() as ledger:
        plan = await ledger.plan()
        await ledger.migrate()
    assert _sqlite_enforces(*session) == any("the DROP deletes" in one for one in plan.warnings)
    lost = fleet.query("t0", "SELECT count(*) = 0 FROM children") == [(1,)]
    assert lost == _sqlite_enforces(*session)


@pytest.mark.parametrize("outside", ["", "PRAGMA foreign_keys = OFF;\n"])
async def test_between_begin_and_commit_it_is_refused_and_not_ignored(
    tmp_path: Path, outside: str
) -> None:
    """SQLite would ignore it there, and the rebuild would delete the children: refused unless it is so already."""
    fleet = _fleet(tmp_path, "PRAGMA foreign_keys = ON")
    fleet.write(
        "001_x.sql",
        "-- migrate:up transaction:false\nSELECT 1;\n"
        f"{outside}BEGIN;\nPRAGMA foreign_keys = -1;\n{REBUILD}COMMIT;\n",
    )
    async with fleet.open() as ledger:
        plan = await ledger.plan()
        report = await ledger.migrate()
    assert any("the DROP deletes" in one for one in plan.warnings) != bool(outside)
    said = report.outcomes[0].message
    assert (said == "") if outside else "nothing between BEGIN and COMMIT" in said
    assert fleet.query("t0", "SELECT count(*) FROM children") == [(2,)]


@pytest.mark.parametrize(("value", "left"), [("-1", 2), ("on", 0)])
async def test_a_placeholder_in_a_pragma_is_replaced_first(
    tmp_path: Path, value: str, left: int
) -> None:
    """The value that the variable stands for decides."""
    fleet = _fleet(
        tmp_path,
        f"PRAGMA foreign_keys = {'ON' if left else 'OFF'}",
        extra=f'variables = {{ keys = "{value}" }}',
    )
    fleet.write("001_rebuild.sql", f"PRAGMA foreign_keys = {{keys}};\n{REBUILD}")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.error for one in report.outcomes] == [None]
    assert fleet.query("t0", "SELECT count(*) FROM children") == [(left,)]


@pytest.mark.parametrize(
    "statement",
    [
        'PRAGMA "journal_mode" = wal',
        "PRAGMA main.journal_mode('wal')",
        "PRAGMA [synchronous](off)",
        "PRAGMA/**/wal_checkpoint",
    ],
)
async def test_what_no_transaction_takes_is_refused_in_any_spelling(
    tmp_path: Path, statement: str
) -> None:
    """Before anything is touched, with file and line."""
    fleet = _fleet(tmp_path)
    fleet.write("001_x.sql", f"SELECT 1;\n{statement};\n")
    with pytest.raises(ScriptError, match="cannot run inside a transaction") as caught:
        async with fleet.open() as ledger:
            await ledger.plan()
    assert caught.value.line == 2


@pytest.mark.parametrize("constant", ["foreign_keys = False", ""])
async def test_a_python_migration_says_it_as_a_constant(tmp_path: Path, constant: str) -> None:
    """A PRAGMA inside its transaction would do nothing, and is refused instead of passed over."""
    fleet = _fleet(tmp_path, "PRAGMA foreign_keys = ON", extra="allow_python = true")
    lines = [f"    await tenant.execute({one!r})" for one in REBUILD.split(";\n") if one]
    pragma = "" if constant else "    await tenant.execute('PRAGMA foreign_keys = -1')\n"
    fleet.write(
        "001_x.py", f"{constant}\nasync def up(tenant):\n{pragma}" + "\n".join(lines) + "\n"
    )
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    said = report.outcomes[0].message
    assert constant or "write foreign_keys = False at the top" in said
    assert (report.outcomes[0].error is None) == bool(constant)
    assert fleet.query("t0", "SELECT count(*) FROM children") == [(2,)]


async def test_a_resumed_migration_repeats_no_pragma_that_is_in_the_database(
    tmp_path: Path,
) -> None:
    """What the application has written there since stays; what the connection lost is said again."""
    fleet = _fleet(tmp_path)
    head = "-- migrate:up transaction:false\nPRAGMA user_version = 5;\nPRAGMA foreign_keys = ON;\n"
    fleet.write("001_x.sql", head + "SELECT nothing;\nDELETE FROM parents WHERE id = 1;\n")
    async with fleet.open() as ledger:
        await ledger.migrate()
    fleet.run("t0", "PRAGMA user_version = 7")
    fleet.write("001_x.sql", head + "SELECT 1;\nDELETE FROM parents WHERE id = 1;\n")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.error for one in report.outcomes] == [None]
    assert fleet.query("t0", "PRAGMA user_version") == [(7,)]
    assert fleet.query("t0", "SELECT id FROM children") == [(20,)]


NEW = {
    "page_size": ("PRAGMA page_size = 0x2000", 8192),
    "auto_vacuum": ("PRAGMA auto_vacuum(incremental)", 2),
    "encoding": ('PRAGMA main."encoding" = "utf-16be"', "UTF-16be"),
    "application_id": ("PRAGMA application_id = -16", -16),
    "user_version": ("PRAGMA user_version('0x20')", 32),
}
STEPWISE = "-- migrate:up transaction:false\n"


def _empty(root: Path, *session: str) -> Fleet:
    """One tenant that `create` makes."""
    fleet = _fleet(root, *session)
    fleet.tenant("t0").unlink()
    text = fleet.config.read_text().replace("data/*.db", "data/t0.db")
    fleet.config.write_text(text + "create = true\n")
    return fleet


def _sqlite_says(*statements: str) -> dict[str, object]:
    with closing(sqlite3.connect(":memory:")) as database:
        for one in statements:
            database.execute(one).fetchall()
        return {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in NEW}


@pytest.mark.parametrize("head", ["", STEPWISE])
@pytest.mark.parametrize("workers", [0, 2])
async def test_a_new_database_is_what_its_first_migration_says(
    tmp_path: Path, head: str, workers: int
) -> None:
    """page_size, auto_vacuum, encoding, application_id, user_version; whatever is ours comes after them."""
    fleet = _empty(tmp_path)
    fleet.config.write_text(f"workers = {workers}\n" + fleet.config.read_text())
    statements = [sql for sql, _ in NEW.values()]
    fleet.write("001_x.sql", head + ";\n".join(statements) + ";\nCREATE TABLE t (x TEXT);\n")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""]
        fleet.write("002_y.sql", "INSERT INTO t VALUES ('ä');\n")
        report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]
    found = {name: fleet.query("t0", f"PRAGMA {name}")[0][0] for name in NEW}
    assert found == _sqlite_says(*statements) | {name: value for name, (_, value) in NEW.items()}


@pytest.mark.parametrize("head", ["", STEPWISE])
async def test_a_rehearsal_and_a_rollback_keep_it_new(tmp_path: Path, head: str) -> None:
    """On a scratch copy of a new file, and once the backup of the empty file is back."""
    fleet = _empty(tmp_path)
    fleet.tenant("t0").touch()
    sql = ";\n".join(sql for name, (sql, _) in NEW.items() if name != "encoding")
    fleet.write("001_x.sql", f"{head}{sql};\nCREATE TABLE t (x TEXT);\n")
    async with fleet.open() as ledger:
        rehearsed = await ledger.rehearse("*")
        assert [one.message for one in rehearsed.tenants] == [""]
        for _ in range(2):
            report = await ledger.migrate()
            assert [one.message for one in report.outcomes] == [""]
            assert fleet.query("t0", "PRAGMA page_size") == [(8192,)]
            await ledger.rollback(to="0")


@pytest.mark.parametrize("head", ["", STEPWISE])
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("workers", [0, 2])
async def test_a_file_that_holds_our_marker_alone_takes_an_encoding(
    tmp_path: Path, head: str, mode: str, workers: int
) -> None:
    """Rewritten under the claim; its fence, journal mode and other settings stay."""
    fleet = _empty(tmp_path)
    fleet.config.write_text(f"workers = {workers}\n" + fleet.config.read_text())
    fleet.write("001_x.sql", "PRAGMA user_version = 5;\nCREATE TABLE t (x TEXT);\n")
    async with fleet.open() as ledger:
        await ledger.migrate()
        await ledger.rollback(to="0")
        with closing(sqlite3.connect(fleet.tenant("t0"))) as database:
            database.execute("PRAGMA user_version = 7")
            database.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        marker = fleet.query("t0", "SELECT * FROM ledger_marker")
        sql = (
            "PRAGMA encoding = 'UTF-16be';\nCREATE TABLE t (x TEXT);\nINSERT INTO t VALUES ('ä');\n"
        )
        fleet.write("001_x.sql", head + sql + "nonsense;\n")
        report = await ledger.migrate()
        assert "nonsense" in report.outcomes[0].message
        assert [row[0] for row in marker] == [""]
        fleet.write("001_x.sql", head + sql)
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""]
        assert not (await ledger.validate()).drift
    assert fleet.query("t0", "PRAGMA encoding") == [("UTF-16be",)]
    assert fleet.query("t0", "PRAGMA user_version") == [(7,)]
    assert fleet.query("t0", "PRAGMA journal_mode") == [(mode,)]
    assert fleet.query("t0", "SELECT hex(x) FROM t") == [("00E4",)]


@pytest.mark.parametrize("name", ["page_size", "auto_vacuum", "encoding"])
@pytest.mark.parametrize("head", ["", STEPWISE])
async def test_a_database_with_content_is_refused_or_has_it_already(
    tmp_path: Path, name: str, head: str
) -> None:
    """Nothing is passed over: refused by file and line, nothing changed; what it has already is fine."""
    fleet = _fleet(tmp_path)
    sql = NEW[name][0]
    fleet.write("001_x.sql", f"{head}CREATE TABLE t (x);\n{sql};\n")
    async with fleet.open() as ledger:
        plan = await ledger.plan()
        report = await ledger.migrate()
        outcome = report.outcomes[0]
        assert f"PRAGMA {name} can have no effect" in outcome.message
        assert (outcome.file, outcome.line) == (
            str(fleet.migrations / "001_x.sql"),
            3 if head else 2,
        )
        assert bool(head) or any(
            f"PRAGMA {name} is for new databases" in one for one in plan.warnings
        )
        assert fleet.query("t0", "SELECT name FROM sqlite_master WHERE name = 't'") == []
        has = fleet.query("t0", f"PRAGMA {name}")[0][0]
        fleet.write("001_x.sql", f"{head}CREATE TABLE t (x);\nPRAGMA {name} = '{has}';\n")
        report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]


@pytest.mark.parametrize("session", [(), ("PRAGMA journal_mode = WAL",)])
async def test_vacuum_brings_a_new_page_size_about(
    tmp_path: Path, session: tuple[str, ...]
) -> None:
    """In a file without a transaction, outside WAL mode; in WAL mode it is refused, unless that is left."""
    fleet = _fleet(tmp_path, *session)
    text = f"{STEPWISE}PRAGMA page_size = 8192;\nPRAGMA auto_vacuum = FULL;\nVACUUM;\n"
    fleet.write("001_x.sql", text)
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        if session:
            assert "PRAGMA page_size can have no effect" in report.outcomes[0].message
            leaves = text.replace("PRAGMA page", "PRAGMA journal_mode = DELETE;\nPRAGMA page", 1)
            fleet.write("001_x.sql", leaves)
            report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]
    assert fleet.query("t0", "PRAGMA page_size") == [(8192,)]
    assert fleet.query("t0", "PRAGMA auto_vacuum") == [(1,)]


async def test_wal_mode_is_set_without_a_transaction(tmp_path: Path) -> None:
    """On a new file, and it stays."""
    fleet = _empty(tmp_path)
    fleet.write(
        "001_x.sql", STEPWISE + "PRAGMA page_size = 8192;\nPRAGMA journal_mode = WAL;\nSELECT 1;\n"
    )
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]
    assert fleet.query("t0", "PRAGMA journal_mode") == [("wal",)]
    assert fleet.query("t0", "PRAGMA page_size") == [(8192,)]
