"""`ledger doctor`: what is wrong is found and named, and nothing of a tenant is written."""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from ledger import Ledger
from ledger.engines.mysql.doctor.grants import missing
from tests.cli.terminal import Terminal, sqlite_run
from tests.cli.test_cli_mysql import address
from tests.servers import Server, query

MakeDatabase = Callable[..., str]

FIRST = "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(40));\n"


@pytest.fixture
def terminal(tmp_path: Path, terminal: Terminal) -> Terminal:
    """Two SQLite tenants that are migrated."""
    terminal.write("migrations/app/001_users.sql", FIRST)
    terminal.write(
        "ledger.toml", 'migrations = "migrations/app"\n[[tenants]]\nsqlite = "data/*.db"\n'
    )
    for name in ("acme", "beta"):
        sqlite_run(tmp_path / f"data/{name}.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--all-tenants")
    return terminal


def levels(document: dict[str, Any], tenant: str | None = None) -> dict[str, str]:
    """Each check's level, of a tenant or of everything else; a test server may do without syncs."""
    return {
        one["check"] if one["tenant"] else f"{one['area']}.{one['check']}": one["level"]
        for one in document["findings"]
        if one["tenant"] == tenant and one["check"] != "durability"
    }


def wrong(document: dict[str, Any]) -> list[tuple[str | None, str]]:
    """What failed: tenant and check."""
    return [
        (one["tenant"], one["check"]) for one in document["findings"] if one["level"] == "failed"
    ]


def test_a_sound_fleet(terminal: Terminal) -> None:
    """Everything is looked at, all of it is fine, and the exit code is 0."""
    made = terminal.ok("doctor", "--format", "json").json()
    assert made["sound"] and made["tenants"] == 2 and made["summary"]["failed"] == 0
    assert levels(made, "acme") == dict.fromkeys(
        ("connection", "version", "integrity", "foreign_keys", "privileges", "disk", "marker",
         "agreement"), "ok",
    )  # fmt: skip
    assert levels(made) == dict.fromkeys(
        ("host.versions", "ledger.connection", "ledger.writable", "ledger.disk",
         "backups.folder", "backups.disk"), "ok",
    )  # fmt: skip
    told = terminal.ok("doctor").out
    assert "aiosqlite" in told and "2 tenants checked, 2 sound" in told and "acme:" not in told
    assert "✓ acme: integrity: integrity_check: ok" in terminal.ok("doctor", "-v").out
    assert "quick_check" in terminal.ok("doctor", "-v", "--quick").out
    assert terminal.ok("doctor", "--format", "csv").out.startswith("area,tenant,check,level")
    assert terminal.ok("verify").code == 0


def test_no_tenant_is_written(terminal: Terminal) -> None:
    """The files stay byte for byte, no event is recorded, and configured settings are not run on them."""
    config = (terminal.folder / "ledger.toml").read_text()
    terminal.write(
        "ledger.toml", config + 'session = ["PRAGMA journal_mode = WAL"]\ncreate = true\n'
    )
    events = terminal.ok("history", "--format", "jsonl").out

    def state() -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (terminal.folder / "data").iterdir()
        }

    before = state()
    terminal.ok("doctor")
    assert state() == before
    assert terminal.ok("history", "--format", "jsonl").out == events


def test_what_an_application_left_in_its_wal_stays_there(terminal: Terminal) -> None:
    """Opening for writing would check a crashed application's -wal file in; doctor reads it as it is."""
    with closing(sqlite3.connect(terminal.folder / "data/acme.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE late (x)")
        database.commit()
        for name in ("acme.db", "acme.db-wal"):
            found = (terminal.folder / "data" / name).read_bytes()
            (terminal.folder / "data" / name.replace("acme", "crashed")).write_bytes(found)
    crashed = terminal.folder / "data/crashed.db"
    wal = terminal.folder / "data/crashed.db-wal"
    before = (crashed.read_bytes(), wal.read_bytes())
    made = terminal.run("doctor", "--tenant", "crashed", "--format", "json").json()
    assert levels(made, "crashed")["integrity"] == "ok"
    assert (crashed.read_bytes(), wal.read_bytes()) == before


def test_broken_tenants_are_named(terminal: Terminal) -> None:
    """A damaged file, dangling rows and a file that is none: each with what to do; exit 4."""
    beta = terminal.folder / "data/beta.db"
    sqlite_run(
        terminal.folder / "data/acme.db",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, user INT REFERENCES users(id))",
        "INSERT INTO child VALUES (1, 7), (2, 8)",
    )
    sqlite_run(
        beta,
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
        " INSERT INTO users SELECT i, printf('%040d', i) FROM n",
    )
    with beta.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(os.urandom(3 * 4096))
    (terminal.folder / "data/nonsense.db").write_bytes(b"not a database at all" * 100)
    ended = terminal.run("doctor", "--format", "json")
    assert ended.code == 4
    found = wrong(ended.json())
    assert ("acme", "foreign_keys") in found and ("nonsense", "connection") in found
    assert ("beta", "integrity") in found
    told = terminal.run("doctor").out
    assert "✗ acme: foreign_keys: 2 rows of child refer to no row of users" in told
    assert "hint: " in told and "3 tenants checked, 0 sound" in told


def test_marker_and_ledger_that_disagree(terminal: Terminal) -> None:
    """A tenant whose marker lost an entry, and one that belongs to another ledger."""
    sqlite_run(terminal.folder / "data/acme.db", "DELETE FROM ledger_marker WHERE id <> ''")
    ended = terminal.run("doctor", "--format", "json")
    assert ended.code == 4 and wrong(ended.json()) == [("acme", "agreement")]
    assert "only the ledger has app/001" in ended.out
    config = (terminal.folder / "ledger.toml").read_text()
    terminal.write("ledger.toml", 'url = "sqlite:///other.db"\n' + config)
    sqlite_run(terminal.folder / "data/gamma.db", "CREATE TABLE mine (x)")
    terminal.ok("migrate", "--tenant", "gamma")
    ended = terminal.run("doctor", "--tenant", "beta", "--format", "json")
    assert ended.code == 4 and "belongs to another ledger" in ended.out


def test_host_ledger_and_backups(terminal: Terminal) -> None:
    """An open backup folder, a ledger that is damaged or not there: found, and the tenants are looked at too."""
    (terminal.folder / "backups").chmod(0o755)
    ended = terminal.run("doctor", "--format", "json")
    assert ended.code == 4 and levels(ended.json())["backups.folder"] == "failed"
    assert "chmod 700" in ended.out
    (terminal.folder / "backups").chmod(0o700)
    (terminal.folder / "ledger.db").write_bytes(b"no ledger" * 1000)
    ended = terminal.run("doctor", "--format", "json")
    assert ended.code == 4 and levels(ended.json())["ledger.connection"] == "failed"
    assert levels(ended.json(), "acme")["integrity"] == "ok"
    (terminal.folder / "ledger.db").unlink()
    ended = terminal.run("doctor", "--format", "json")
    assert ended.code == 4 and levels(ended.json())["ledger.tenants"] == "failed"
    for name in ("acme", "beta"):
        (terminal.folder / "data" / f"{name}.db").unlink()
        sqlite_run(terminal.folder / "data" / f"{name}.db", "CREATE TABLE mine (x)")
    made = terminal.ok("doctor", "--format", "json").json()
    assert levels(made)["ledger.connection"] == "warning"
    assert not (terminal.folder / "ledger.db").exists()


def test_from_python(terminal: Terminal) -> None:
    """The same as a value."""
    ledger = Ledger.open(terminal.folder / "ledger.toml")
    report = anyio.run(partial(ledger.doctor, "acme", quick=True))
    assert report.sound and report.tenants == 1 and report.exit_code == 0
    assert {one.tenant for one in report.findings} == {None, "acme"}


def test_on_a_server(terminal: Terminal, sql_server: Server, make_database: MakeDatabase) -> None:
    """Databases: sound ones, one with a table that is not InnoDB, and one that is not there."""
    names = sorted(make_database(sql_server) for _ in range(2))
    env = configure(terminal, sql_server, [*names, "not_there_at_all"])
    ended = terminal.run("migrate", "--tenant", names[0], "--tenant", names[1], env=env)
    assert ended.code == 0
    query(sql_server, "CREATE TABLE old (x INT) ENGINE=MyISAM", database=names[1])
    events = terminal.ok("history", "--format", "jsonl", env=env).out
    ended = terminal.run("doctor", "--format", "json", env=env)
    made = ended.json()
    assert ended.code == 4 and wrong(made) == [("not_there_at_all", "connection")]
    assert levels(made, names[0]) == dict.fromkeys(
        ("connection", "version", "privileges", "server", "backup_client", "engines",
         "integrity", "marker", "agreement"), "ok",
    )  # fmt: skip
    assert levels(made, names[1])["engines"] == "warning"
    assert "old (MyISAM)" in ended.out and "CHECK TABLE: 1 ok" in ended.out
    assert terminal.ok("history", "--format", "jsonl", env=env).out == events
    quick = terminal.ok("doctor", "--quick", "--tenant", names[0], "--format", "json", env=env)
    assert "integrity" not in levels(quick.json(), names[0])


def configure(terminal: Terminal, server: Server, names: list[str]) -> dict[str, str]:
    """A ledger of its own over these databases."""
    named = 'password_env = "TEST_PASSWORD"\n' if server.password else ""
    terminal.write(
        "ledger.toml",
        'url = "sqlite:///server.db"\nmigrations = "migrations/app"\n'
        f'[[tenants]]\n{named}mysql = "{address(server)}"\ndatabases = {names!r}\n',
    )
    return {"TEST_PASSWORD": server.password}


def test_an_account_that_may_only_read(
    terminal: Terminal, sql_server: Server, make_database: MakeDatabase
) -> None:
    """What migrations need and the account lacks is named, with the GRANT to type."""
    database = make_database(sql_server)
    name, password = f"t{secrets.token_hex(6)}", secrets.token_hex(12)
    hosts = ("%", "localhost")
    for host in hosts:
        query(sql_server, f"CREATE USER `{name}`@`{host}` IDENTIFIED BY '{password}'")
        query(sql_server, f"GRANT SELECT, SHOW VIEW ON `{database}`.* TO `{name}`@`{host}`")
    try:
        place = address(sql_server, database).replace(f"//{sql_server.url.user}@", f"//{name}@")
        terminal.write(
            "ledger.toml",
            'url = "sqlite:///server.db"\nmigrations = "migrations/app"\n'
            f'[[tenants]]\nmysql = "{place}"\npassword_env = "WEAK"\n',
        )
        ended = terminal.run("doctor", "--format", "json", env={"WEAK": password})
        assert ended.code == 4 and (database, "privileges") in wrong(ended.json())
        (found,) = [one for one in ended.json()["findings"] if one["check"] == "privileges"]
        assert "CREATE" in found["detail"] and "SELECT" not in found["detail"]
        assert found["hint"].startswith("GRANT INSERT, ")
        assert password not in ended.out + ended.err
    finally:
        for host in hosts:
            query(sql_server, f"DROP USER `{name}`@`{host}`")


@pytest.mark.parametrize(
    ("grants", "lacks_create", "by_role"),
    [
        (["GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION"], False, False),
        (["GRANT USAGE ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*AB'"], True, False),
        (["GRANT ALL PRIVILEGES ON `tenant\\_%`.* TO `a`@`%`"], False, False),
        (["GRANT ALL PRIVILEGES ON `tenantX%`.* TO `a`@`%`"], True, False),
        (["GRANT ALL PRIVILEGES ON `tenant_1`.* TO `a`@`%`"], False, False),
        (["GRANT ALL PRIVILEGES ON `other`.* TO `a`@`%`"], True, False),
        (["GRANT CREATE ON `tenant_1`.`users` TO `a`@`%`"], True, False),
        (["GRANT USAGE ON *.* TO `a`@`%`", "GRANT `app_role`@`%` TO `a`@`%`"], True, True),
        (["GRANT SELECT, CREATE (x, y), DROP ON *.* TO `a`@`%`"], False, False),
    ],
)
def test_grants_are_read_as_servers_write_them(
    grants: list[str], lacks_create: bool, by_role: bool
) -> None:
    """Global, by database, by LIKE pattern, by table and by role."""
    found = missing(grants, "tenant_1")
    assert ("CREATE" in found.to_migrate) == lacks_create
    assert found.by_role == by_role
