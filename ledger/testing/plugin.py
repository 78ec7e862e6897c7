"""The pytest plugin: options, and fixtures for throw-away tenants.

Invariant: without a fixture of ours in use it does nothing, and imports nothing
of the package's heavy parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import pytest

if TYPE_CHECKING:
    from ledger.drivers.application import Application
    from ledger.engines.throwaway import Throwaway
    from ledger.testing.tenant import Tenant


class Asked(NamedTuple):
    """What a kind of database is tested with.

    Where it has a server, `server` names it to people, and `form` is its URL, given by
    `--ledger-KIND`, by the ini key `ledger_KIND` or by one of `variables` in the environment.
    """

    server: str = ""
    form: str = ""
    variables: tuple[str, ...] = ()


ENGINES: Final = {
    "sqlite": Asked(),
    "mysql": Asked(
        "MySQL or MariaDB server",
        "mysql://USER@HOST:PORT",
        ("LEDGER_TEST_MYSQL", "LEDGER_TEST_MARIADB"),
    ),
}
_INI: Final[tuple[tuple[str, Literal["paths", "string", "linelist"], str], ...]] = (
    ("ledger_migrations", "paths", "folders of migrations (default: migrations)"),
    ("ledger_functions", "string", "MODULE:NAME, called with each SQLite connection"),
    ("ledger_extensions", "paths", "extensions to load into each SQLite connection"),
    ("ledger_variables", "linelist", "NAME=VALUE for placeholders, one a line"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--ledger-mysql`, and the ini keys."""
    group = parser.getgroup("ledger", "tests of migrations")
    for name, asked in ENGINES.items():
        if asked.server:
            group.addoption(
                f"--ledger-{name}",
                metavar="URL",
                help=f"Test migrations on this {asked.server}, too ({asked.form});"
                f" or {' or '.join(asked.variables)} in the environment.",
            )
            parser.addini(f"ledger_{name}", f"URL of a {asked.server} to test migrations on")
    for key, kind, text in _INI:
        parser.addini(key, text, type=kind)
    parser.addini(
        "ledger_engines",
        f"the engines of ledger_tenant: {', '.join(ENGINES)} (default: all there are)",
        type="args",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`ledger_tenant` is each engine's tenant in turn."""
    if "ledger_tenant" in metafunc.fixturenames:
        engines = metafunc.config.getini("ledger_engines") or [
            name
            for name, asked in ENGINES.items()
            if not asked.server or server_url(metafunc.config, name)
        ]
        metafunc.parametrize("ledger_tenant", engines, indirect=True)


def server_url(config: pytest.Config, engine: str) -> str:
    """The server's URL, from the command line, the ini file or the environment; or nothing."""
    asked = config.getoption(f"--ledger-{engine}") or config.getini(f"ledger_{engine}")
    variables = ENGINES[engine].variables
    return asked or next((os.environ[name] for name in variables if os.environ.get(name)), "")


@pytest.fixture
def sqlite_tenant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tenant]:
    """A new SQLite tenant that follows the project's migrations, none of them applied."""
    yield from _tenant(request, "sqlite", tmp_path)


@pytest.fixture
def mysql_tenant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tenant]:
    """A new database on the MySQL or MariaDB server, dropped at the test's end."""
    yield from _tenant(request, "mysql", tmp_path)


@pytest.fixture
def ledger_tenant(request: pytest.FixtureRequest) -> Tenant:
    """A new tenant on SQLite; and, where a server is given, on that as another test."""
    tenant: Tenant = request.getfixturevalue(f"{request.param}_tenant")
    return tenant


def _tenant(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant of this kind, gone at the test's end."""
    from ledger.engines.kind import imported
    from ledger.engines.kinds import KINDS

    asked, url = ENGINES[engine], ""
    if asked.server and not (url := server_url(request.config, engine)):
        pytest.fail(
            f"no server to test on: give --ledger-{engine} URL, ledger_{engine} or {asked.variables[0]}",
            pytrace=False,
        )
    folder = tmp_path / f"ledger-{engine}"
    folder.mkdir()
    make = imported(KINDS[engine].throwaway)
    with make(folder, url, _application(request.config)) as place:
        yield _following(request.config, place, folder)


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


def _following(asked: pytest.Config, place: Throwaway, folder: Path) -> Tenant:
    """The database as a tenant that follows the project's migrations."""
    from ledger.config import Config
    from ledger.drivers.url import DEFAULT_LEDGER, parse_url
    from ledger.testing.tenant import Tenant

    folders = asked.getini("ledger_migrations") or [asked.rootpath / "migrations"]
    pairs = (line.partition("=") for line in asked.getini("ledger_variables"))
    config = Config(
        base=folder,
        migrations=tuple(Path(folder) for folder in folders),
        backups=folder / "backups",
        backup="never",
        url=parse_url(DEFAULT_LEDGER, source="ledger.testing", base=folder)[0],
        variables={name.strip(): value.strip() for name, _, value in pairs},
        allow_python=True,
        tenants=(place.source,),
    )
    return Tenant(place, config, folder)
