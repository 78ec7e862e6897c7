"""Migrations of MySQL and MariaDB: their own transactions, modes, settings and many rows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import (
    InDoubtError,
    StepFailedError,
    TenantError,
)
from ledger.scripts.created import Owned
from tests.conftest import MakeDatabase
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant
from tests.engines.work import LEDGER, Journal, check, work
from tests.servers import Server


@pytest.fixture
async def engine() -> AsyncIterator[MysqlEngine]:
    """An engine with short waits."""
    made = MysqlEngine(lock_seconds=4)
    yield made
    await made.aclose()


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
        """Rows of a MyISAM table outlive the failure of their transaction or statement: in doubt, by its name."""
        tenant.run("CREATE TABLE old (id INT PRIMARY KEY) ENGINE=MyISAM")
        async with engine.open(tenant.target) as session:
            with pytest.raises(InDoubtError, match="in old, a table without transactions"):
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
