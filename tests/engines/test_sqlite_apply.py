"""What applying means on SQLite: one transaction, foreign keys, and what may not end it."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import CheckFailedError, StepFailedError, TenantError
from ledger.scripts.model import PythonModule
from tests.engines.sqlite_child import make_items, target_for
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A tenant with the table `items`."""
    path = tmp_path / "tenant.db"
    make_items(path)
    return path


def _run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def _rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


class TestTransaction:
    """A migration is all or nothing."""

    async def test_a_failure_leaves_the_tenant_as_it_was(self, path: Path) -> None:
        """Byte for byte what a reader sees: rows, definitions, no marker."""
        before = _rows(path, "SELECT type, name, sql FROM sqlite_master")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work("DELETE FROM items", "CREATE TABLE x (a)", "SELECT nothing"), journal
                )
        assert (caught.value.step, caught.value.database_code) == (3, "SQLITE_ERROR")
        assert journal.results == []
        assert _rows(path, "SELECT type, name, sql FROM sqlite_master") == before
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

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
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

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
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

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
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_savepoints_are_the_authors_own(self, path: Path) -> None:
        """SAVEPOINT, ROLLBACK TO and RELEASE work as in the client."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(
                work("SAVEPOINT a", "DELETE FROM items", "ROLLBACK TO a", "RELEASE a"), Journal()
            )
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_rows_are_counted(self, path: Path) -> None:
        """Changed rows of INSERT, UPDATE, WITH …; None for what changes none; SELECTs run to their end."""
        _run(path, "INSERT INTO items VALUES (9, CAST(x'ff41' AS TEXT))")
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
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

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
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

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
        assert _rows(path, "SELECT id FROM items") == [(1,)]

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
        _run(path, "UPDATE ledger_marker SET body = '{' WHERE id <> ''")
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
        _run(path, *FAMILY)
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
        assert _rows(path, "SELECT id FROM children ORDER BY id") == [(10,), (20,)]

    async def test_on_is_set_too(self, path: Path) -> None:
        """With foreign_keys on in the file, CASCADE works as its author meant."""
        _run(path, *FAMILY)
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(
                work("DELETE FROM parents WHERE id = 1", foreign_keys=True), Journal()
            )
        assert _rows(path, "SELECT id FROM children") == [(20,)]

    async def test_new_violations_stop_the_migration(self, path: Path) -> None:
        """Rows left without their parent are counted, named, and rolled back."""
        _run(path, *FAMILY)
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(
                CheckFailedError, match="1 row of 'children' would refer to nothing"
            ):
                await session.apply(work("DELETE FROM parents WHERE id = 1"), Journal())
        assert _rows(path, "SELECT count(*) FROM parents") == [(2,)]

    async def test_old_violations_do_not(self, path: Path) -> None:
        """What dangled before does not block; one more does."""
        _run(path, *FAMILY, "INSERT INTO children VALUES (30, 99), (40, 98)")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(work("CREATE TABLE more (id)", "DELETE FROM items"), journal)
            assert journal.numbers == [1, 2]
            with pytest.raises(CheckFailedError, match="1 row of 'children'"):
                await session.apply(
                    work("DELETE FROM parents WHERE id = 1", version="2", expected=["app/1"]),
                    Journal(),
                )
        assert _rows(path, "SELECT count(*) FROM children") == [(4,)]

    async def test_a_key_that_cannot_be_checked_does_not_block_others(self, path: Path) -> None:
        """A foreign key to columns that are not unique was there before, and is tolerated."""
        _run(
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
        assert _rows(path, "SELECT * FROM one") == [(1,)]
        assert _rows(path, "SELECT * FROM two") == [(0,)]

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


class TestStepwise:
    """Sections with transaction:false."""

    async def test_what_cannot_be_in_a_transaction_runs(self, path: Path) -> None:
        """VACUUM, journal_mode and ATTACH run, in order, each reported once."""
        other = path.with_name("other.db")
        make_items(other)
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(
                work(
                    "PRAGMA journal_mode = WAL",
                    f"ATTACH '{other}' AS other",
                    "INSERT INTO items (name) SELECT 'copied' FROM other.items",
                    "DETACH other",
                    "VACUUM",
                    transaction=False,
                    checks=[check("SELECT count(*) = 4 FROM items")],
                ),
                journal,
            )
            (entry,) = (await session.marker()).entries
        assert journal.numbers == [1, 2, 3, 4, 5]
        assert (entry.state, entry.step) == ("applied", 5)
        assert _rows(path, "PRAGMA journal_mode") == [("wal",)]

    async def test_a_failure_stops_at_its_step(self, path: Path) -> None:
        """What landed stays and is remembered; corrected, the section goes on from there."""
        other = path.with_name("other.db")
        make_items(other)
        first = ("DELETE FROM items WHERE id = 1", f"ATTACH '{other}' AS other")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work(*first, "SELECT nothing", "VACUUM", transaction=False), journal
                )
            (entry,) = (await session.marker()).entries
        assert caught.value.step == 3 and "what landed before stays" in caught.value.hint
        assert journal.numbers == [1, 2]
        assert (entry.state, entry.step) == ("running", 2)
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(
                work(
                    *first,
                    "INSERT INTO items (name) SELECT name FROM other.items",
                    "VACUUM main",
                    transaction=False,
                ),
                journal,
            )
        assert [(result.number, result.recovered) for result in journal.results] == [
            (1, True), (2, True), (3, False), (4, False),
        ]  # fmt: skip
        assert _rows(path, "SELECT name FROM items") == [("two",), ("one",), ("two",)]

    @pytest.mark.parametrize("mode", ["OFF", "MEMORY"])
    async def test_no_statement_takes_the_way_back(self, path: Path, mode: str) -> None:
        """Without a journal on disk, ROLLBACK or a kill would leave a corrupt file; nor is
        `synchronous` lowered for the commits that follow, or for the next migration."""
        _run(path, *(f"INSERT INTO items (name) VALUES ('{n:0500}')" for n in range(300)))
        watched = (
            "CREATE TABLE seen AS SELECT journal_mode, synchronous"
            " FROM pragma_journal_mode, pragma_synchronous"
        )
        settings = ("PRAGMA synchronous = OFF", "PRAGMA cache_size = 5")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError):
                await session.apply(
                    work(
                        f"PRAGMA journal_mode = {mode}",
                        *settings,
                        watched,
                        "BEGIN",
                        f"PRAGMA journal_mode = {mode}",
                        "UPDATE items SET name = name || name",
                        "DELETE FROM items WHERE id % 2",
                        "SELECT nothing",
                        "COMMIT",
                        transaction=False,
                    ),
                    Journal(),
                )
        assert _rows(path, "PRAGMA integrity_check") == [("ok",)]
        assert _rows(path, "SELECT count(*) FROM items") == [(302,)]
        assert _rows(path, "SELECT * FROM seen") == [("delete", 3)]

    async def test_the_authors_own_transaction(self, path: Path) -> None:
        """BEGIN … COMMIT in the file holds its statements together, with the marker inside."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError):
                await session.apply(
                    work(
                        "DELETE FROM items WHERE id = 1",
                        "BEGIN",
                        "DELETE FROM items",
                        "SELECT nothing",
                        "COMMIT",
                        transaction=False,
                    ),
                    Journal(),
                )
            assert _rows(path, "SELECT id FROM items") == [(2,)]
            journal = Journal()
            await session.apply(
                work(
                    "DELETE FROM items WHERE id = 1",
                    "BEGIN",
                    "DELETE FROM items",
                    "SELECT 1",
                    "COMMIT",
                    transaction=False,
                ),
                journal,
            )
        assert journal.numbers == [1, 2, 3, 4, 5]
        assert _rows(path, "SELECT id FROM items") == []

    @pytest.mark.parametrize(
        "steps",
        [("BEGIN", "SELECT 1"), ("COMMIT",), ("BEGIN", "ROLLBACK"), ("BEGIN", "BEGIN", "COMMIT")],
    )
    async def test_a_transaction_that_is_not_one(self, path: Path, steps: tuple[str, ...]) -> None:
        """Refused before anything runs."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError):
                await session.apply(work("DELETE FROM items", *steps, transaction=False), Journal())
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_down(self, path: Path) -> None:
        """Down steps too are remembered one by one, and the entry goes with the last."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(work("CREATE TABLE x (a)"), Journal())
            with pytest.raises(StepFailedError):
                await session.apply(
                    work(
                        "DROP TABLE x",
                        "SELECT nothing",
                        direction="down",
                        transaction=False,
                        epoch=2,
                    ),
                    Journal(),
                )
            journal = Journal()
            await session.apply(
                work("DROP TABLE x", "VACUUM", direction="down", transaction=False, epoch=3),
                journal,
            )
            assert (await session.marker()).entries == ()
        assert [result.recovered for result in journal.results] == [True, False]


Up = Callable[[object], Awaitable[None]]


def _python(up: Up, verify: Up | None = None) -> PythonModule:
    return PythonModule(up=up, verify=verify)


class TestPython:
    """Python migrations hold one transaction over their awaits."""

    async def _fails(
        self,
        path: Path,
        up: Up,
        match: str,
        verify: Up | None = None,
        error: type[TenantError] = StepFailedError,
        timeout_seconds: float | None = None,
    ) -> TenantError:
        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.fail_after(30), pytest.raises(error, match=match) as caught:
                await session.apply(
                    work(python=_python(up, verify), timeout_seconds=timeout_seconds), Journal()
                )
            assert (await session.marker()).entries == ()
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]
        assert caught.value.file == __file__ or timeout_seconds
        return caught.value

    async def test_an_exception_rolls_back(self, path: Path) -> None:
        """Whatever it is, and whenever."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            raise KeyError("missing")

        await self._fails(path, up, "KeyError: 'missing'")

    async def test_it_cannot_commit(self, path: Path) -> None:
        """COMMIT is refused as a step of its own number."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            await tenant.execute("COMMIT")  # type: ignore[attr-defined]

        error = await self._fails(path, up, "may not begin or end a transaction")
        assert isinstance(error, StepFailedError)
        assert error.step == 2

    async def test_a_caught_error_cannot_hide_a_lost_transaction(self, path: Path) -> None:
        """If SQLite has rolled back, the migration does not count, whatever it caught."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items WHERE id = 2")  # type: ignore[attr-defined]
            try:
                await tenant.execute("INSERT OR ROLLBACK INTO items VALUES (1, 'x')")  # type: ignore[attr-defined]
            except StepFailedError:
                return

        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError, match="rolled the transaction back"):
                await session.apply(work(python=_python(up)), Journal())
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_a_time_out(self, path: Path) -> None:
        """Also while it awaits something else than the database."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            await anyio.sleep(60)

        await self._fails(path, up, "timed out after", timeout_seconds=0.2)

    async def test_a_cancellation(self, path: Path) -> None:
        """Also while it awaits something else than the database."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            await anyio.sleep(60)

        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.move_on_after(0.2) as scope:
                await session.apply(work(python=_python(up)), Journal())
            assert scope.cancelled_caught
            assert (await session.marker()).entries == ()
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_verify(self, path: Path) -> None:
        """It may only fetch; what it raises stops the migration, what it accepts is a check."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]

        async def writes(tenant: object) -> None:
            await tenant.execute("INSERT INTO items (name) VALUES ('x')")  # type: ignore[attr-defined]

        async def refuses(tenant: object) -> None:
            assert await tenant.fetch("SELECT 1 FROM items"), "nobody left"  # type: ignore[attr-defined]

        async def accepts(tenant: object) -> None:
            assert not await tenant.fetch("SELECT 1 FROM items WHERE id > ?", [0])  # type: ignore[attr-defined]

        await self._fails(path, up, "nobody left", refuses, CheckFailedError)
        await self._fails(path, up, "read only", writes, CheckFailedError)
        async with SqliteEngine().open(target_for(path)) as session:
            done = await session.apply(work(python=_python(up, accepts)), Journal())
        assert [(result.name, result.passed) for result in done.checks] == [("verify", True)]
