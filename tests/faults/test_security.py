"""Names, identifiers, secrets, file modes and hostile input."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld
from tests.faults.world import ServerWorld, SqliteWorld, sqlite_sql
from tests.programs import Ended
from tests.servers import Server, create_database, drop_database, query

ALL = ("migrate", "--all-tenants")
CANARY = "c4n4ry-w0rd-fau1ts"


def _command_lines() -> list[str]:
    """The arguments of all processes, as everybody on this machine may read them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
            lines.append(path.read_bytes().decode("utf-8", "replace"))
    return lines


def refused(ended: Ended, *words: str) -> None:
    """A mistake that is named, before anything ran, without a traceback."""
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err, ended.err


@pytest.mark.fault(39)
@pytest.mark.parametrize(
    "name", ["../../x", "a/b", "..", "", "a\nb", "-rf", "a\x1b[31m", "x" * 300, "a\\b", "."]
)
def test_a_hostile_tenant_name_is_refused(name: str, make_world: MakeWorld) -> None:
    """A name becomes part of paths and streams: what could leave the backup folder is refused."""
    world = make_world("sqlite")
    sqlite_sql(world.root / "control.db", "CREATE TABLE tenants (name TEXT, url TEXT)")
    url = f"sqlite:///{world.root}/data/a.db"
    quoted = name.replace("'", "''")
    sqlite_sql(world.root / "control.db", f"INSERT INTO tenants VALUES ('{quoted}', '{url}')")
    (world.root / "ledger.toml").write_text(
        'migrations = "migrations"\n[[tenants]]\nquery = "SELECT name, url FROM tenants"\n'
        f'url = "sqlite:///{world.root}/control.db"\n'
    )
    before = sorted(path.name for path in world.root.parent.iterdir())
    refused(world.run(*ALL), "name")
    assert sorted(path.name for path in world.root.parent.iterdir()) == before
    assert sqlite_sql(world.root / "data" / "a.db", "SELECT count(*) FROM sqlite_master") == [(0,)]


@pytest.mark.fault(40)
@pytest.mark.parametrize("prefix", ["wp_; DROP TABLE x; --", "wp`_", "wp_'", "wp-", "wp_ "])
def test_sql_in_a_prefix_is_refused(prefix: str, make_world: MakeWorld) -> None:
    """A prefix is pasted into statements: letters, digits, _ and $ are all there may be in it."""
    world = make_world("sqlite")
    (world.root / "ledger.toml").write_text(
        'migrations = "migrations"\n[[tenants]]\nmysql = "mysql://root@127.0.0.1:9/x"\n'
        f'prefixes = ["{prefix}"]\n'
    )
    refused(world.run(*ALL), "prefix")


@pytest.mark.fault(40)
def test_sql_in_a_prefix_that_a_query_brings_is_refused(
    own_mariadb: Server, make_world: MakeWorld
) -> None:
    """The same for what a database says: it is not trusted more than a file."""
    world = make_world("sqlite")
    (world.root / "ledger.toml").write_text(
        f'migrations = "migrations"\n[[tenants]]\nmysql = "mysql://root@127.0.0.1:{own_mariadb.url.port}/mysql"\n'
        "prefixes_query = \"SELECT 'wp_`; DROP DATABASE x'\"\n"
    )
    ended = world.run(*ALL)
    assert ended.code in (2, 3), ended
    assert "prefix" in ended.err + ended.out


@pytest.mark.fault(40)
def test_a_hostile_database_name_is_quoted(own_mariadb: Server, make_world: MakeWorld) -> None:
    """A database may be called anything: every statement quotes it."""
    bait = create_database(own_mariadb, "bait")
    name = f"we`ird; DROP DATABASE {bait}; -- '\\"
    quoted = "`" + name.replace("`", "``") + "`"
    query(own_mariadb, f"CREATE DATABASE {quoted}")
    try:
        world = make_world("mariadb")
        config = world.root / "ledger.toml"
        assert isinstance(world, ServerWorld)
        toml = name.replace("\\", "\\\\")
        config.write_text(config.read_text().replace(f'["{world.whole}"]', f'["{toml}"]'))
        world.ok(*ALL)
        world.ok("rollback", "--all-tenants", "--to", "001", "-y")
        world.ok("restore", "--all-tenants", "-y")
        assert query(own_mariadb, f"SHOW TABLES FROM {quoted} LIKE 'notes'") == (("notes",),)
        assert query(own_mariadb, f"SHOW DATABASES LIKE '{bait}'") == ((bait,),)
    finally:
        query(own_mariadb, f"DROP DATABASE {quoted}")
        drop_database(own_mariadb, bait)


@pytest.mark.fault(41)
@pytest.mark.parametrize("right", [True, False])
def test_a_password_is_nowhere(right: bool, own_mariadb: Server, make_world: MakeWorld) -> None:
    """Not in output, logs, errors, events, backups, process lists or any file; right or wrong."""
    world = make_world("mariadb")
    assert isinstance(world, ServerWorld)
    user = f"canary_{world.whole[-8:]}"
    password = CANARY if right else "something-else"
    query(own_mariadb, f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
    query(own_mariadb, f"GRANT ALL ON *.* TO {user}@'%'")
    try:
        config = world.root / "ledger.toml"
        text = config.read_text().replace("mysql://root@", f"mysql://{user}@")
        text = text.replace('url = "mysql', 'password_env = "CANARY"\nurl = "mysql', 1)
        config.write_text(text.replace("[[tenants]]", '[[tenants]]\npassword_env = "CANARY"'))
        (world.root / "migrations" / "004_bad.sql").write_text(
            "SELECT no_such_column FROM notes;\n"
        )
        seen: list[str] = []
        environment = {"CANARY": CANARY, "LEDGER_DEBUG": "1"}
        for arguments in (
            ("-vv", *ALL),
            ("--log-format", "json", *ALL),
            ("status",),
            ("history", "--format", "jsonl"),
            ("rollback", "--all-tenants", "--to", "001", "-y"),
            ("restore", "--all-tenants", "-y"),
            ("plan",),
            ("validate", "--all-tenants"),
            ("verify",),
            ("--no-such-option",),
        ):
            running = world.start(*arguments, environment=environment)
            while not running.over:
                seen += _command_lines()
                seen.append(str(query(own_mariadb, "SHOW FULL PROCESSLIST")))
            ended = running.wait()
            seen += [ended.out, ended.err]
        assert not [text for text in seen if CANARY in text]
        for path in world.root.rglob("*"):
            if path.is_file():
                assert CANARY.encode() not in path.read_bytes(), path
        dumped = query(own_mariadb, f"SELECT body FROM `{world.ledger}`.events") if right else ()
        assert CANARY not in str(dumped)
    finally:
        query(own_mariadb, f"DROP USER {user}@'%'")


@pytest.mark.fault(42)
def test_a_backup_folder_that_others_can_read_is_refused(make_world: MakeWorld) -> None:
    """Backups hold whole databases: 0700 and 0600, or nothing is begun."""
    world = make_world("sqlite")
    backups = world.root / "backups"
    backups.mkdir(mode=0o755)
    backups.chmod(0o755)
    refused(world.run(*ALL), "backup folder", "chmod 700")
    backups.chmod(0o700)
    before = os.umask(0)
    try:
        world.ok(*ALL)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in backups.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in backups.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o600}, {0o700})


@pytest.mark.fault(42)
@pytest.mark.parametrize("inside", [False, True])
def test_a_symlinked_backup_folder_is_refused(
    inside: bool, make_world: MakeWorld, tmp_path: Path
) -> None:
    """The folder, or a tenant's in it: a link leads where nobody has looked at the rights."""
    world = make_world("sqlite")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if inside:
        (world.root / "backups").mkdir(mode=0o700)
        (world.root / "backups" / "a").symlink_to(elsewhere)
    else:
        (world.root / "backups").symlink_to(elsewhere)
    ended = world.run(*ALL)
    assert ended.code in (2, 3), ended
    assert "link" in ended.err + ended.out
    assert list(elsewhere.iterdir()) == []


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    "content",
    [
        "{" * 5000,
        "[]",
        "null",
        '{"001": {"dependencies": {"deep": [1]}}}',
        '{"001": {"file": "../../../etc/passwd"}}',
        '{"002": {"rollback_file": "../../../etc/passwd"}}',
        '{"001": {"estimated_time_seconds": "soon"}}',
        '{"001": {"tables_created": "notes"}}',
    ],
)
def test_a_hostile_manifest_is_refused(content: str, make_world: MakeWorld) -> None:
    """Decoded strictly: what it may not hold is an error that names the file, before anything runs."""
    world = make_world("sqlite")
    (world.root / "migrations" / "version.json").write_text(content)
    refused(world.run(*ALL), "version.json")
    assert isinstance(world, SqliteWorld)
    assert world.state() == {"a": {}, "b": {}}


@pytest.mark.fault(43)
def test_a_large_manifest_is_not_read(make_world: MakeWorld) -> None:
    """There is a limit to what is a description."""
    world = make_world("sqlite")
    (world.root / "migrations" / "version.json").write_bytes(
        b'{"description": "' + b"x" * 50_000_000 + b'"}'
    )
    refused(world.run(*ALL), "version.json")


@pytest.mark.fault(43)
def test_python_runs_only_where_it_is_enabled(make_world: MakeWorld) -> None:
    """A .py file in the folder is neither imported nor skipped in silence."""
    world = make_world("sqlite")
    (world.root / "migrations" / "004_evil.py").write_text(
        "import pathlib\npathlib.Path('evil').touch()\nversion = '004'\nasync def up(tenant): ...\n"
    )
    refused(world.run(*ALL), "004_evil.py")
    assert not (world.root / "evil").exists()
