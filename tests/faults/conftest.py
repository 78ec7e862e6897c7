"""Worlds to hurt: `make_world(kind)` gives one of SQLite files, or of databases on a server.

The server is this test process' own: what is killed here must not be anybody else's.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import run_folder
from tests.faults.world import ServerWorld, SqliteWorld, World
from tests.mariadbd import PrivateMariadb
from tests.servers import Server, as_server, private_template

MakeWorld = Callable[..., World]


@pytest.fixture(scope="session")
def own_mariadb() -> Iterator[Server]:
    """A MariaDB for the fault tests of this process; it writes its log less often than a real one."""
    folder = run_folder() / f"faults-{secrets.token_hex(4)}"
    private = PrivateMariadb.create(folder, private_template(run_folder()))
    private.start("--innodb-flush-log-at-trx-commit=2", "--max-connections=500")
    yield as_server(private)
    private.remove()


@pytest.fixture(params=["mariadb", pytest.param("mysql", marks=pytest.mark.mysql)])
def on(request: pytest.FixtureRequest) -> str:
    """The kinds of servers in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def own_server(on: str, request: pytest.FixtureRequest) -> Server:
    """The server of that kind that `make_world` uses."""
    server: Server = request.getfixturevalue("own_mariadb" if on == "mariadb" else on)
    return server


@pytest.fixture
def make_world(
    tmp_path: Path, request: pytest.FixtureRequest, make_database: Callable[..., str]
) -> Iterator[MakeWorld]:
    """`make_world("sqlite" | "mariadb" | "mysql", **more)`; every call makes another one.

    Whatever the test does, no process of its worlds is left.
    """
    with worlds(tmp_path, request, make_database) as make:
        yield make


@contextmanager
def worlds(
    tmp_path: Path, request: pytest.FixtureRequest, make_database: Callable[..., str]
) -> Iterator[MakeWorld]:
    """What `make_world` gives, for a block."""
    ends = ExitStack()
    number = itertools.count()

    def make(kind: str, **more: Any) -> World:
        root = tmp_path / f"world-{next(number)}"
        world: World
        if kind == "sqlite":
            world = SqliteWorld(root, **more)
        else:
            fixture = "own_mariadb" if kind == "mariadb" else kind
            server: Server = more.pop("server", None) or request.getfixturevalue(fixture)
            names = [make_database(server, prefix) for prefix in ("ledger", "whole", "shared")]
            world = ServerWorld(root, server, names, **more)
        ends.callback(world.end)
        return world

    with ends:
        yield make
