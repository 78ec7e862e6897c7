"""Restores of MySQL and MariaDB tenants that fail: what the account, the server and the file refuse."""

from __future__ import annotations

import contextlib
from pathlib import Path

import anyio
import msgspec
import pymysql
import pytest

from ledger.engines.base import Backup
from ledger.engines.mysql.backup.container import Contents, Writer
from ledger.engines.mysql.backup.dumpfile import statements
from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import BackupError, RestoreError
from tests.conftest import MakePrivateMariadb
from tests.engines.mysql.backups import account, back_up, restore, sql_of
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant
from tests.engines.work import LEDGER, Journal, work
from tests.mariadbd import PrivateMariadb
from tests.servers import as_server, connect, create_database, query


class TestRefusedRestores:
    """What server and account would refuse half-way is refused before anything is dropped."""

    async def _refused(self, engine: MysqlEngine, tenant: Tenant, backup: Backup) -> RestoreError:
        with pytest.raises(RestoreError) as caught:
            await restore(engine, tenant, backup)
        assert tenant.rows("SELECT count(*) FROM items") == ((2,),)
        async with engine.open(tenant.target) as session:
            await session.apply(work("CREATE TABLE goes_on (id INT)", epoch=3), Journal())
        return caught.value

    @pytest.mark.parametrize(
        "made",
        [
            "CREATE VIEW seen AS SELECT id FROM items",
            "CREATE TRIGGER watch BEFORE INSERT ON items FOR EACH ROW SET NEW.id = NEW.id + 1",
        ],
    )
    async def test_what_another_account_has_defined(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, made: str
    ) -> None:
        """Only who may name another definer can take it back."""
        tenant.run(ITEMS, FILL, made)
        with account(tenant, "ALL") as app:
            backup = await back_up(engine, app, tmp_path)
            error = await self._refused(engine, app, backup)
            assert "root@" in error.message
            assert "GRANT SET" in error.hint
        assert await restore(engine, tenant, backup, epoch=4) == backup.fingerprint

    async def test_a_privilege_that_is_lacking(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """An account that may not create views drops none."""
        tenant.run(ITEMS, FILL, "CREATE SQL SECURITY INVOKER VIEW seen AS SELECT id FROM items")
        backup = await back_up(engine, tenant, tmp_path)
        may = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, SHOW VIEW, TRIGGER"
        with account(tenant, may) as app:
            error = await self._refused(engine, app, backup)
        assert "lacks CREATE VIEW" in error.message

    async def test_a_row_that_the_server_does_not_take(
        self, private_mariadb: MakePrivateMariadb, engine: MysqlEngine, tmp_path: Path
    ) -> None:
        """In a dump a BLOB is twice as long: it may be too long for max_allowed_packet, until that is raised."""
        server = as_server(private_mariadb("--max-allowed-packet=1M"))
        tenant = Tenant(server, create_database(server))
        tenant.run(
            ITEMS,
            FILL,
            "CREATE TABLE files (id INT, content LONGBLOB)",
            "INSERT INTO files VALUES (1, REPEAT(x'FF', 800000))",
        )
        backup = await back_up(engine, tenant, tmp_path)
        error = await self._refused(engine, tenant, backup)
        assert "the server takes 1048576" in error.message
        tenant.run("DROP TABLE files, goes_on", "SET GLOBAL max_allowed_packet = 4 << 20")
        # A connection has the limit that it began with.
        await engine.aclose()
        assert await restore(engine, tenant, backup, epoch=4) == backup.fingerprint
        assert tenant.rows("SELECT length(content) FROM files") == ((800000,),)


class TestFullServer:
    """The dump program wants a connection of its own, and waits for it as ours do."""

    async def _fill_up(
        self, engine: MysqlEngine, private: PrivateMariadb, folder: Path, *, free: bool
    ) -> Backup:
        """Back up while every place is taken; one becomes free during the wait, or none does."""
        server = as_server(private)
        query(server, "CREATE USER app")
        query(server, "GRANT ALL ON *.* TO app")
        query(server, "REVOKE SUPER, CONNECTION ADMIN ON *.* FROM app")
        url = msgspec.structs.replace(server.url, user="app")
        app = msgspec.structs.replace(server, url=url)
        crowded = Tenant(app, create_database(app))
        crowded.run(ITEMS, FILL)
        async with engine.open(crowded.target) as session, anyio.create_task_group() as tasks:
            await session.fence(epoch=1, ledger=LEDGER)
            places = contextlib.ExitStack()
            try:
                with contextlib.suppress(pymysql.err.OperationalError):
                    while True:
                        places.enter_context(connect(app))

                async def leave() -> None:
                    await anyio.sleep(0.5)
                    places.close()

                if free:
                    tasks.start_soon(leave)
                made = await session.backup(folder / "backup.sql.zst", deadline_seconds=60)
            finally:
                places.close()
        return made

    async def test_waits_for_a_place(
        self, private_mariadb: MakePrivateMariadb, tmp_path: Path
    ) -> None:
        """Too many connections: the dump is tried again until there is a place."""
        private = private_mariadb("--max-connections=10")
        engine = MysqlEngine()
        try:
            backup = await self._fill_up(engine, private, tmp_path, free=True)
        finally:
            await engine.aclose()
        assert b"(1,'one'),\n(2,'two')" in sql_of(backup.path)

    async def test_not_for_ever(self, private_mariadb: MakePrivateMariadb, tmp_path: Path) -> None:
        """At the connect deadline it says what the server said, and leaves nothing."""
        private = private_mariadb("--max-connections=10")
        engine = MysqlEngine(connect_seconds=0.5)
        try:
            with pytest.raises(ExceptionGroup) as caught:
                await self._fill_up(engine, private, tmp_path, free=False)
        finally:
            await engine.aclose()
        (error,) = caught.value.exceptions
        assert isinstance(error, BackupError)
        assert "1040" in error.message
        assert list(tmp_path.iterdir()) == []


class TestHostileFiles:
    """Backups that are not what they say. Their hash is right: somebody recorded them so."""

    async def _refused(self, engine: MysqlEngine, tenant: Tenant, path: Path, sha256: str) -> str:
        tenant.run(ITEMS, FILL)
        backup = Backup(
            path=path, bytes=0, sha256=sha256, format="sql.zst", covers="database", fingerprint=""
        )
        with pytest.raises(RestoreError) as caught:
            await restore(engine, tenant, backup)
        assert tenant.rows("SELECT count(*) FROM items") == ((2,),)
        return caught.value.message

    async def test_bomb(self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
        """More SQL than was recorded is not unpacked, and nothing is dropped."""
        path = tmp_path / "bomb"
        with path.open("wb") as file:
            writer = Writer(file)
            writer.write(b"SELECT 1;\n" * (8 << 20))
            sha256 = writer.finish(Contents(sql_bytes=1000, covers="database", fingerprint=""))
        assert path.stat().st_size < 100_000
        assert "more than the 1000 bytes" in await self._refused(engine, tenant, path, sha256)

    async def test_broken_off(self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
        """A dump whose last statement has no end is refused before anything is dropped."""
        path = tmp_path / "short"
        with path.open("wb") as file:
            writer = Writer(file)
            writer.write(b"CREATE TABLE t (id INT);\nINSERT INTO t VALUES\n(1),")
            sha256 = writer.finish(
                Contents(sql_bytes=writer.sql_bytes, covers="database", fingerprint="")
            )
        assert "no end" in await self._refused(engine, tenant, path, sha256)


def test_statements_of_a_dump() -> None:
    """Delimiters inside strings, names and comments do not end a statement."""
    dump = (
        b"-- a comment;\n/*M!999999\\- enable the sandbox mode */ \n"
        b"INSERT INTO `t` VALUES\n('a;\\n',1),\n('it''s;');\n"
        b"CREATE TABLE `x` (\n  `c` int COMMENT 'ends;\n--',\n  `d;\n` int\n);\n"
        b"DELIMITER ;;\nCREATE PROCEDURE p()\nBEGIN SELECT ';;\n'; -- it's\n/* ;;\n*/ END\n;;\n"
        b"DELIMITER ;\n/*!50001 SET a = 1 */;\n"
    )
    for size in (1, 7, 4096):
        chunks = [dump[start : start + size] for start in range(0, len(dump), size)]
        found = list(statements(chunks))
        assert [text.split()[0] for text in found] == [b"INSERT", b"CREATE", b"CREATE", b"/*!50001"]
        assert found[2].endswith(b"END")


def test_statements_under_a_mode() -> None:
    """What ends a quoted text depends on the sql_mode that the dump set for it."""
    dump = (
        b"/*!50003 SET sql_mode              = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\n"
        b"CREATE PROCEDURE p()\nSELECT 'C:\\'\n;;\nDELIMITER ;\n"
        b"/*!50003 SET sql_mode              = @saved_sql_mode */ ;\n"
        b"CREATE TABLE `t` (\n  `c` int COMMENT 'it\\';\n'\n);\n"
    )
    assert [text.split()[0] for text in statements([dump])] == [
        b"/*!50003", b"CREATE", b"/*!50003", b"CREATE",
    ]  # fmt: skip
