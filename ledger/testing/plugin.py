"""The pytest plugin: options, and fixtures for throw-away tenants.

Invariant: without a fixture of ours in use it does nothing, and imports nothing
of the package's heavy parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from ledger.drivers.application import Application
    from ledger.testing.places import Place
    from ledger.testing.tenant import Tenant

_VARIABLES = ("LEDGER_TEST_MYSQL", "LEDGER_TEST_MARIADB")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--ledger-mysql`, and the ini keys."""
    group = parser.getgroup("ledger", "tests of migrations")
    group.addoption(
        "--ledger-mysql",
        metavar="URL",
        help="Test migrations on this MySQL or MariaDB server, too (mysql://USER@HOST:PORT);"
        f" or {' or '.join(_VARIABLES)} in the environment.",
    )
    parser.addini("ledger_mysql", "URL of a MySQL or MariaDB server to test migrations on")
    parser.addini("ledger_migrations", "folders of migrations (default: migrations)", type="paths")
    parser.addini("ledger_functions", "MODULE:NAME, called with each SQLite connection", default="")
    parser.addini(
        "ledger_extensions", "extensions to load into each SQLite connection", type="paths"
    )
    parser.addini("ledger_variables", "NAME=VALUE for placeholders, one a line", type="linelist")
    parser.addini(
        "ledger_engines", "the engines of ledger_tenant: sqlite, mysql (default: all there are)",
        type="args",
    )  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`ledger_tenant` is each engine's tenant in turn."""
    if "ledger_tenant" in metafunc.fixturenames:
        engines = metafunc.config.getini("ledger_engines")
        if not engines:
            engines = ["sqlite", "mysql"] if server_url(metafunc.config) else ["sqlite"]
        metafunc.parametrize("ledger_tenant", engines, indirect=True)


def server_url(config: pytest.Config) -> str:
    """The server's URL, from the command line, the ini file or the environment; or nothing."""
    asked = config.getoption("--ledger-mysql") or config.getini("ledger_mysql")
    return asked or next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "")


@pytest.fixture
def sqlite_tenant(request: pytest.FixtureRequest, tmp_path: Path) -> Tenant:
    """A new SQLite tenant that follows the project's migrations, none of them applied."""
    from ledger.testing.places import SqlitePlace

    folder = tmp_path / "ledger-sqlite"
    folder.mkdir()
    return _tenant(request, SqlitePlace(folder, _application(request.config)), folder)


@pytest.fixture
def mysql_tenant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tenant]:
    """A new database on the MySQL or MariaDB server, dropped at the test's end."""
    from ledger.testing.places import mysql_place

    url = server_url(request.config)
    if not url:
        pytest.fail(
            f"no server to test on: give --ledger-mysql URL, ledger_mysql or {_VARIABLES[0]}",
            pytrace=False,
        )
    folder = tmp_path / "ledger-mysql"
    folder.mkdir()
    with mysql_place(url) as place:
        yield _tenant(request, place, folder)


@pytest.fixture
def ledger_tenant(request: pytest.FixtureRequest) -> Tenant:
    """A new tenant on SQLite; and, where a server is given, on that as another test."""
    engine: Literal["sqlite", "mysql"] = request.param
    tenant: Tenant = request.getfixturevalue(f"{engine}_tenant")
    return tenant


def _application(config: pytest.Config) -> Application | None:
    from ledger.drivers.application import Application

    functions, extensions = config.getini("ledger_functions"), config.getini("ledger_extensions")
    if not functions and not extensions:
        return None
    return Application(
        source="pytest's ledger_functions and ledger_extensions",
        functions=functions,
        extensions=tuple(map(str, extensions)),
        folder=str(config.rootpath),
    )


def _tenant(request: pytest.FixtureRequest, place: Place, folder: Path) -> Tenant:
    from ledger.config import Config
    from ledger.drivers.url import SqliteUrl
    from ledger.testing.tenant import Tenant

    folders = request.config.getini("ledger_migrations") or [request.config.rootpath / "migrations"]
    pairs = (line.partition("=") for line in request.config.getini("ledger_variables"))
    config = Config(
        base=folder,
        migrations=tuple(Path(one) for one in folders),
        backups=folder / "backups",
        backup="never",
        url=SqliteUrl(path=str(folder / "ledger.db")),
        variables={name.strip(): value.strip() for name, _, value in pairs},
        allow_python=True,
        tenants=(place.source(),),
    )
    return Tenant(place, config, folder)
