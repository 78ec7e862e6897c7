"""Fixtures of all tests: real servers, and databases of one test's own.

`mariadb` and `mysql` are running servers, `sql_server` is each of them in turn,
`make_database` gives fresh databases, `private_mariadb` servers to be killed.
Under pytest-xdist all workers share what one of them found or started.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.cli.terminal import Terminal
from tests.mariadbd import PrivateMariadb
from tests.mysqld import PrivateMysql
from tests.place import MakePlace, Place
from tests.servers import (
    Server,
    create_database,
    drop_database,
    find_mariadb,
    find_mysql,
    private_template,
    stop_started,
)

MakeDatabase = Callable[..., str]
MakePrivateMariadb = Callable[..., PrivateMariadb]
MakePrivateServer = Callable[[str], PrivateMariadb | PrivateMysql]

# A busy machine makes no example wrong.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

_RUN_FOLDER = "LEDGER_TEST_RUN_FOLDER"


def pytest_configure(config: pytest.Config) -> None:
    """The controller makes the folder in which its workers find each other's servers."""
    if not hasattr(config, "workerinput"):
        os.environ[_RUN_FOLDER] = tempfile.mkdtemp(prefix="ledger-tests-")
        # A job that is ended from outside ends as with Ctrl-C, and so stops its servers.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller stops what was started, after the last worker has ended."""
    if not hasattr(config, "workerinput") and (folder := os.environ.pop(_RUN_FOLDER, None)):
        stop_started(Path(folder))
        shutil.rmtree(folder)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Bring MySQL before the first test: fetching it may take longer than a test's time limit."""
    if session.config.option.collectonly:
        return
    if any(item.get_closest_marker("mysql") for item in session.items):
        find_mysql(run_folder())


def run_folder() -> Path:
    """The folder that all processes of this test run share."""
    return Path(os.environ[_RUN_FOLDER])


@pytest.fixture(scope="session")
def mariadb() -> Server:
    """A running MariaDB."""
    return find_mariadb(run_folder())


@pytest.fixture(scope="session")
def mysql() -> Server:
    """A running MySQL, for tests marked `mysql`."""
    return find_mysql(run_folder())


@pytest.fixture(scope="session", params=["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def sql_server(request: pytest.FixtureRequest) -> Server:
    """MariaDB, and in the MySQL job MySQL too."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def make_database() -> Iterator[MakeDatabase]:
    """`make_database(server, prefix="t")`: a fresh database's name; dropped at the test's end."""
    made: list[tuple[Server, str]] = []

    def make(server: Server, prefix: str = "t") -> str:
        name = create_database(server, prefix)
        made.append((server, name))
        return name

    yield make
    for server, name in made:
        drop_database(server, name)


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """A command line in an empty folder; many files have one of this name with a fleet in it."""
    return Terminal(tmp_path, monkeypatch, capsys)


@pytest.fixture
def make_place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> MakePlace:
    """`make_place("sqlite" | "mariadb" | "mysql", head="")`: two tenants there, and a command line."""

    def make(engine: str, *, head: str = "") -> Place:
        terminal = Terminal(tmp_path, monkeypatch, capsys)
        if engine == "sqlite":
            return Place(engine, terminal, head=head)
        server, make_database = (request.getfixturevalue(one) for one in (engine, "make_database"))
        return Place(engine, terminal, server, make_database, head=head)

    return make


@pytest.fixture
def private_mariadb() -> Iterator[MakePrivateMariadb]:
    """`private_mariadb(*options)`: a started server that only this test has, to stop and kill.

    Its address as a `Server` is `tests.servers.as_server(private)`.
    """
    made: list[PrivateMariadb] = []

    def make(*options: str) -> PrivateMariadb:
        folder = run_folder() / f"private-{secrets.token_hex(6)}"
        private = PrivateMariadb.create(folder, private_template(run_folder()))
        made.append(private)
        private.start(*options)
        return private

    yield make
    for private in made:
        private.remove()


@pytest.fixture
def private_server(private_mariadb: MakePrivateMariadb) -> Iterator[MakePrivateServer]:
    """`private_server("mariadb" | "mysql")`: a started server that only this test has."""
    made: list[PrivateMysql] = []

    def make(kind: str) -> PrivateMariadb | PrivateMysql:
        if kind == "mariadb":
            return private_mariadb()
        mysqld = PrivateMysql.create(run_folder() / f"mysqld-{secrets.token_hex(6)}")
        made.append(mysqld)
        mysqld.start()
        return mysqld

    yield make
    for mysqld in made:
        mysqld.remove()
