"""The real database servers that tests talk to: found, or started for one test run.

Invariant: whatever listens because of us listens on loopback or a socket only,
and is stopped by its own process id. A server that cannot be had fails the
test with what to install; nothing is skipped.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pymysql
import pytest

from ledger.drivers.url import MysqlUrl, SecretSource, parse_url
from tests.mariadbd import PrivateMariadb, find_mariadbd
from tests.mysqld import PrivateMysql

ROOT = Path(__file__).resolve().parent.parent
Flavor = Literal["mariadb", "mysql"]
Rows = tuple[tuple[Any, ...], ...]

_SOCKETS = (
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
)
_NO_MARIADB = (
    "MariaDB is not installed, and the tests need a real one. Install it with "
    "`sudo apt-get install mariadb-server` (`.ci/test` does so where it may), or name a server: "
    "LEDGER_TEST_MARIADB=mysql://root@127.0.0.1:3306"
)
_NO_MYSQL = (
    "There is no MySQL for the tests that need a real one. `.ci/mysql` brings its own "
    "(see `.ci/mysql-server`), or name a server: LEDGER_TEST_MYSQL=mysql://root@127.0.0.1:33306\n"
)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: an account that may do everything, and what it is."""

    url: MysqlUrl
    secret: SecretSource
    flavor: Flavor

    def url_for(self, database: str | None = None) -> MysqlUrl:
        """The same server, at `database`."""
        return msgspec.structs.replace(self.url, database=database)

    @property
    def collation(self) -> str:
        """What a client of the server's own version has as collation of its connection."""
        ((name,),) = queries(self, ("SET NAMES utf8mb4", "SELECT @@collation_connection"))
        return str(name)

    @property
    def password(self) -> str:
        """The password in clear, for drivers and clients; empty when there is none."""
        return "" if self.secret.value is None else self.secret.value.reveal()


@contextmanager
def connect(server: Server, database: str | None = None) -> Iterator[pymysql.Connection[Any]]:
    """A plain autocommit PyMySQL connection, closed at the end."""
    connection = pymysql.connect(
        host=server.url.host,
        port=server.url.port,
        unix_socket=server.url.unix_socket,
        user=server.url.user,
        password=server.password,
        database=database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=10,
        local_infile=False,
    )
    try:
        yield connection
    finally:
        connection.close()


def query(server: Server, sql: str, *, database: str | None = None) -> Rows:
    """Run one statement on a connection of its own and return its rows."""
    return queries(server, (sql,), database=database)


def queries(server: Server, statements: Sequence[str], *, database: str | None = None) -> Rows:
    """Run statements one after the other on one connection; the last one's rows."""
    with connect(server, database) as connection, connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)
        return tuple(cursor.fetchall())


def left_scratch(server: Server) -> Rows:
    """Scratch databases of wishes that nobody uses: another test's is held by the lock of its name."""
    return query(
        server,
        "SELECT schema_name FROM information_schema.schemata"
        " WHERE schema_name LIKE 'ledger\\_scratch\\_w%' AND IS_FREE_LOCK(schema_name)",
    )


def statements(server: Server, databases: Sequence[str], start: str) -> list[int]:
    """The connections in those databases whose statement begins so: other tests run theirs beside."""
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db IN %s AND info LIKE %s",
            (tuple(databases), f"{start}%"),
        )
        return [int(number) for (number,) in cursor.fetchall()]


def create_database(server: Server, prefix: str = "t") -> str:
    """Make an empty database with a random name that starts with `prefix`."""
    name = f"{prefix}_{secrets.token_hex(6)}"
    query(server, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    return name


def drop_database(server: Server, name: str) -> None:
    """Drop the database if it still exists, first ending connections that hold its locks."""
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> connection_id()",
            (name,),
        )
        for (process,) in cursor.fetchall():
            try:
                cursor.execute(f"KILL {int(process)}")
            except pymysql.err.OperationalError as error:
                if error.args[0] != 1094:  # Unknown thread: it has gone by itself.
                    raise
        cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")


def find_mariadb(run_folder: Path) -> Server:
    """The MariaDB of this test run: configured, already running, or started once and shared."""
    if given := os.environ.get("LEDGER_TEST_MARIADB"):
        return _given(given, "LEDGER_TEST_MARIADB", "mariadb")
    with file_lock(run_folder / "mariadb.lock"):
        known = run_folder / "mariadb.json"
        if known.exists():
            return msgspec.json.decode(known.read_bytes(), type=Server)
        server = _running_mariadb() or _start_shared_mariadb(run_folder)
        known.write_bytes(msgspec.json.encode(server))
        return server


def find_mysql(run_folder: Path) -> Server:
    """The MySQL of this test run: configured, or the project's own, started once and shared."""
    if given := os.environ.get("LEDGER_TEST_MYSQL"):
        return _given(given, "LEDGER_TEST_MYSQL", "mysql")
    with file_lock(run_folder / "mysql.lock"):
        known = run_folder / "mysql.json"
        if known.exists():
            return msgspec.json.decode(known.read_bytes(), type=Server)
        started = subprocess.run(
            [ROOT / ".ci" / "mysql-server", "up"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if started.returncode != 0:
            pytest.fail(_NO_MYSQL + started.stderr, pytrace=False)
        # Whoever starts it stops it: a server that was already up (exit 0, "running") stays.
        address, state = started.stdout.split()
        server = _given(address, ".ci/mysql-server", "mysql")
        if state == "started":
            (run_folder / "mysql.started").touch()
        known.write_bytes(msgspec.json.encode(server))
        return server


def stop_started(run_folder: Path) -> None:
    """End of the test run: stop the servers that it started, and no others."""
    shared = run_folder / "mariadb"
    if shared.exists():
        PrivateMariadb(shared).stop()
    # A worker that was ended in the middle of a test has left that test's servers.
    for left in run_folder.glob("private-*"):
        PrivateMariadb(left).remove()
    for left in run_folder.glob("mysqld-*"):
        PrivateMysql(left).remove()
    if (run_folder / "mysql.started").exists():
        subprocess.run([ROOT / ".ci" / "mysql-server", "down"], check=True)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold `path` exclusively among all processes of one test run."""
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def private_template(run_folder: Path) -> Path:
    """An initialised, empty data folder that private servers of this run are copied from."""
    if find_mariadbd() is None:
        pytest.fail(_NO_MARIADB, pytrace=False)
    with file_lock(run_folder / "template.lock"):
        template = run_folder / "template"
        if not template.exists():
            PrivateMariadb.initialise(template)
        return template


def _start_shared_mariadb(run_folder: Path) -> Server:
    private = PrivateMariadb.create(run_folder / "mariadb", private_template(run_folder))
    private.start()
    return as_server(private)


def as_server(private: PrivateMariadb | PrivateMysql) -> Server:
    """A private server's address, as the tests want it."""
    url = MysqlUrl(host="127.0.0.1", port=private.port, user="root")
    flavor: Flavor = "mysql" if isinstance(private, PrivateMysql) else "mariadb"
    return Server(url=url, secret=SecretSource(), flavor=flavor)


def _running_mariadb() -> Server | None:
    """A MariaDB on this machine's usual addresses that lets root in without a password."""
    addresses = [MysqlUrl(host="127.0.0.1", user="root")]
    addresses += [
        MysqlUrl(host="127.0.0.1", user="root", unix_socket=path)
        for path in _SOCKETS
        if _is_served(path)
    ]
    for url in addresses:
        server = Server(url=url, secret=SecretSource(), flavor="mariadb")
        try:
            ((version, user),) = query(server, "SELECT version(), user()")
        except pymysql.err.OperationalError:
            continue  # Nobody there, or root has a password: the next address, then our own server.
        if "MariaDB" in str(version) and str(user).startswith("root@"):
            return server
    return None


def _is_served(path: str) -> bool:
    """Whether somebody listens: a killed server leaves its socket's file behind."""
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _given(text: str, source: str, flavor: Flavor) -> Server:
    url, secret = parse_url(text, source=source)
    if not isinstance(url, MysqlUrl):
        pytest.fail(f"{source} must be a mysql:// URL", pytrace=False)
    server = Server(url=url, secret=SecretSource(value=secret), flavor=flavor)
    ((version,),) = query(server, "SELECT version()")
    if ("MariaDB" in str(version)) != (flavor == "mariadb"):
        pytest.fail(f"{source} names a server of version {version}, not {flavor}", pytrace=False)
    return server
