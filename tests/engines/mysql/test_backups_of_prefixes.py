"""Backups of tenants that are prefixes: nothing of their neighbours."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import BackupError, RestoreError
from tests.conftest import MakeDatabase
from tests.engines.mysql.backups import account, back_up, restore, sql_of
from tests.engines.mysql_tenants import Tenant
from tests.engines.work import LEDGER, Journal, work
from tests.servers import Server


class TestPrefix:
    """Neighbours in one database."""

    @pytest.fixture
    def site(self, sql_server: Server, make_database: MakeDatabase) -> Tenant:
        """`wp_2_`, between `wp_`, `wp_2_3_` and `wpx2_`."""
        database = make_database(sql_server)
        site = Tenant(sql_server, database, prefix="wp_2_", neighbours=("wp_2_3_",))
        for prefix in ("wp_", "wp_2_", "wp_2_3_", "wpx2_"):
            site.run(
                f"CREATE TABLE {prefix}posts (id INT PRIMARY KEY, parent INT,"
                f" CONSTRAINT {prefix}fk FOREIGN KEY (parent) REFERENCES {prefix}posts (id))",
                f"INSERT INTO {prefix}posts VALUES (1, NULL)",
                f"CREATE VIEW {prefix}seen AS SELECT id FROM {prefix}posts",
                f"CREATE TRIGGER {prefix}watch BEFORE INSERT ON {prefix}posts"
                f" FOR EACH ROW SET NEW.id = NEW.id + 100",
                f"CREATE PROCEDURE {prefix}proc() SELECT '{prefix}'",
            )
        return site

    async def test_schema_is_its_own_and_comparable(
        self, engine: MysqlEngine, site: Tenant
    ) -> None:
        """Two sites with different prefixes have one fingerprint; a neighbour's change is none of theirs."""
        other = Tenant(site.server, site.database, prefix="wp_2_3_")
        async with engine.open(site.target) as one, engine.open(other.target) as two:
            first = await one.mark()
            assert first.fingerprint == (await two.mark()).fingerprint
            schema = await one.schema()
            assert [table.name for table in schema.tables] == ["{prefix}posts"]
            assert {one.name for one in schema.definitions} == {
                "{prefix}seen", "{prefix}watch", "{prefix}proc",
            }  # fmt: skip
            site.run("ALTER TABLE wp_2_3_posts ADD COLUMN c INT", "CREATE TABLE wpx2_more (id INT)")
            assert (await one.mark()).fingerprint == first.fingerprint
            assert (await two.mark()).fingerprint != first.fingerprint

    async def test_neighbours_are_known_by_their_markers(
        self, engine: MysqlEngine, site: Tenant
    ) -> None:
        """A longer prefix that was never configured here, but has a marker, is a neighbour too."""
        target = msgspec.structs.replace(site.target, neighbours=())
        other = Tenant(site.server, site.database, prefix="wp_2_3_")
        async with engine.open(other.target) as session:
            await session.fence(epoch=1, ledger=LEDGER)
        async with engine.open(target) as session:
            assert [one.name for one in (await session.schema()).tables] == ["{prefix}posts"]

    async def test_backup_and_restore_touch_nobody_else(
        self, engine: MysqlEngine, site: Tenant, tmp_path: Path
    ) -> None:
        """Of four sites one is backed up, spoiled and restored; the others' rows and tables stay."""
        backup = await back_up(engine, site, tmp_path)
        assert backup.covers == "prefix wp_2_"
        for prefix in ("wp_", "wp_2_", "wp_2_3_", "wpx2_"):
            site.run(
                f"INSERT INTO {prefix}posts VALUES (2, NULL)", f"CREATE TABLE {prefix}new (id INT)"
            )
        site.run("DROP PROCEDURE wp_2_proc")
        assert await restore(engine, site, backup) == backup.fingerprint
        counts = {
            prefix: site.rows(f"SELECT count(*) FROM {prefix}posts")[0][0]
            for prefix in ("wp_", "wp_2_", "wp_2_3_", "wpx2_")
        }
        assert counts == {"wp_": 2, "wp_2_": 1, "wp_2_3_": 2, "wpx2_": 2}
        assert {"wp_new", "wp_2_3_new", "wpx2_new"} <= site.tables()
        assert "wp_2_new" not in site.tables()

    async def test_older_backup_with_a_newer_neighbour(
        self, engine: MysqlEngine, site: Tenant, tmp_path: Path
    ) -> None:
        """Tables that became another tenant's since the backup are not taken back with it."""
        alone = msgspec.structs.replace(site.target, neighbours=(), tables=("3_*",))
        async with engine.open(alone) as session:
            await session.fence(epoch=1, ledger=LEDGER)
            backup = await session.backup(tmp_path / "b.sql.zst", deadline_seconds=60)
        site.run(
            "INSERT INTO wp_2_3_posts VALUES (2, NULL)", "INSERT INTO wp_2_posts VALUES (2, NULL)"
        )
        with pytest.raises(RestoreError, match=r"wp_2_3_\w+, which is another tenant's"):
            await restore(engine, site, backup)
        counts = [site.rows(f"SELECT count(*) FROM wp_2_{one}posts")[0][0] for one in ("", "3_")]
        assert counts == [2, 2]

    async def test_routines_keep_what_they_were_made_under(
        self, engine: MysqlEngine, site: Tenant, tmp_path: Path
    ) -> None:
        """An event's time zone, and a routine's character sets: not those of whoever restores."""
        site.run(
            "SET time_zone = '+05:30', NAMES latin1 COLLATE latin1_german1_ci",
            "CREATE EVENT wp_2_event ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01 00:00:00'"
            " DO DELETE FROM wp_2_posts",
            "CREATE PROCEDURE wp_2_latin() SELECT 'x'",
        )
        told = (
            "SELECT TIME_ZONE, STARTS, CHARACTER_SET_CLIENT, COLLATION_CONNECTION"
            " FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()"
            " UNION ALL SELECT SQL_MODE, ROUTINE_NAME, CHARACTER_SET_CLIENT, COLLATION_CONNECTION"
            " FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()"
            " AND ROUTINE_NAME LIKE 'wp\\_2\\_%' ORDER BY 1, 2"
        )
        before = site.rows(told)
        backup = await back_up(engine, site, tmp_path)
        assert await restore(engine, site, backup) == backup.fingerprint
        assert site.rows(told) == before

    async def test_a_routine_that_the_account_may_not_read(
        self, engine: MysqlEngine, site: Tenant, tmp_path: Path
    ) -> None:
        """It can neither be backed up nor left out: there is no backup."""
        words = "may not read procedure wp_2_proc"
        # Not ALL: since MariaDB 11.3 that includes SHOW CREATE ROUTINE.
        privileges = (
            "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE VIEW,"
            " SHOW VIEW, TRIGGER, EVENT, CREATE ROUTINE, EXECUTE, LOCK TABLES"
        )
        with account(site, privileges) as app, pytest.raises(BackupError, match=words):
            await back_up(engine, app, tmp_path)
        assert list(tmp_path.iterdir()) == []

    async def test_empty_prefix_backs_up_nothing(
        self, engine: MysqlEngine, site: Tenant, tmp_path: Path
    ) -> None:
        """A prefix without tables does not become a backup of the whole database."""
        empty = Tenant(site.server, site.database, prefix="wp_9_")
        backup = await back_up(engine, empty, tmp_path)
        assert b"posts" not in sql_of(backup.path)
        await restore(engine, empty, backup)
        assert "wp_posts" in site.tables()

    async def test_locks_are_apart(self, engine: MysqlEngine, site: Tenant) -> None:
        """Two prefixes of one database are migrated at the same time."""
        other = Tenant(site.server, site.database, prefix="wp_2_3_")
        async with engine.open(site.target) as one, engine.open(other.target) as two:
            await one.fence(epoch=1, ledger=LEDGER)
            await two.fence(epoch=1, ledger=LEDGER)
            await one.apply(work("CREATE TABLE wp_2_a (id INT)"), Journal())
            await two.apply(work("CREATE TABLE wp_2_3_a (id INT)"), Journal())
        assert {"wp_2_a", "wp_2_3_a"} <= site.tables()
