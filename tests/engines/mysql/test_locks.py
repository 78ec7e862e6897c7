"""MySQL and MariaDB tenants that are locked, lost or out of reach."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator

import anyio
import msgspec
import pytest

from ledger.drivers.url import Secret, SecretSource
from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import (
    StepFailedError,
    UnreachableError,
)
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant, wait_for_statement
from tests.engines.work import Journal, work
from tests.servers import connect


@pytest.fixture
async def engine() -> AsyncIterator[MysqlEngine]:
    """An engine with short waits."""
    made = MysqlEngine(lock_seconds=4)
    yield made
    await made.aclose()


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
                wait_for_statement(tenant, "UPDATE items SET name = CONCAT")
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
    thread = wait_for_statement(tenant, "CREATE TABLE slow")
    tenant.run(f"KILL {thread}")
