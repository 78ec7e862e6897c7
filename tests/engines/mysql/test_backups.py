"""Backups of MySQL and MariaDB tenants: all of a tenant comes back."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import BackupError
from tests.certificates import make_certificates
from tests.conftest import MakeDatabase, MakePrivateMariadb, MakePrivateServer
from tests.engines.mysql.backups import back_up, only_mariadbs_program, restore, sql_of
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant
from tests.engines.work import Journal, work
from tests.servers import Server, as_server, create_database, query

EVERYTHING = (
    "CREATE TABLE kinds (id INT PRIMARY KEY AUTO_INCREMENT, data BLOB, bits BIT(3), words TEXT,"
    " amount DECIMAL(20,6), at DATETIME(6), doc JSON, flag BOOL, UNIQUE KEY (flag, amount))"
    " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "INSERT INTO kinds (data, bits, words, amount, at, doc, flag) VALUES"
    " (x'00FF270A5C', b'101', 'it''s; a \\\\ \"word\"\\n-- ☃ 𝄞;;\\n', 1.5, '2026-01-02 03:04:05.678901',"
    " '{\"a\": [1, 2]}', 1), (NULL, NULL, '', -0.000001, NULL, NULL, 0)",
    "CREATE TABLE children (id INT PRIMARY KEY, kind INT,"
    " CONSTRAINT children_kind FOREIGN KEY (kind) REFERENCES kinds (id)) ENGINE=InnoDB",
    "INSERT INTO children VALUES (1, 1), (2, NULL)",
    "CREATE VIEW seen AS SELECT k.words, c.id FROM kinds k JOIN children c ON c.kind = k.id",
    "CREATE VIEW above AS SELECT id FROM seen",
    "CREATE TRIGGER watch BEFORE INSERT ON children FOR EACH ROW BEGIN SET NEW.id = NEW.id + 100; END",
    "CREATE PROCEDURE work_it() BEGIN SELECT 'a;b'; SELECT ';;\n'; -- it's\n END",
    "CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2",
    "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM children WHERE id < 0",
)


def _tls_connections(server: Server) -> int:
    ((_, count),) = query(server, "SHOW GLOBAL STATUS LIKE 'Ssl_finished_accepts'")
    return int(count)


@pytest.mark.parametrize("kind", ["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
async def test_a_dump_asks_for_no_tls_that_the_tenant_does_not_use(
    kind: str, engine: MysqlEngine, private_server: MakePrivateServer, tmp_path: Path
) -> None:
    """Clients that demand or try TLS by themselves connect as the driver does."""
    server = as_server(private_server(kind))
    tenant = Tenant(server, create_database(server))
    tenant.run(ITEMS, FILL)
    backup = await back_up(engine, tenant, tmp_path)
    assert b"'two'" in sql_of(backup.path)
    assert _tls_connections(server) == 0


async def test_a_dump_uses_the_tenants_tls(
    engine: MysqlEngine, private_mariadb: MakePrivateMariadb, tmp_path: Path
) -> None:
    """An account that has to show a certificate is dumped with that of its URL, and its authority."""
    make_certificates(tmp_path)
    files = (f"--ssl-{name}={tmp_path}/{name}.pem" for name in ("ca", "cert", "key"))
    server = as_server(private_mariadb(*files))
    query(server, "CREATE USER guarded@'%' REQUIRE X509")
    query(server, "GRANT ALL ON *.* TO guarded@'%'")
    tenant = Tenant(server, create_database(server))
    tenant.run(ITEMS, FILL)
    ca = str(tmp_path / "ca.pem")
    cert, key = (str(tmp_path / f"client-{name}.pem") for name in ("cert", "key"))
    url = msgspec.structs.replace(
        tenant.target.url, user="guarded", ssl=True, ssl_ca=ca, ssl_cert=cert, ssl_key=key
    )
    tenant.target = msgspec.structs.replace(tenant.target, url=url)
    backup = await back_up(engine, tenant, tmp_path)
    assert b"'two'" in sql_of(backup.path)


async def test_everything_comes_back(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """Rows of every kind, keys, views on views, triggers, routines and events are as they were."""
    tenant.run(*EVERYTHING)
    before = [tenant.rows(f"SELECT * FROM {name}") for name in ("kinds", "children", "seen")]
    backup = await back_up(engine, tenant, tmp_path)
    tenant.run(
        "DROP VIEW above",
        "DROP PROCEDURE work_it",
        "DROP TABLE children",
        "UPDATE kinds SET words = 'spoiled'",
        "CREATE TABLE intruder (id INT)",
        "CREATE VIEW intruding AS SELECT 1",
        "CREATE PROCEDURE intrude() SELECT 1",
    )
    assert await restore(engine, tenant, backup) == backup.fingerprint
    assert [
        tenant.rows(f"SELECT * FROM {name}") for name in ("kinds", "children", "seen")
    ] == before
    assert tenant.tables() == {"kinds", "children", "seen", "above"}
    tenant.run("INSERT INTO children VALUES (3, NULL)")
    assert tenant.rows("SELECT max(id), twice(4) FROM children") == ((103, 8),)


async def test_generated_columns(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """Generated columns come back, or the backup is refused where the dump program cannot do it."""
    tenant.run(
        "CREATE TABLE sums (a INT, b INT AS (a + 1) STORED, c INT AS (a + 2) VIRTUAL)",
        "INSERT INTO sums (a) VALUES (1), (2)",
    )
    if tenant.server.flavor == "mysql" and only_mariadbs_program():
        with pytest.raises(BackupError, match="generated") as caught:
            await back_up(engine, tenant, tmp_path)
        assert "mysql-client" in caught.value.hint
        assert list(tmp_path.iterdir()) == []
        return
    backup = await back_up(engine, tenant, tmp_path)
    tenant.run("DELETE FROM sums")
    await restore(engine, tenant, backup)
    assert tenant.rows("SELECT * FROM sums ORDER BY a") == ((1, 2, 3), (2, 3, 4))


async def test_defaults_of_the_database(
    engine: MysqlEngine, tenant: Tenant, tmp_path: Path
) -> None:
    """What a new table gets that names no character set is what it was, too."""
    backup = await back_up(engine, tenant, tmp_path)
    tenant.run(f"ALTER DATABASE `{tenant.database}` CHARACTER SET latin1 COLLATE latin1_bin")
    assert await restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows("SELECT @@collation_database") == (("utf8mb4_unicode_ci",),)


async def test_events_that_pass(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """An event that is gone or disabled once it is over is no part of the schema; one without an end is."""
    tenant.run(
        "CREATE EVENT once ON SCHEDULE AT '2035-01-01' DO SELECT 1",
        "CREATE EVENT season ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' ENDS '2031-01-01'"
        " ON COMPLETION PRESERVE DO SELECT 1",
        "CREATE EVENT ever ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SELECT ' ENDS '",
    )
    backup = await back_up(engine, tenant, tmp_path)
    assert await restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows(
        "SELECT count(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()"
    ) == ((3,),)
    tenant.run("DROP EVENT once", "ALTER EVENT season DISABLE")
    async with engine.open(tenant.target) as session:
        assert (await session.mark()).fingerprint == backup.fingerprint
        tenant.run("ALTER EVENT ever DISABLE")
        assert (await session.mark()).fingerprint != backup.fingerprint


async def test_rows_are_committed(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """Also where the tenant's `session` statements turn autocommit off."""
    tenant.run(ITEMS, FILL)
    tenant.target = msgspec.structs.replace(tenant.target, session=("SET autocommit = 0",))
    backup = await back_up(engine, tenant, tmp_path)
    assert await restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows("SELECT count(*) FROM items") == ((2,),)


async def test_applied_set_comes_back(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """The marker is again what it was at the backup, under the restore's fence."""
    async with engine.open(tenant.target) as session:
        await session.apply(work(ITEMS, FILL, version="1"), Journal())
        backup = await session.backup(tmp_path / "b.sql.zst", deadline_seconds=60)
        await session.apply(work("DROP TABLE items", version="2", expected=["app/1"]), Journal())
    await restore(engine, tenant, backup, epoch=5)
    async with engine.open(tenant.target) as session:
        marker = await session.marker()
    assert [entry.ref.version for entry in marker.entries] == ["1"]
    assert marker.epoch == 5


async def test_routines_of_other_modes(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """What a backslash or a double quote means in a routine's text is what it meant when it was made."""
    tenant.run(
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "CREATE PROCEDURE path() SELECT 'C:\\' AS p",
        "SET sql_mode = 'ANSI_QUOTES'",
        'CREATE PROCEDURE named() SELECT 1 AS "it\\"',
        "SET sql_mode = ''",
        "CREATE PROCEDURE plain() SELECT 'it\\'s' AS p",
    )
    backup = await back_up(engine, tenant, tmp_path)
    tenant.run("DROP PROCEDURE path", "DROP PROCEDURE named", "DROP PROCEDURE plain")
    assert await restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows("CALL path()") == (("C:\\",),)
    assert tenant.rows("CALL plain()") == (("it's",),)


async def test_packages(engine: MysqlEngine, on_mariadb: Tenant, tmp_path: Path) -> None:
    """Packages, which only the ORACLE mode can drop, come back, and so does all that is beside them."""
    on_mariadb.run(
        ITEMS,
        FILL,
        "SET sql_mode = 'ORACLE'",
        "CREATE PACKAGE pack AS FUNCTION one RETURN INT; END",
        "CREATE PACKAGE BODY pack AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END",
    )
    backup = await back_up(engine, on_mariadb, tmp_path)
    on_mariadb.run("DELETE FROM items")
    assert await restore(engine, on_mariadb, backup) == backup.fingerprint
    assert on_mariadb.rows("SELECT count(*) FROM items") == ((2,),)
    assert on_mariadb.rows(f"SELECT `{on_mariadb.database}`.pack.one()") == ((1,),)


async def test_sequences_in_another_database(
    engine: MysqlEngine, on_mariadb: Tenant, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """A default that takes a sequence's value takes that of its own database, and is no difference."""
    copy = Tenant(on_mariadb.server, make_database(on_mariadb.server))
    on_mariadb.run(
        "CREATE SEQUENCE numbers",
        "CREATE TABLE bills (id INT PRIMARY KEY DEFAULT (NEXT VALUE FOR numbers), x INT)",
        "INSERT INTO bills (x) VALUES (1), (2)",
    )
    backup = await back_up(engine, on_mariadb, tmp_path)
    assert await restore(engine, copy, backup) == backup.fingerprint
    copy.run("INSERT INTO bills (x) VALUES (3), (4), (5)")
    on_mariadb.run("INSERT INTO bills (x) VALUES (6)")
    assert on_mariadb.rows("SELECT max(id) FROM bills") < copy.rows("SELECT max(id) FROM bills")


@pytest.mark.parametrize("prefix", ["", "wp_2_"])
async def test_history_of_versioned_tables(
    engine: MysqlEngine, on_mariadb: Tenant, tmp_path: Path, prefix: str
) -> None:
    """What a system-versioned table held earlier comes back with its times."""
    tenant = Tenant(on_mariadb.server, on_mariadb.database, prefix=prefix)
    rows = f"SELECT x, ROW_START, ROW_END FROM {prefix}kept FOR SYSTEM_TIME ALL ORDER BY ROW_START"
    tenant.run(
        f"CREATE TABLE {prefix}kept (id INT PRIMARY KEY, x INT) WITH SYSTEM VERSIONING",
        f"INSERT INTO {prefix}kept VALUES (1, 10), (2, 20)",
        f"UPDATE {prefix}kept SET x = 11 WHERE id = 1",
        f"DELETE FROM {prefix}kept WHERE id = 2",
    )
    before = tenant.rows(rows)
    assert len(before) == 3
    backup = await back_up(engine, tenant, tmp_path)
    tenant.run(f"DROP TABLE {prefix}kept")
    assert await restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows(rows) == before


async def test_aria_tables(engine: MysqlEngine, on_mariadb: Tenant, tmp_path: Path) -> None:
    """A default that only SHOW CREATE TABLE writes out is no change of the schema."""
    on_mariadb.run("CREATE TABLE plain (id INT) ENGINE=Aria")
    backup = await back_up(engine, on_mariadb, tmp_path)
    on_mariadb.run("DROP TABLE plain")
    # Another process has not seen the schema before.
    other = MysqlEngine()
    try:
        assert await restore(other, on_mariadb, backup) == backup.fingerprint
    finally:
        await other.aclose()
