"""SQLite schemas as values, and the file header that tells that nothing changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ledger.engines.base import Seen
from ledger.engines.sqlite.engine import SqliteEngine
from ledger.engines.sqlite.peek import peek
from ledger.engines.sqlite.schema.introspect import SchemaCache
from ledger.errors import UnreachableError
from ledger.schema import Column, ForeignKey, Index, Schema
from tests.engines.sqlite_child import make_items, target_for
from tests.engines.work import Journal, work


async def _schema(folder: Path, *statements: str) -> Schema:
    path = folder / f"{len(list(folder.iterdir()))}.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    async with SqliteEngine().open(target_for(path)) as session:
        schema = await session.schema()
        assert schema == await session.schema()
    return schema


async def test_columns(tmp_path: Path) -> None:
    """Types, NULL, defaults, collations, generated columns, and the primary key in its own order."""
    schema = await _schema(
        tmp_path,
        """CREATE TABLE t (
             a integer NOT NULL DEFAULT ( 1 + 2 ), -- a comment, with (parentheses
             b TEXT COLLATE NOCASE DEFAULT 'it''s -- text',
             c AS (a * 2), d GENERATED ALWAYS AS (a || ', ' || b) STORED,
             "odd ""name"" (x" BLOB,
             PRIMARY KEY (b DESC, a)
           ) WITHOUT ROWID, STRICT""".replace("c AS", "c INT AS").replace("d GEN", "d TEXT GEN"),
    )
    (table,) = schema.tables
    assert table.columns == (
        Column(name="a", type="INTEGER", nullable=False, default="1 + 2"),
        Column(
            name="b",
            type="TEXT",
            nullable=False,
            default="'it''s -- text'",
            extra="COLLATE NOCASE",
        ),
        Column(name="c", type="INT", nullable=True, extra="GENERATED ALWAYS AS(a * 2) VIRTUAL"),
        Column(
            name="d",
            type="TEXT",
            nullable=True,
            extra="GENERATED ALWAYS AS(a || ', ' || b) STORED",
        ),
        Column(name='odd "name" (x', type="BLOB", nullable=True),
    )
    assert table.indexes == (
        Index(
            name="PRIMARY",
            columns=("b COLLATE NOCASE DESC", "a"),
            unique=True,
            origin="primary",
        ),
    )
    assert table.options == "STRICT, WITHOUT ROWID"


async def test_indexes(tmp_path: Path) -> None:
    """Unique, partial, descending, by expression, by collation; a constraint's index has no name."""
    schema = await _schema(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT UNIQUE, b TEXT)",
        "CREATE UNIQUE INDEX one ON t (a DESC, b COLLATE NOCASE ASC)",
        "CREATE INDEX two ON t (lower( a ), b) WHERE  b IS NOT NULL /* why */",
        "CREATE INDEX three ON t (coalesce(a, b) DESC)",
    )
    (table,) = schema.tables
    assert table.options == "AUTOINCREMENT"
    assert table.indexes == (
        Index(name="", columns=("a",), unique=True, origin="unique"),
        Index(name="PRIMARY", columns=("id",), unique=True, origin="primary"),
        Index(name="one", columns=("a DESC", "b COLLATE NOCASE"), unique=True),
        Index(name="three", columns=("coalesce(a, b) DESC",)),
        Index(name="two", columns=("lower(a)", "b"), where="b IS NOT NULL"),
    )


async def test_foreign_keys_and_checks(tmp_path: Path) -> None:
    """Actions, deferral, the parent's key where none is named; CHECK of columns and of the table."""
    schema = await _schema(
        tmp_path,
        "CREATE TABLE p (x INTEGER, y INTEGER, PRIMARY KEY (x, y))",
        """CREATE TABLE c (
             a INTEGER CHECK (a > 0 AND a IN (1, 2)),
             b INTEGER REFERENCES q (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
             CONSTRAINT named CHECK (a <> b OR '),' = ')'),
             FOREIGN KEY (a, b) REFERENCES p ON UPDATE SET NULL
           )""",
    )
    table = schema.tables[0]
    assert table.checks == ("a <> b OR '),' = ')'", "a > 0 AND a IN(1, 2)")
    assert table.foreign_keys == (
        ForeignKey(
            name="",
            columns=("a", "b"),
            parent="p",
            parent_columns=("x", "y"),
            on_update="SET NULL",
        ),
        ForeignKey(
            name="",
            columns=("b",),
            parent="q",
            parent_columns=("id",),
            on_delete="CASCADE",
            deferred=True,
        ),
    )


async def test_definitions(tmp_path: Path) -> None:
    """Views, triggers and virtual tables are their text; shadow tables and SQLite's own are left out."""
    schema = await _schema(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT)",
        "INSERT INTO t (a) VALUES ('x')",
        "ANALYZE",
        "CREATE VIEW v AS\n  SELECT a, -- first\n  'a  --  b' AS b FROM t",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN\n UPDATE t SET a = 'x;y'; END",
        "CREATE VIRTUAL TABLE f USING fts5(body)",
    )
    assert [table.name for table in schema.tables] == ["t"]
    assert [(one.kind, one.name, one.text) for one in schema.definitions] == [
        ("virtual table", "f", "CREATE VIRTUAL TABLE f USING fts5(body)"),
        ("trigger", "g", "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 'x;y'; END"),
        ("view", "v", "CREATE VIEW v AS SELECT a, 'a  --  b' AS b FROM t"),
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("CREATE TABLE t (a TEXT)",), ("CREATE TABLE t (a TEXT NOT NULL)",)),
        (("CREATE TABLE t (a TEXT)",), ("CREATE TABLE t (a TEXT) STRICT",)),
        (("CREATE TABLE t (a TEXT)",), ("CREATE TABLE t (a TEXT COLLATE NOCASE)",)),
        (("CREATE TABLE t (a TEXT)",), ("CREATE TABLE t (a TEXT CHECK (a <> ''))",)),
        (
            ("CREATE TABLE t (a TEXT UNIQUE)",),
            ("CREATE TABLE t (a TEXT UNIQUE ON CONFLICT REPLACE)",),
        ),
        (
            ("CREATE TABLE t (a TEXT, UNIQUE (a))",),
            ("CREATE TABLE t (a TEXT, UNIQUE (a) ON CONFLICT IGNORE)",),
        ),
        (
            ("CREATE TABLE t (a TEXT)", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t (a TEXT)", "CREATE INDEX i ON t (a) WHERE a > 1"),
        ),
        (
            ("CREATE TABLE t (a REFERENCES t (a))",),
            ("CREATE TABLE t (a REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED)",),
        ),
    ],
)
async def test_what_differs(tmp_path: Path, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """What changes how the table behaves changes the schema."""
    assert await _schema(tmp_path, *one) != await _schema(tmp_path, *other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("CREATE TABLE t (a text, b INT)",), ("create table  t(a TEXT, /* b */ b  INT)",)),
        (
            ("CREATE TABLE t (a TEXT UNIQUE)",),
            ("CREATE TABLE n (a TEXT UNIQUE)", "ALTER TABLE n RENAME TO t"),
        ),
        (
            ("CREATE TABLE t (a TEXT, b INT)",),
            ("CREATE TABLE t (a TEXT)", "ALTER TABLE t ADD COLUMN b INT"),
        ),
        (
            ("CREATE TABLE t (a)", "CREATE INDEX i ON t (a)"),
            ("CREATE TABLE t (a)", "CREATE INDEX i ON t ( a ASC )"),
        ),
    ],
)
async def test_what_does_not(tmp_path: Path, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """What no query could tell apart is equal."""
    assert await _schema(tmp_path, *one) == await _schema(tmp_path, *other)


_DIE = """
import os, sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2])
os.kill(os.getpid(), 9)
"""


def _killed_after(path: Path, sql: str) -> None:
    """Killed, so that nothing is checkpointed; another process, since peek closes the file."""
    command = [sys.executable, "-c", _DIE, str(path), sql]
    subprocess.run(command, check=False, timeout=30)


class TestPeek:
    """The header, read without SQLite."""

    @pytest.mark.parametrize("page_size", [512, 4096, 65536])
    async def test_agrees_with_the_mark(self, tmp_path: Path, page_size: int) -> None:
        """Cookie, counter and size are those of the mark that apply returned."""
        path = tmp_path / "tenant.db"
        make_items(path, page_size=page_size)
        async with SqliteEngine().open(target_for(path)) as session:
            done = await session.apply(work("CREATE TABLE more (id)"), Journal())
            assert await session.mark() == done.mark
        found = peek(path)
        assert (found.mark.cookie, found.mark.counter, found.mark.bytes) == (
            done.mark.cookie,
            done.mark.counter,
            done.mark.bytes,
        )
        assert (found.wal, found.pending_bytes) == (False, 0)
        assert found.mark.bytes == path.stat().st_size

    def test_notices_every_commit(self, tmp_path: Path) -> None:
        """Data moves the counter, a definition the cookie too."""
        path = tmp_path / "tenant.db"
        make_items(path)
        first = peek(path).mark
        for sql in ("DELETE FROM items", "CREATE TABLE more (id)"):
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                database.execute(sql)
            second = peek(path).mark
            assert second.counter != first.counter
            assert (second.cookie != first.cookie) == ("CREATE" in sql)
            first = second

    @pytest.mark.parametrize("name", ["tenant.db", "links/tenant.db"])
    async def test_a_wal_may_hide_a_change(self, tmp_path: Path, name: str) -> None:
        """A definition that is only in the -wal file is noticed although the header stands still.

        That file is beside the database itself, also where the tenant is a link to it.
        """
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode="wal")
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / "tenant.db").symlink_to("../tenant.db")
        async with SqliteEngine().open(target_for(path)) as session:
            mark = await session.mark()
        seen = Seen(target=target_for(tmp_path / name), mark=mark, applied=())
        assert await SqliteEngine().changed([seen]) == set()
        _killed_after(path, "CREATE TABLE more (id)")
        assert peek(path).mark.cookie == mark.cookie
        assert await SqliteEngine().changed([seen]) == {"tenant"}

    def test_tells_of_a_wal(self, tmp_path: Path) -> None:
        """What is only in the -wal file cannot be in the header: its size says so."""
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode="wal")
        assert (peek(path).wal, peek(path).pending_bytes) == (True, 0)
        _killed_after(path, "DELETE FROM items")
        assert peek(path).pending_bytes > 0

    def test_of_an_empty_file(self, tmp_path: Path) -> None:
        """It is an empty database."""
        (tmp_path / "empty.db").touch()
        assert peek(tmp_path / "empty.db").mark.bytes == 0

    def test_of_what_is_none(self, tmp_path: Path) -> None:
        """Missing, a letter, a FIFO: UnreachableError, and no waiting."""
        (tmp_path / "letter.db").write_text("Dear SQLite, " * 100)
        os.mkfifo(tmp_path / "fifo.db")
        for name in ("gone.db", "letter.db", "fifo.db"):
            with pytest.raises(UnreachableError, match=name):
                peek(tmp_path / name)


STORY = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY, code TEXT)",
    "CREATE TABLE children (id INTEGER, parent INTEGER REFERENCES parents)",
    "CREATE INDEX by_code ON parents (code)",
    "ALTER TABLE parents ADD COLUMN note TEXT DEFAULT 'x'",
    "DROP INDEX by_code",
    "CREATE UNIQUE INDEX by_code ON parents (code DESC) WHERE code <> ''",
    "DROP TABLE parents",
    "CREATE TABLE parents (code TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID",
    "ALTER TABLE parents RENAME TO elders",
    "CREATE VIEW seen AS SELECT code FROM elders",
    "ALTER TABLE elders RENAME COLUMN code TO mark",
    "CREATE TABLE parents (a INTEGER, b INTEGER, UNIQUE (b, a), CHECK (a > 0))",
)


def test_what_was_known_of_a_table_is_what_is_read(tmp_path: Path) -> None:
    """A cache that has seen all that came before says of each state what a new one says."""
    cache = SchemaCache()
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as database:
        for statement in STORY:
            database.execute(statement)
            assert cache.read(database) == SchemaCache().read(database), statement
