"""MySQL and MariaDB tenants that are taken over or in doubt: the fault table, provoked for real."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pymysql
import pytest

from ledger.drivers.mysql import open_connection
from ledger.drivers.url import MysqlUrl
from ledger.engines.mysql.engine import MysqlEngine
from ledger.engines.mysql.lock.fence import lock_name
from ledger.engines.mysql.lock.marker import Fence, MarkerTable, Remembered
from ledger.engines.work import Intent
from ledger.errors import (
    FencedError,
    InDoubtError,
    TenantError,
)
from tests.engines import mysql_child
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant, wait_for_statement
from tests.engines.work import LEDGER, Journal, step, work
from tests.servers import connect, statements


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
                wait_for_statement(tenant, "CREATE TABLE late")
                _abort(cut)
            cursor.execute("SELECT GET_LOCK('of the promise', 0)")
            assert cursor.fetchall() == ((0,),)
            cursor.execute("SELECT GET_LOCK('of the promise', 60)")
            assert cursor.fetchall() == ((1,),)
            assert statements(tenant.server, (tenant.database,), "CREATE TABLE late") == []


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
            wait_for_statement(tenant, "CREATE TABLE slow")
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
