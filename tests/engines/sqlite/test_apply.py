"""What applying means on SQLite: one transaction, foreign keys, and what may not end it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import CheckFailedError, StepFailedError, TenantError
from tests.engines.sqlite.files import rows, run
from tests.engines.sqlite_child import target_for
from tests.engines.work import LEDGER, Journal, check, ref, skip, step, work

FAMILY = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER "
    "REFERENCES parents (id) ON DELETE CASCADE)",
    "INSERT INTO parents VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO children VALUES (10, 1), (20, 2)",
)
REBUILD = (
    "CREATE TABLE new_parents (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    "INSERT INTO new_parents SELECT id, name FROM parents",
    "DROP TABLE parents",
    "ALTER TABLE new_parents RENAME TO parents",
)
SLOW = (
    "UPDATE items SET name = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
    "WHERE i < 1000000000) SELECT count(*) FROM n)"
)


class TestTransaction:
    """A migration is all or nothing."""

    async def test_a_failure_leaves_the_tenant_as_it_was(self, path: Path) -> None:
        """Byte for byte what a reader sees: rows, definitions, no marker."""
        before = rows(path, "SELECT type, name, sql FROM sqlite_master")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work("DELETE FROM items", "CREATE TABLE x (a)", "SELECT nothing"), journal
                )
        assert (caught.value.step, caught.value.database_code) == (3, "SQLITE_ERROR")
        assert journal.results == []
        assert rows(path, "SELECT type, name, sql FROM sqlite_master") == before
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_a_failed_check_leaves_the_tenant_as_it_was(self, path: Path) -> None:
        """The checks run before the commit, and say where they stand."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(CheckFailedError) as caught:
                await session.apply(
                    work("DELETE FROM items", checks=[check("SELECT count(*) FROM items", "some")]),
                    Journal(),
                )
        assert (caught.value.file, caught.value.line) == ("app.sql", 90)
        assert "returned 0" in caught.value.message
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    @pytest.mark.parametrize(
        "sql",
        [
            "COMMIT",
            "end transaction",
            "/* x */ -- y\n ROLLBACK;",
            "BEGIN",
            ";commit",
            "ROLLBACK TRANSACTION",
        ],
    )
    async def test_no_step_can_end_it(self, path: Path, sql: str) -> None:
        """A hidden COMMIT is refused before it runs, so that nothing before it has landed."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError, match="step 2 begins or ends a transaction"):
                await session.apply(work("DELETE FROM items", sql), Journal())
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_a_conflict_that_rolls_back_is_noticed(self, path: Path) -> None:
        """INSERT OR ROLLBACK ends the transaction by itself; what came before is gone with it."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work(
                        "DELETE FROM items WHERE id = 2",
                        "INSERT OR ROLLBACK INTO items VALUES (1, 'x')",
                    ),
                    Journal(),
                )
        assert caught.value.database_code == "SQLITE_CONSTRAINT_PRIMARYKEY"
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_savepoints_are_the_authors_own(self, path: Path) -> None:
        """SAVEPOINT, ROLLBACK TO and RELEASE work as in the client."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(
                work("SAVEPOINT a", "DELETE FROM items", "ROLLBACK TO a", "RELEASE a"), Journal()
            )
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_rows_are_counted(self, path: Path) -> None:
        """Changed rows of INSERT, UPDATE, WITH …; None for what changes none; SELECTs run to their end."""
        run(path, "INSERT INTO items VALUES (9, CAST(x'ff41' AS TEXT))")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(
                work(
                    "UPDATE items SET name = name",
                    "WITH n AS (SELECT 7) INSERT INTO items (id) SELECT * FROM n",
                    "SELECT name FROM items",
                    "INSERT INTO items (name) VALUES ('x'), ('y') RETURNING id",
                    "CREATE INDEX i ON items (name)",
                ),
                journal,
            )
        assert [result.rows for result in journal.results] == [3, 1, None, 2, None]

    async def test_text_that_sqlite_cannot_take(self, path: Path) -> None:
        """A NUL in a statement is that step's failure."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError) as caught:
                await session.apply(work("DELETE FROM items", "SELECT 'a\0b'"), Journal())
        assert caught.value.step == 2
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_cancelled_between_two_statements(self, path: Path) -> None:
        """However short its statements are, a migration that is cancelled does not commit."""
        many = ["INSERT INTO items (name) VALUES ('more')"] * 200_000
        order = work(*[step(number, sql) for number, sql in enumerate(many, start=1)])
        with anyio.fail_after(60):
            async with SqliteEngine().open(target_for(path)) as session:
                with anyio.move_on_after(0.1) as scope:
                    await session.apply(order, Journal())
                assert scope.cancelled_caught
                assert (await session.marker()).entries == ()
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_a_time_out_leaves_the_session_usable(self, path: Path) -> None:
        """The step is named, nothing is changed, and the same session goes on."""
        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.fail_after(60):
                with pytest.raises(StepFailedError, match=r"timed out after 0\.2 s") as caught:
                    await session.apply(
                        work("DELETE FROM items WHERE id = 1", SLOW, timeout_seconds=0.2), Journal()
                    )
                await session.apply(work("DELETE FROM items WHERE id = 2", version="2"), Journal())
        assert (caught.value.step, caught.value.line) == (2, 20)
        assert rows(path, "SELECT id FROM items") == [(1,)]

    async def test_a_guard_that_cannot_run_fails_its_step(self, path: Path) -> None:
        """An error in a guard is not taken for an answer."""
        guarded = step(1, "DELETE FROM items", skip_if=skip("sql", "SELECT no_such"))
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError, match="no such column"):
                await session.apply(work(guarded), Journal())

    async def test_a_damaged_marker_entry(self, path: Path) -> None:
        """It is an error with a way out, not a guess."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(work("DELETE FROM items"), Journal())
        run(path, "UPDATE ledger_marker SET body = '{' WHERE id <> ''")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(TenantError, match="app/1") as caught:
                await session.marker()
        assert "ledger baseline" in caught.value.hint

    async def test_another_ledgers_tenant_is_taken_over_by_adopt(self, path: Path) -> None:
        """Baseline is the way the refusal names: it wins over any fence of the other ledger."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.fence(epoch=50, ledger="another")
            await session.adopt([ref("1")], epoch=1, ledger=LEDGER)
            await session.apply(
                work("DELETE FROM items", version="2", epoch=2, expected=["app/1"]), Journal()
            )
            with pytest.raises(TenantError, match="another ledger"):
                await session.fence(epoch=51, ledger="another")


class TestForeignKeys:
    """PRAGMA foreign_keys, outside the transaction."""

    @pytest.mark.parametrize("session_setting", ["ON", "OFF"])
    async def test_a_rebuild_keeps_the_children(self, path: Path, session_setting: str) -> None:
        """With foreign_keys off in the file, DROP TABLE deletes no CASCADE child; then it is as before."""
        run(path, *FAMILY)
        target = target_for(path, session=(f"PRAGMA foreign_keys = {session_setting}",))
        setting = check(
            f"SELECT foreign_keys = {int(session_setting == 'ON')} FROM pragma_foreign_keys"
        )
        async with SqliteEngine().open(target) as session:
            await session.apply(work(*REBUILD, foreign_keys=False), Journal())
            assert [result.passed for result in await session.check([setting])] == [True]
            with pytest.raises(StepFailedError):
                await session.apply(
                    work("SELECT nothing", version="2", foreign_keys=False, expected=["app/1"]),
                    Journal(),
                )
            assert [result.passed for result in await session.check([setting])] == [True]
        assert rows(path, "SELECT id FROM children ORDER BY id") == [(10,), (20,)]

    async def test_on_is_set_too(self, path: Path) -> None:
        """With foreign_keys on in the file, CASCADE works as its author meant."""
        run(path, *FAMILY)
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(
                work("DELETE FROM parents WHERE id = 1", foreign_keys=True), Journal()
            )
        assert rows(path, "SELECT id FROM children") == [(20,)]

    async def test_new_violations_stop_the_migration(self, path: Path) -> None:
        """Rows left without their parent are counted, named, and rolled back."""
        run(path, *FAMILY)
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(
                CheckFailedError, match="1 row of 'children' would refer to nothing"
            ):
                await session.apply(work("DELETE FROM parents WHERE id = 1"), Journal())
        assert rows(path, "SELECT count(*) FROM parents") == [(2,)]

    async def test_old_violations_do_not(self, path: Path) -> None:
        """What dangled before does not block; one more does."""
        run(path, *FAMILY, "INSERT INTO children VALUES (30, 99), (40, 98)")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(work("CREATE TABLE more (id)", "DELETE FROM items"), journal)
            assert journal.numbers == [1, 2]
            with pytest.raises(CheckFailedError, match="1 row of 'children'"):
                await session.apply(
                    work("DELETE FROM parents WHERE id = 1", version="2", expected=["app/1"]),
                    Journal(),
                )
        assert rows(path, "SELECT count(*) FROM children") == [(4,)]

    async def test_a_key_that_cannot_be_checked_does_not_block_others(self, path: Path) -> None:
        """A foreign key to columns that are not unique was there before, and is tolerated."""
        run(
            path,
            "CREATE TABLE p (a)",
            "CREATE TABLE c (a REFERENCES p (a))",
            "INSERT INTO c VALUES (1)",
        )
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(work("DELETE FROM items"), Journal())
            with pytest.raises(
                CheckFailedError,
                match="the columns of 'p' that",
            ):
                await session.apply(
                    work("CREATE TABLE d (a REFERENCES p (a))", version="2", expected=["app/1"]),
                    Journal(),
                )


class TestBetweenMigrations:
    """A migration finds what it would find if it ran alone: the next command's, after a failure."""

    @pytest.mark.parametrize(
        ("left", "seen"),
        [
            ("CREATE TEMP TABLE t AS SELECT 1 AS a", "SELECT count(*) FROM sqlite_temp_master"),
            ("CREATE TABLE temp.t (a)", "SELECT count(*) FROM sqlite_temp_master"),
            ("PRAGMA legacy_alter_table = ON", "SELECT * FROM pragma_legacy_alter_table"),
            ("PRAGMA recursive_triggers = ON", "SELECT * FROM pragma_recursive_triggers"),
        ],
    )
    async def test_nothing_is_left_on_the_connection(
        self, path: Path, left: str, seen: str
    ) -> None:
        """Temporary tables and settings end with the migration that made them."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(work(left, f"CREATE TABLE one AS {seen} AS x"), Journal())
            await session.apply(
                work(f"CREATE TABLE two AS {seen} AS x", version="2", expected=["app/1"]),
                Journal(),
            )
        assert rows(path, "SELECT * FROM one") == [(1,)]
        assert rows(path, "SELECT * FROM two") == [(0,)]

    async def test_nothing_stays_attached(self, path: Path) -> None:
        """A database that one migration attached is not the next one's."""
        other = path.with_name("other.db")
        with closing(sqlite3.connect(other)) as database:
            database.execute("CREATE TABLE foreign_rows (x)")
        async with SqliteEngine().open(target_for(path)) as session:
            attach = work(f"ATTACH '{other}' AS o", transaction=False)
            await session.apply(attach, Journal())
            with pytest.raises(StepFailedError, match="no such table"):
                await session.apply(
                    work("DELETE FROM foreign_rows", version="2", expected=["app/1"]), Journal()
                )
