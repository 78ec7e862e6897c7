"""Backups and restores of MySQL and MariaDB tenants: all of a tenant, nothing of its neighbours, no secrets."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import msgspec
import pymysql
import pytest
import zstandard

from ledger.drivers.url import Secret, SecretSource
from ledger.engines.base import Backup
from ledger.engines.mysql.backup.container import Contents, Writer
from ledger.engines.mysql.backup.dumpfile import statements
from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import BackupError, RestoreError
from tests.certificates import make_certificates
from tests.conftest import MakeDatabase, MakePrivateMariadb, MakePrivateServer
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant, tenant
from tests.engines.work import LEDGER, Journal, work
from tests.mariadbd import PrivateMariadb
from tests.servers import Server, as_server, connect, create_database, query

__all__ = ["tenant"]

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


@pytest.fixture
async def engine() -> AsyncIterator[MysqlEngine]:
    """An engine."""
    made = MysqlEngine()
    yield made
    await made.aclose()


async def _back_up(engine: MysqlEngine, tenant: Tenant, folder: Path) -> Backup:
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        return await session.backup(folder / "backup.sql.zst", deadline_seconds=60)


async def _restore(engine: MysqlEngine, tenant: Tenant, backup: Backup, *, epoch: int = 2) -> str:
    async with engine.open(tenant.target) as session:
        mark = await session.restore(
            backup.path, sha256=backup.sha256, epoch=epoch, ledger=LEDGER, deadline_seconds=60
        )
    return mark.fingerprint or ""


def _only_mariadbs_program() -> bool:
    said = subprocess.check_output(["mysqldump", "--version"])
    return b"MariaDB" in said


def _sql_of(path: Path) -> bytes:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return reader.read()


@contextlib.contextmanager
def _account(tenant: Tenant, privileges: str) -> Iterator[Tenant]:
    """The tenant as an account sees it that may do this on it, and nothing elsewhere."""
    account = f"u_{secrets.token_hex(6)}"
    query(tenant.server, f"CREATE USER '{account}'@'%' IDENTIFIED BY ''")
    query(tenant.server, f"GRANT {privileges} ON `{tenant.database}`.* TO '{account}'@'%'")
    seen = Tenant(tenant.server, tenant.database)
    url = msgspec.structs.replace(tenant.target.url, user=account)
    seen.target = msgspec.structs.replace(tenant.target, url=url, secret=SecretSource())
    try:
        yield seen
    finally:
        query(tenant.server, f"DROP USER '{account}'@'%'")


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
    backup = await _back_up(engine, tenant, tmp_path)
    assert b"'two'" in _sql_of(backup.path)
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
    backup = await _back_up(engine, tenant, tmp_path)
    assert b"'two'" in _sql_of(backup.path)


async def test_everything_comes_back(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """Rows of every kind, keys, views on views, triggers, routines and events are as they were."""
    tenant.run(*EVERYTHING)
    before = [tenant.rows(f"SELECT * FROM {name}") for name in ("kinds", "children", "seen")]
    backup = await _back_up(engine, tenant, tmp_path)
    tenant.run(
        "DROP VIEW above",
        "DROP PROCEDURE work_it",
        "DROP TABLE children",
        "UPDATE kinds SET words = 'spoiled'",
        "CREATE TABLE intruder (id INT)",
        "CREATE VIEW intruding AS SELECT 1",
        "CREATE PROCEDURE intrude() SELECT 1",
    )
    assert await _restore(engine, tenant, backup) == backup.fingerprint
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
    if tenant.server.flavor == "mysql" and _only_mariadbs_program():
        with pytest.raises(BackupError, match="generated") as caught:
            await _back_up(engine, tenant, tmp_path)
        assert "mysql-client" in caught.value.hint
        assert list(tmp_path.iterdir()) == []
        return
    backup = await _back_up(engine, tenant, tmp_path)
    tenant.run("DELETE FROM sums")
    await _restore(engine, tenant, backup)
    assert tenant.rows("SELECT * FROM sums ORDER BY a") == ((1, 2, 3), (2, 3, 4))


async def test_defaults_of_the_database(
    engine: MysqlEngine, tenant: Tenant, tmp_path: Path
) -> None:
    """What a new table gets that names no character set is what it was, too."""
    backup = await _back_up(engine, tenant, tmp_path)
    tenant.run(f"ALTER DATABASE `{tenant.database}` CHARACTER SET latin1 COLLATE latin1_bin")
    assert await _restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows("SELECT @@collation_database") == (("utf8mb4_unicode_ci",),)


async def test_events_that_pass(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """An event that is gone or disabled once it is over is no part of the schema; one without an end is."""
    tenant.run(
        "CREATE EVENT once ON SCHEDULE AT '2035-01-01' DO SELECT 1",
        "CREATE EVENT season ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' ENDS '2031-01-01'"
        " ON COMPLETION PRESERVE DO SELECT 1",
        "CREATE EVENT ever ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01' DO SELECT ' ENDS '",
    )
    backup = await _back_up(engine, tenant, tmp_path)
    assert await _restore(engine, tenant, backup) == backup.fingerprint
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
    backup = await _back_up(engine, tenant, tmp_path)
    assert await _restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows("SELECT count(*) FROM items") == ((2,),)


async def test_applied_set_comes_back(engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
    """The marker is again what it was at the backup, under the restore's fence."""
    async with engine.open(tenant.target) as session:
        await session.apply(work(ITEMS, FILL, version="1"), Journal())
        backup = await session.backup(tmp_path / "b.sql.zst", deadline_seconds=60)
        await session.apply(work("DROP TABLE items", version="2", expected=["app/1"]), Journal())
    await _restore(engine, tenant, backup, epoch=5)
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
    backup = await _back_up(engine, tenant, tmp_path)
    tenant.run("DROP PROCEDURE path", "DROP PROCEDURE named", "DROP PROCEDURE plain")
    assert await _restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows("CALL path()") == (("C:\\",),)
    assert tenant.rows("CALL plain()") == (("it's",),)


@pytest.fixture
def on_mariadb(mariadb: Server, make_database: MakeDatabase) -> Tenant:
    """An empty database on MariaDB, for what MySQL does not have."""
    return Tenant(mariadb, make_database(mariadb))


async def test_packages(engine: MysqlEngine, on_mariadb: Tenant, tmp_path: Path) -> None:
    """Packages, which only the ORACLE mode can drop, come back, and so does all that is beside them."""
    on_mariadb.run(
        ITEMS,
        FILL,
        "SET sql_mode = 'ORACLE'",
        "CREATE PACKAGE pack AS FUNCTION one RETURN INT; END",
        "CREATE PACKAGE BODY pack AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END",
    )
    backup = await _back_up(engine, on_mariadb, tmp_path)
    on_mariadb.run("DELETE FROM items")
    assert await _restore(engine, on_mariadb, backup) == backup.fingerprint
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
    backup = await _back_up(engine, on_mariadb, tmp_path)
    assert await _restore(engine, copy, backup) == backup.fingerprint
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
    backup = await _back_up(engine, tenant, tmp_path)
    tenant.run(f"DROP TABLE {prefix}kept")
    assert await _restore(engine, tenant, backup) == backup.fingerprint
    assert tenant.rows(rows) == before


async def test_aria_tables(engine: MysqlEngine, on_mariadb: Tenant, tmp_path: Path) -> None:
    """A default that only SHOW CREATE TABLE writes out is no change of the schema."""
    on_mariadb.run("CREATE TABLE plain (id INT) ENGINE=Aria")
    backup = await _back_up(engine, on_mariadb, tmp_path)
    on_mariadb.run("DROP TABLE plain")
    # Another process has not seen the schema before.
    other = MysqlEngine()
    try:
        assert await _restore(other, on_mariadb, backup) == backup.fingerprint
    finally:
        await other.aclose()


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
        backup = await _back_up(engine, site, tmp_path)
        assert backup.covers == "prefix wp_2_"
        for prefix in ("wp_", "wp_2_", "wp_2_3_", "wpx2_"):
            site.run(
                f"INSERT INTO {prefix}posts VALUES (2, NULL)", f"CREATE TABLE {prefix}new (id INT)"
            )
        site.run("DROP PROCEDURE wp_2_proc")
        assert await _restore(engine, site, backup) == backup.fingerprint
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
            await _restore(engine, site, backup)
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
        backup = await _back_up(engine, site, tmp_path)
        assert await _restore(engine, site, backup) == backup.fingerprint
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
        with _account(site, privileges) as app, pytest.raises(BackupError, match=words):
            await _back_up(engine, app, tmp_path)
        assert list(tmp_path.iterdir()) == []

    async def test_empty_prefix_backs_up_nothing(
        self, engine: MysqlEngine, site: Tenant, tmp_path: Path
    ) -> None:
        """A prefix without tables does not become a backup of the whole database."""
        empty = Tenant(site.server, site.database, prefix="wp_9_")
        backup = await _back_up(engine, empty, tmp_path)
        assert b"posts" not in _sql_of(backup.path)
        await _restore(engine, empty, backup)
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


class TestSecrets:
    """The password, and who could see it."""

    @pytest.fixture
    def guarded(self, tenant: Tenant) -> Iterator[tuple[Tenant, str]]:
        """A tenant with an account of its own, and that account's password."""
        account, password = f"u_{secrets.token_hex(6)}", 'canary-"8\\1#; '
        quoted = password.replace("\\", "\\\\").replace("'", "''")
        tenant.run(
            ITEMS,
            FILL,
            f"CREATE USER '{account}'@'%' IDENTIFIED BY '{quoted}'",
            f"GRANT ALL ON `{tenant.database}`.* TO '{account}'@'%'",
        )
        url = msgspec.structs.replace(tenant.target.url, user=account)
        tenant.target = msgspec.structs.replace(
            tenant.target, url=url, secret=SecretSource(value=Secret(password))
        )
        yield tenant, password
        query(tenant.server, f"DROP USER '{account}'@'%'")

    async def test_password_is_in_no_argument_variable_or_file(
        self,
        engine: MysqlEngine,
        guarded: tuple[Tenant, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What the dump program gets is looked at by a program in its place, which then calls it."""
        tenant, _ = guarded
        monkeypatch.setenv("MYSQL_PWD", "wrong")
        seen = tmp_path / "seen"
        _in_place_of_dump(
            tmp_path, monkeypatch, f'env > {seen}; echo "$@" >> {seen}; exec {{}} "$@"'
        )
        backup = await _back_up(engine, tenant, tmp_path)
        assert "canary" not in seen.read_text()
        assert "MYSQL_PWD" not in seen.read_text()
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert b"canary" not in file.read_bytes(), file
        tenant.run("DROP TABLE items")
        assert await _restore(engine, tenant, backup) == backup.fingerprint

    async def test_password_is_cut_from_what_the_program_says(
        self,
        engine: MysqlEngine,
        guarded: tuple[Tenant, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Even a program that prints its options does not bring the password into an error."""
        tenant, password = guarded
        shown = password.replace("\\", "\\\\").replace('"', '\\"')
        _in_place_of_dump(tmp_path, monkeypatch, f"echo '{shown} {password}' >&2; exit 2")
        with pytest.raises(BackupError, match="exit code 2") as caught:
            await _back_up(engine, tenant, tmp_path)
        assert password not in str(caught.value)


def _in_place_of_dump(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A mariadb-dump of the test's own, first on the path."""
    real = subprocess.check_output(["which", "mariadb-dump"], text=True).strip()
    programs = folder / "programs"
    programs.mkdir()
    for name in ("mariadb-dump", "mysqldump"):
        program = programs / name
        version = f'case "$*" in *--version*) exec {real} "$@";; esac\n'
        program.write_text("#!/bin/sh\n" + version + script.replace("{}", real) + "\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


class TestFailures:
    """Backups that do not come to their end."""

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo 'CREATE TABLE t (id INT);'; echo 'no space left' >&2; exit 3", "no space left"),
            ("echo 'CREATE TABLE t (id INT);'", "did not come to its end"),
            ("kill -9 $$", "exit code -9"),
        ],
    )
    async def test_leave_nothing_behind(
        self,
        engine: MysqlEngine,
        tenant: Tenant,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        script: str,
        words: str,
    ) -> None:
        """A dump that fails, breaks off or is killed is an error with its words, and no file."""
        folder = tmp_path / "backups"
        folder.mkdir()
        _in_place_of_dump(tmp_path, monkeypatch, script)
        with pytest.raises(BackupError, match=words):
            await _back_up(engine, tenant, folder)
        assert list(folder.iterdir()) == []

    async def test_deadline(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dump that hangs is ended at the deadline."""
        _in_place_of_dump(tmp_path, monkeypatch, "exec sleep 60")
        folder = tmp_path / "backups"
        folder.mkdir()
        async with engine.open(tenant.target) as session:
            with pytest.raises(BackupError, match="within 1 s"):
                await session.backup(folder / "b", deadline_seconds=1)
        assert list(folder.iterdir()) == []

    async def test_no_program(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a dump program the error names the package to install."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BackupError) as caught:
            await _back_up(engine, tenant, tmp_path)
        assert "client" in caught.value.hint

    @pytest.mark.parametrize("when", ["asked", "dumping"])
    async def test_a_program_that_cannot_be_started(
        self,
        engine: MysqlEngine,
        tenant: Tenant,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        when: str,
    ) -> None:
        """It is the program that is named, and not the file that it was to write."""
        _in_place_of_dump(tmp_path, monkeypatch, "exit 1")
        folder = tmp_path / "backups"
        folder.mkdir()
        if when == "dumping":
            with pytest.raises(BackupError, match="exit code 1"):
                await _back_up(engine, tenant, folder)
        for program in (tmp_path / "programs").iterdir():
            program.write_bytes(b"\x7fELF of another machine")
        with pytest.raises(
            BackupError, match="dump cannot be started: exec format error"
        ) as caught:
            await _back_up(engine, tenant, folder)
        assert "PATH" in caught.value.hint
        assert list(folder.iterdir()) == []

    async def test_symlink_is_not_followed(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """A link at the final name is left alone, and so is what it points to."""
        precious = tmp_path / "precious"
        precious.write_text("precious")
        (tmp_path / "backup.sql.zst").symlink_to(precious)
        with pytest.raises(BackupError):
            await _back_up(engine, tenant, tmp_path)
        assert precious.read_text() == "precious"

    async def test_mode(self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
        """Only the owner can read it, whatever the umask."""
        old = os.umask(0)
        try:
            backup = await _back_up(engine, tenant, tmp_path)
        finally:
            os.umask(old)
        assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600

    async def test_a_privilege_that_is_lacking(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """Without TRIGGER a server may show no trigger: a backup without them is none."""
        tenant.run(
            ITEMS,
            "CREATE TRIGGER watch BEFORE INSERT ON items FOR EACH ROW SET NEW.id = NEW.id + 1",
        )
        may = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, SHOW VIEW, EVENT"
        with _account(tenant, may) as app, pytest.raises(BackupError, match="TRIGGER"):
            await _back_up(engine, app, tmp_path)
        assert list(tmp_path.iterdir()) == []

    async def test_is_read_back(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dump that no restore could read is no backup, though the program was content."""
        folder = tmp_path / "backups"
        folder.mkdir()
        script = "echo \"CREATE TABLE t (id INT COMMENT 'open);\"; echo '-- Dump completed'"
        _in_place_of_dump(tmp_path, monkeypatch, script)
        with pytest.raises(BackupError, match="no end"):
            await _back_up(engine, tenant, folder)
        assert list(folder.iterdir()) == []


class TestRefusedRestores:
    """What server and account would refuse half-way is refused before anything is dropped."""

    async def _refused(self, engine: MysqlEngine, tenant: Tenant, backup: Backup) -> RestoreError:
        with pytest.raises(RestoreError) as caught:
            await _restore(engine, tenant, backup)
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
        with _account(tenant, "ALL") as app:
            backup = await _back_up(engine, app, tmp_path)
            error = await self._refused(engine, app, backup)
            assert "root@" in error.message
            assert "GRANT SET" in error.hint
        assert await _restore(engine, tenant, backup, epoch=4) == backup.fingerprint

    async def test_a_privilege_that_is_lacking(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """An account that may not create views drops none."""
        tenant.run(ITEMS, FILL, "CREATE SQL SECURITY INVOKER VIEW seen AS SELECT id FROM items")
        backup = await _back_up(engine, tenant, tmp_path)
        may = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, SHOW VIEW, TRIGGER"
        with _account(tenant, may) as app:
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
        backup = await _back_up(engine, tenant, tmp_path)
        error = await self._refused(engine, tenant, backup)
        assert "the server takes 1048576" in error.message
        tenant.run("DROP TABLE files, goes_on", "SET GLOBAL max_allowed_packet = 4 << 20")
        # A connection has the limit that it began with.
        await engine.aclose()
        assert await _restore(engine, tenant, backup, epoch=4) == backup.fingerprint
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
        assert b"(1,'one'),\n(2,'two')" in _sql_of(backup.path)

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
            await _restore(engine, tenant, backup)
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
