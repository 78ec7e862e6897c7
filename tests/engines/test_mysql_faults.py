"""MySQL and MariaDB tenants that are locked, lost, taken over or in doubt: the fault table, provoked for real."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pymysql
import pytest

from ledger.drivers.mysql import open_connection
from ledger.drivers.url import MysqlUrl, Secret, SecretSource
from ledger.engines.mysql.engine import MysqlEngine
from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.lock.marker import Fence, MarkerTable, Remembered
from ledger.engines.work import Intent
from ledger.errors import (
    FencedError,
    InDoubtError,
    StepFailedError,
    TenantError,
    UnreachableError,
)
from ledger.scripts.created import Owned
from tests.conftest import MakeDatabase
from tests.engines import mysql_child
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant, tenant
from tests.engines.work import LEDGER, Journal, check, step, work
from tests.servers import Server, connect, statements

__all__ = ["tenant"]


@pytest.fixture
async def engine() -> AsyncIterator[MysqlEngine]:
    """An engine with short waits."""
    made = MysqlEngine(lock_seconds=4)
    yield made
    await made.aclose()


def _abort(connection: pymysql.Connection[Any]) -> None:
    """Cut the socket as a killed process does: no goodbye."""
    raw: socket.socket = connection._sock  # type: ignore[attr-defined]
    raw.shutdown(socket.SHUT_RDWR)


class TestPromise:
    """What the whole protocol rests on."""

    def test_lock_outlives_a_killed_client_until_its_statement_ends(self, tenant: Tenant) -> None:
        """GET_LOCK of a client that was cut off is free only after its running statement is over."""
        sql = "CREATE TABLE late AS SELECT SLEEP(2) AS slept"
        with connect(tenant.server, tenant.database) as other, other.cursor() as cursor:
            with connect(tenant.server, tenant.database) as cut, cut.cursor() as first:
                first.execute("SELECT GET_LOCK('of the promise', 0)")
                cut._execute_command(3, sql)  # type: ignore[attr-defined]
                _wait_for(tenant, "CREATE TABLE late")
                _abort(cut)
            cursor.execute("SELECT GET_LOCK('of the promise', 0)")
            assert cursor.fetchall() == ((0,),)
            cursor.execute("SELECT GET_LOCK('of the promise', 60)")
            assert cursor.fetchall() == ((1,),)
            assert statements(tenant.server, (tenant.database,), "CREATE TABLE late") == []


def _wait_for(tenant: Tenant, start: str) -> int:
    """The connection to the tenant's database that runs a statement that begins so, once it does."""
    for _ in range(400):
        if found := statements(tenant.server, (tenant.database,), start):
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"{start} never ran")


class TestTakeOver:
    """A claim that has passed on."""

    @pytest.mark.parametrize(
        "statement",
        ["CREATE TABLE slow AS SELECT SLEEP(3) AS a", "ALTER TABLE items ADD COLUMN c INT"],
    )
    def test_killed_inside_a_statement(
        self, tenant: Tenant, tmp_path: Path, statement: str
    ) -> None:
        """Killed while the server works on DDL, the next run ends correct, whatever the server did with it."""
        tenant.run(ITEMS)
        mysql_child.write_target(tmp_path, tenant.target.url, tenant.server.password)  # type: ignore[arg-type]
        (tmp_path / "steps.json").write_text(json.dumps([statement, FILL]))
        child = mysql_child.start("up", tmp_path)
        if "SLEEP" in statement:
            _wait_for(tenant, "CREATE TABLE slow")
        child.end()
        _, answer = mysql_child.run("up", tmp_path)
        assert "error" not in answer, answer
        assert tenant.rows("SELECT id FROM items ORDER BY id") == ((1,), (2,))
        assert (
            len(
                tenant.rows(
                    "SELECT 1 FROM information_schema.columns"
                    " WHERE table_schema = DATABASE() AND column_name IN ('c', 'a')"
                )
            )
            == 1
        )

    async def test_zombie_is_cut_off(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """The newer claim ends the older session; nothing that it does afterwards arrives."""
        async with engine.open(tenant.target) as old:
            await old.fence(epoch=1, ledger=LEDGER)
            async with engine.open(tenant.target) as new:
                assert (await new.fence(epoch=2, ledger=LEDGER)).epoch == 1
                with pytest.raises(TenantError):
                    await old.apply(work(ITEMS, epoch=1), Journal())
                await new.apply(work(ITEMS, FILL, epoch=2), Journal())
        assert tenant.rows("SELECT count(*) FROM items") == ((2,),)

    async def test_zombie_does_not_end_its_successor(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """An older claim that comes late is refused, and the newer one works on."""
        async with engine.open(tenant.target) as new, engine.open(tenant.target) as old:
            await new.fence(epoch=2, ledger=LEDGER)
            with pytest.raises(FencedError):
                await old.fence(epoch=1, ledger=LEDGER)
            await new.apply(work(ITEMS, epoch=2), Journal())
        assert tenant.tables() == {"items"}

    async def test_a_lease_that_ran_out_stops_steps_that_were_announced_together(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """A process that was stopped between them runs none of the rest once it goes on."""

        class Expired(Journal):
            def require_lease(self) -> None:
                if tenant.tables() >= {"items", "second"}:
                    raise FencedError("its lease ran out", found=2, tenant=tenant.target.name)

        journal = Expired()
        steps = (ITEMS, "CREATE TABLE second (id INT)", "CREATE TABLE third (id INT)")
        async with engine.open(tenant.target) as session:
            with pytest.raises(FencedError):
                await session.apply(work(*steps), journal)
        assert tenant.tables() == {"items", "second"}
        assert [one.step for one in journal.intents] == [1]

    async def test_a_lost_claim_is_said_though_the_connection_is_lost_with_it(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """Who takes over ends the old session: that must not hide from the runner that it was fenced."""

        class Lost(Journal):
            async def intend(self, intent: Intent) -> None:
                tenant.run(f"KILL {intent.connection_id}")
                raise FencedError("passed on", found=2, tenant=tenant.target.name)

        async with engine.open(tenant.target) as session:
            with pytest.raises(FencedError, match="passed on"):
                await session.apply(work("ALTER TABLE items ADD COLUMN x INT"), Lost())

    async def test_a_refused_claim_holds_no_lock(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """Whoever is turned away by what he reads lets go at once: the newer claim need not end him."""
        async with engine.open(tenant.target) as new:
            await new.fence(epoch=2, ledger=LEDGER)
        name = lock_name(tenant.database, "")
        async with engine.open(tenant.target) as old:
            with pytest.raises(FencedError):
                await old.fence(epoch=1, ledger=LEDGER)
            assert tenant.rows(f"SELECT IS_FREE_LOCK('{name}')") == ((1,),)

    async def test_a_newer_fence_is_not_lowered(self, tenant: Tenant) -> None:
        """Set between our look and our write, where locks do not hold: the write itself compares."""
        table = MarkerTable(tenant.target)
        assert isinstance(tenant.target.url, MysqlUrl)
        connection = await open_connection(tenant.target.url, tenant.target.secret)
        try:
            await table.raise_fence(connection, Remembered(), epoch=1, fence=Fence(ledger=LEDGER))
            found = await table.read(connection)
            tenant.run("UPDATE ledger_marker SET epoch = 5 WHERE id = ''")
            with pytest.raises(FencedError) as caught:
                await table.raise_fence(connection, found, epoch=2, fence=Fence(ledger=LEDGER))
        finally:
            await connection.aclose()
        assert caught.value.found == 5
        assert tenant.rows("SELECT epoch FROM ledger_marker WHERE id = ''") == ((5,),)

    async def test_epoch_alone_stops_rows(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """Where locks do not hold (Galera), a fenced runner's rows are rolled back."""
        tenant.run(ITEMS)
        async with engine.open(tenant.target) as session:
            await session.fence(epoch=1, ledger=LEDGER)
            tenant.run("UPDATE ledger_marker SET epoch = 5 WHERE id = ''")
            with pytest.raises(FencedError) as caught:
                await session.apply(work(FILL, epoch=1), Journal())
        assert caught.value.found == 5
        assert tenant.rows("SELECT count(*) FROM items") == ((0,),)


class TestInDoubt:
    """What cannot be told."""

    PROCEDURE = "CREATE PROCEDURE fill() INSERT INTO items (id, name) VALUES (1, 'called')"

    def _killed(self, tenant: Tenant, folder: Path, *steps: str) -> None:
        tenant.run(ITEMS, self.PROCEDURE)
        mysql_child.write_target(folder, tenant.target.url, tenant.server.password)  # type: ignore[arg-type]
        (folder / "steps.json").write_text(json.dumps(steps))
        code, _ = mysql_child.run("up", folder, failpoint="engine.after_statement")
        assert code == -9

    def test_is_said_with_all_evidence(self, tenant: Tenant, tmp_path: Path) -> None:
        """A CALL that was killed stops this tenant, shows what is known, and names the way out."""
        self._killed(tenant, tmp_path, "CALL fill()")
        for _ in range(2):
            _, answer = mysql_child.run("up", tmp_path)
            assert answer["error"] == "InDoubtError"
            assert "--applied" in answer["hint"]
            assert answer["evidence"]["statement"] == "CALL fill()"
        assert tenant.rows("SELECT name FROM items") == (("called",),)

    @pytest.mark.parametrize(("word", "rows"), [("applied", 1), ("not_applied", 2)])
    async def test_is_settled_by_a_word(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, word: str, rows: int
    ) -> None:
        """`resolve --applied` counts the step; `--not-applied` runs it again."""
        second = "CREATE PROCEDURE fill2() INSERT INTO items SELECT COALESCE(max(id), 0) + 1, 'called' FROM items"
        tenant.run(second)
        self._killed(tenant, tmp_path, "CALL fill2()")
        assert tenant.rows("SELECT count(*) FROM items") == ((1,),)
        intent = mysql_child.FileLedger(tmp_path).intent()
        order = msgspec.structs.replace(
            work("CALL fill2()", epoch=9, intent=intent), resolved=word, resolved_step=1
        )
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(order, journal)
        assert [one.recovered for one in journal.results] == [word == "applied"]
        assert tenant.rows("SELECT count(*) FROM items") == ((rows,),)

    @pytest.mark.parametrize(
        ("asked", "rows"), [("SELECT count(*) = 1 FROM items", 1), ("SELECT 0", 2)]
    )
    async def test_is_settled_by_verify_step(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, asked: str, rows: int
    ) -> None:
        """`-- verify-step` tells whether the step has landed."""
        tenant.run(
            "CREATE PROCEDURE fill2() INSERT INTO items SELECT COALESCE(max(id), 0) + 1, 'called' FROM items"
        )
        self._killed(tenant, tmp_path, "CALL fill2()")
        intent = mysql_child.FileLedger(tmp_path).intent()
        order = work(step(1, "CALL fill2()", verify_step=asked), epoch=9, intent=intent)
        async with engine.open(tenant.target) as session:
            await session.apply(order, Journal())
        assert tenant.rows("SELECT count(*) FROM items") == ((rows,),)

    async def test_edited_statement(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """A statement that was edited after it had begun is not taken for the one that ran."""
        intent = Intent(step=1, statement="0" * 64, before="absent", objects=(), connection_id=1)
        async with engine.open(tenant.target) as session:
            with pytest.raises(InDoubtError, match="edited"):
                await session.apply(work(ITEMS, intent=intent), Journal())
        assert tenant.tables() == set()

    async def test_somebody_elses_table(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """A table that appeared and is not what the statement makes is not taken for ours."""
        tenant.run("CREATE TABLE items (other INT)")
        first = work(ITEMS)
        intent = Intent(
            step=1,
            statement=first.section.steps[0].sha256,
            before="absent",
            objects=("table items",),
            connection_id=1,
        )
        async with engine.open(tenant.target) as session:
            with pytest.raises(InDoubtError) as caught:
                await session.apply(msgspec.structs.replace(first, intent=intent), Journal())
        assert "other" in caught.value.evidence["table items"]

    async def test_the_fleet_knows(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """What the same step left on another tenant settles it without a scratch database."""
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(ITEMS), journal)
            tenant.run("DELETE FROM ledger_marker WHERE id <> ''")
        order = work(ITEMS, epoch=2, intent=journal.intents[0])
        known = msgspec.structs.replace(order, known_after=frozenset({journal.results[0].after}))
        async with engine.open(tenant.target) as session:
            again = Journal()
            await session.apply(known, again)
        assert [one.recovered for one in again.results] == [True]

    async def test_rows_outside_transactions(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """Rows of a MyISAM table are announced, since no rollback undoes them, and then in doubt."""
        tenant.run("CREATE TABLE old (id INT) ENGINE=MyISAM")
        self._killed(tenant, tmp_path, "INSERT INTO old VALUES (1)")
        _, answer = mysql_child.run("up", tmp_path)
        assert "not transactional" in answer["evidence"]["reason"]
        assert tenant.rows("SELECT count(*) FROM old") == ((1,),)


class TestLocks:
    """Other connections' locks."""

    async def test_metadata_lock_is_waited_for(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """An ALTER behind an open transaction is tried again and lands once it ends."""
        tenant.run(ITEMS, FILL)
        with connect(tenant.server, tenant.database) as other, other.cursor() as cursor:
            cursor.execute("START TRANSACTION")
            cursor.execute("SELECT * FROM items")
            timer = threading.Timer(1.5, other.rollback)
            timer.start()
            async with engine.open(tenant.target) as session:
                await session.apply(work("ALTER TABLE items ADD COLUMN c INT"), Journal())
            timer.join()
        assert len(tenant.rows("SELECT c FROM items")) == 2

    async def test_metadata_lock_that_is_kept_is_named(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """After a bounded wait the error names the connection in the way, and the rest can go on later."""
        tenant.run(ITEMS, FILL)
        steps = ("CREATE TABLE first_one (id INT)", "ALTER TABLE items ADD COLUMN c INT")
        with connect(tenant.server, tenant.database) as other, other.cursor() as cursor:
            cursor.execute("START TRANSACTION")
            cursor.execute("SELECT * FROM items")
            with anyio.fail_after(60):
                async with engine.open(tenant.target) as session:
                    with pytest.raises(StepFailedError) as caught:
                        await session.apply(work(*steps), Journal())
            assert caught.value.database_code == "1205"
            assert f"connection {other.thread_id()}" in caught.value.message  # type: ignore[no-untyped-call]
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(*steps, epoch=2), journal)
        assert journal.numbers == [2]

    async def test_row_lock_is_waited_for(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """1205 on rows: the step's transaction is rolled back in full and run again."""
        tenant.run(ITEMS, FILL)
        target = msgspec.structs.replace(
            tenant.target, session=("SET SESSION innodb_lock_wait_timeout = 1",)
        )
        with connect(tenant.server, tenant.database) as other, other.cursor() as cursor:
            cursor.execute("START TRANSACTION")
            cursor.execute("UPDATE items SET name = 'theirs' WHERE id = 2")
            timer = threading.Timer(1.5, other.commit)
            timer.start()
            async with engine.open(target) as session:
                await session.apply(work("UPDATE items SET name = CONCAT(name, '!')"), Journal())
            timer.join()
        assert tenant.rows("SELECT name FROM items ORDER BY id") == (("one!",), ("theirs!",))

    async def test_deadlock_is_tried_again(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """1213: the victim's step is run again from its beginning, and once."""
        tenant.run(ITEMS, FILL, "CREATE TABLE weight (id INT PRIMARY KEY, n INT)")
        tenant.run("INSERT INTO weight SELECT help_topic_id, 0 FROM mysql.help_topic LIMIT 500")
        slow = (
            "UPDATE items SET name = CONCAT(name, '!', SLEEP(0.5)) WHERE id IN (1, 2) ORDER BY id"
        )

        def interfere() -> None:
            with connect(tenant.server, tenant.database) as other, other.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                cursor.execute("UPDATE weight SET n = n + 1")
                cursor.execute("UPDATE items SET name = 'theirs' WHERE id = 2")
                ready.set()
                _wait_for(tenant, "UPDATE items SET name = CONCAT")
                time.sleep(0.1)
                cursor.execute("UPDATE items SET name = 'theirs' WHERE id = 1")
                other.commit()

        ready = threading.Event()
        thread = threading.Thread(target=interfere)
        thread.start()
        assert ready.wait(20)
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(slow), journal)
        thread.join()
        assert journal.numbers == [1]
        assert tenant.rows("SELECT name FROM items ORDER BY id") == (("theirs!0",), ("theirs!0",))


class TestUnreachable:
    """Databases that cannot be opened."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"port": 1}, "Connection refused"),
            ({"database": "test_nowhere"}, "Unknown database"),
            ({"user": "test_nobody"}, "Access denied"),
        ],
    )
    async def test_says_why(
        self, engine: MysqlEngine, tenant: Tenant, change: dict[str, object], words: str
    ) -> None:
        """The server's own words, a hint, and no password."""
        url = msgspec.structs.replace(tenant.target.url, **change)
        target = msgspec.structs.replace(
            tenant.target,
            url=url,
            secret=SecretSource(value=Secret("canary-77"))
            if "user" in change
            else tenant.target.secret,
        )
        with pytest.raises(UnreachableError, match=words) as caught:
            async with engine.open(target):
                pass
        assert caught.value.hint
        assert "canary-77" not in f"{caught.value} {caught.value.hint} {caught.value!r}"

    async def test_secret_that_is_missing(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """A password source that gives none is this tenant's trouble only."""
        target = msgspec.structs.replace(
            tenant.target, secret=SecretSource(env="LEDGER_TEST_NO_SUCH_VARIABLE")
        )
        with pytest.raises(UnreachableError, match="LEDGER_TEST_NO_SUCH_VARIABLE"):
            async with engine.open(target):
                pass

    async def test_created_if_asked(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """With create a missing database is made."""
        tenant.run(f"DROP DATABASE `{tenant.database}`")
        target = msgspec.structs.replace(tenant.target, create=True)
        async with engine.open(target) as session:
            await session.apply(work(ITEMS), Journal())
        assert tenant.tables() == {"items"}

    async def test_lost_in_a_statement(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """A session that is killed says which step, and that the same command settles it."""
        async with engine.open(tenant.target) as session:
            threading.Thread(target=_kill_soon, args=(tenant,)).start()
            with pytest.raises(UnreachableError, match="step 1") as caught:
                await session.apply(work("CREATE TABLE slow AS SELECT SLEEP(30) AS a"), Journal())
        assert "same command again" in caught.value.hint


def _kill_soon(tenant: Tenant) -> None:
    thread = _wait_for(tenant, "CREATE TABLE slow")
    tenant.run(f"KILL {thread}")


class TestFiles:
    """What authors write into their files."""

    async def test_own_transaction(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """START TRANSACTION … COMMIT is one unit: a failure inside undoes it, and a re-run begins with it."""
        steps = [
            ITEMS,
            "START TRANSACTION",
            FILL,
            "INSERT INTO items VALUES (2, 'again')",
            "COMMIT",
        ]
        async with engine.open(tenant.target) as session:
            with pytest.raises(StepFailedError) as caught:
                await session.apply(work(*steps), Journal())
            assert caught.value.step == 4
            assert tenant.rows("SELECT count(*) FROM items") == ((0,),)
            assert (await session.marker()).entries[0].step == 1
        steps[3] = "INSERT INTO items VALUES (3, 'three')"
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(*steps, epoch=2), journal)
        assert journal.numbers == [2, 3, 4, 5]
        assert tenant.rows("SELECT count(*) FROM items") == ((3,),)

    @pytest.mark.parametrize(
        "statements",
        [
            ("BEGIN", "INSERT INTO old VALUES (1)", "INSERT INTO nope VALUES (1)", "COMMIT"),
            ("BEGIN", "INSERT INTO old VALUES (1)"),
            ("INSERT INTO old VALUES (1), (2), (1)",),
        ],
    )
    async def test_rows_that_no_rollback_undoes(
        self, engine: MysqlEngine, tenant: Tenant, statements: tuple[str, ...]
    ) -> None:
        """Rows of a MyISAM table outlive the failure of their transaction or statement: it says so."""
        tenant.run("CREATE TABLE old (id INT PRIMARY KEY) ENGINE=MyISAM")
        async with engine.open(tenant.target) as session:
            with pytest.raises(StepFailedError, match="without transactions"):
                await session.apply(work(*statements), Journal())
        assert (1,) in tenant.rows("SELECT id FROM old")

    @pytest.mark.parametrize("begin", ["BEGIN", "SET autocommit = 0"])
    async def test_transaction_without_its_end(
        self, engine: MysqlEngine, tenant: Tenant, begin: str
    ) -> None:
        """A file that ends inside a transaction is refused; the client would have lost its rows in silence."""
        tenant.run(ITEMS)
        async with engine.open(tenant.target) as session:
            with pytest.raises(StepFailedError, match="ends inside"):
                await session.apply(work(begin, FILL), Journal())
        assert tenant.rows("SELECT count(*) FROM items") == ((0,),)

    async def test_without_autocommit(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """Statements that define objects commit what is open, as the server does."""
        steps = [
            "SET autocommit = 0",
            ITEMS,
            FILL,
            "CREATE TABLE more (id INT)",
            "INSERT INTO more VALUES (1)",
            "COMMIT",
        ]
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(*steps), journal)
            assert (await session.marker()).entries[0].state == "applied"
        assert journal.numbers == [1, 2, 3, 4, 5, 6]
        assert tenant.rows("SELECT count(*) FROM more") == ((1,),)

    async def test_oracle_mode(
        self, engine: MysqlEngine, mariadb: Server, make_database: MakeDatabase
    ) -> None:
        """A migration that needs the mode to make a package comes to its end, and `reset` drops that."""
        tenant = Tenant(mariadb, make_database(mariadb))
        async with engine.open(tenant.target) as session:
            await session.apply(
                work(
                    "SET sql_mode = 'ORACLE'",
                    "CREATE PACKAGE pack AS FUNCTION one RETURN INT; END",
                    "CREATE TABLE after (id INT)",
                    "INSERT INTO after VALUES (1)",
                ),
                Journal(),
            )
            await session.drop([Owned(kind="package", name="pack")], epoch=2, ledger=LEDGER)
            assert (await session.schema()).definitions == ()
        assert tenant.rows("SELECT id FROM after") == ((1,),)

    async def test_settings_end_with_their_migration(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """What one migration SETs does not reach the next."""
        async with engine.open(tenant.target) as session:
            await session.apply(work("SET @word = 'leaked'", ITEMS, version="1"), Journal())
            await session.apply(
                work("INSERT INTO items VALUES (1, @word)", version="2", expected=["app/1"]),
                Journal(),
            )
        assert tenant.rows("SELECT name FROM items") == ((None,),)

    async def test_lock_tables(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """LOCK TABLES of a dump is passed over, with a warning."""
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(
                work(ITEMS, "LOCK TABLES items WRITE", FILL, "UNLOCK TABLES"), journal
            )
        assert "LOCK TABLES" in journal.results[1].warnings[0]
        assert tenant.rows("SELECT count(*) FROM items") == ((2,),)

    async def test_percent_and_warnings(self, engine: MysqlEngine, tenant: Tenant) -> None:
        """Text goes out as it is; what the server remarks on comes back."""
        target = msgspec.structs.replace(tenant.target, session=("SET SESSION sql_mode = ''",))
        async with engine.open(target) as session:
            journal = Journal()
            await session.apply(
                work(ITEMS, f"INSERT INTO items VALUES (1, '100%s{'x' * 60}')"), journal
            )
        assert tenant.rows("SELECT LEFT(name, 6) FROM items") == (("100%sx",),)
        assert "1265" in journal.results[1].warnings[0]

    async def test_many_rows_keep_the_marker_small(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """Hundreds of statements are announced by the hundred, so that their results move to the ledger."""
        inserts = [f"INSERT INTO items VALUES ({number}, 'x')" for number in range(350)]
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(ITEMS, *inserts), journal)
        assert journal.numbers == list(range(1, 352))
        assert len(journal.intents) > 2
        ((size,),) = tenant.rows("SELECT MAX(LENGTH(body)) FROM ledger_marker")
        assert size < 40_000

    async def test_failed_check_goes_on_from_there(
        self, engine: MysqlEngine, tenant: Tenant
    ) -> None:
        """After a check failed, the next run runs the checks and no step."""
        checks = [check("SELECT count(*) = 3 FROM items")]
        async with engine.open(tenant.target) as session:
            with pytest.raises(TenantError, match="check"):
                await session.apply(work(ITEMS, FILL, checks=checks), Journal())
        tenant.run("INSERT INTO items VALUES (3, 'three')")
        async with engine.open(tenant.target) as session:
            journal = Journal()
            await session.apply(work(ITEMS, FILL, checks=checks, epoch=2), journal)
        assert journal.numbers == []
