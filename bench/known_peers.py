"""The peers: where each is found, how it is told to migrate one tenant, and how it is installed.

Invariant: a peer runs its own code with the configuration its own documentation
shows; one that is missing is named together with the line that installs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.child import Orders
from bench.children import CommandFailedError, Reading, environment, run_children
from bench.raw import MARK, MARKER
from bench.server import PASSWORD_ENV, Server
from bench.workloads import MIGRATION, VERSION, WORKLOADS

PEERS_FOLDER = Path(os.environ.get("LEDGER_BENCH_PEERS", Path(__file__).with_name(".peers")))
VENV_PYTHON = PEERS_FOLDER / "venv" / "bin" / "python"
SETUP = "python -m bench.setup_peers"


class Peer(NamedTuple):
    """`run` migrates all targets of the orders, `at_once` at the same time."""

    name: str
    engines: tuple[str, ...]
    install: str
    found: Callable[[], bool]
    run: Callable[[Orders, int], Reading]


Invocation = tuple[Sequence[str], str | None, Mapping[str, str]]
"""A command line, the file for its stdin, and what its environment needs."""


def _in_process(name: str, module: str, package: str, *engines: str) -> Peer:
    """A Python library, run in a loop inside one process of the peers' own environment."""

    def found() -> bool:
        return any(PEERS_FOLDER.glob(f"venv/lib/python*/site-packages/{package}"))

    def run(orders: Orders, at_once: int) -> Reading:
        return run_children(
            f"bench.peers.{module}", orders, at_once=at_once, python=str(VENV_PYTHON)
        )

    return Peer(f"{name} in one process", engines, SETUP, found, run)


def _command(
    name: str,
    install: str,
    found: Callable[[], str | None],
    prepare: Callable[[Orders, str], Callable[[str], Invocation]],
    *engines: str,
) -> Peer:
    """A program that is started once a tenant, as a shell loop would."""

    def run(orders: Orders, at_once: int) -> Reading:
        program = found()
        assert program is not None
        invoke = prepare(orders, program)
        began = time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            for done in [pool.submit(_invoke, invoke(target)) for target in orders["targets"]]:
                done.result()
        return Reading(seconds=time.perf_counter() - began)

    return Peer(name, engines, install, lambda: found() is not None, run)


def _invoke(invocation: Invocation) -> None:
    command, stdin, extra = invocation
    with Path(stdin or os.devnull).open() as given:
        done = subprocess.run(
            command,
            stdin=given,
            capture_output=True,
            text=True,
            env=environment(extra),
            check=False,
        )
    if done.returncode != 0:
        raise CommandFailedError(f"{' '.join(command)}:\n{done.stderr[-1500:]}{done.stdout[-500:]}")


def _dbmate_program() -> str | None:
    """The binary itself: npm's wrapper would start a Node process around it."""
    shipped = PEERS_FOLDER.glob("npm/node_modules/@dbmate/*/bin/dbmate")
    return next((str(path) for path in shipped), shutil.which("dbmate"))


def _dbmate(orders: Orders, program: str) -> Callable[[str], Invocation]:
    from bench.peers.address import url

    folder = Path(orders["folder"]) / "dbmate"
    folder.mkdir(parents=True, exist_ok=True)
    script = WORKLOADS[orders["engine"]].script()
    text = f"-- migrate:up\n{script}-- migrate:down\n"
    (folder / f"{VERSION}_{MIGRATION}.sql").write_text(text)

    def invoke(target: str) -> Invocation:
        address = url(orders, target, sqlite="sqlite:", mysql="mysql")
        command = (program, "--migrations-dir", str(folder), "--no-dump-schema", "migrate")
        return command, None, {"DATABASE_URL": address}

    return invoke


def _sqitch(orders: Orders, program: str) -> Callable[[str], Invocation]:
    from bench.peers.address import url

    sqlite = orders["engine"] == "sqlite"
    folder = Path(orders["folder"]) / "sqitch"
    (folder / "deploy").mkdir(parents=True, exist_ok=True)
    (folder / "sqitch.conf").write_text(f"[core]\n\tengine = {'sqlite' if sqlite else 'mysql'}\n")
    (folder / "sqitch.plan").write_text(
        "%syntax-version=1.0.0\n%project=bench\n\n"
        f"{MIGRATION} 2026-01-01T00:00:00Z bench <bench@example.org> # {VERSION}\n"
    )
    script = WORKLOADS[orders["engine"]].script()
    wrapped = f"BEGIN;\n{script}COMMIT;\n" if sqlite else script
    (folder / "deploy" / f"{MIGRATION}.sql").write_text(wrapped)

    def invoke(target: str) -> Invocation:
        address = url(orders, target, sqlite="db:sqlite:", mysql="db:mysql")
        # Its default registry is one for the folder or server, in which tenant 2 looks deployed.
        registry = f"sqitch_{Path(target).stem}" if sqlite else f"{target}_sqitch"
        command = (program, "-C", str(folder), "deploy", "--quiet", "--registry", registry, address)
        who = {"SQITCH_FULLNAME": "bench", "SQITCH_EMAIL": "bench@example.org"}
        return command, None, who

    return invoke


def _client(orders: Orders, program: str) -> Callable[[str], Invocation]:
    sqlite = orders["engine"] == "sqlite"
    path = Path(orders["folder"]) / "client.sql"
    script = f"{WORKLOADS[orders['engine']].script()}{MARKER};\n{MARK};\n"
    path.write_text(f"BEGIN IMMEDIATE;\n{script}COMMIT;\n" if sqlite else script)
    server = orders.get("server", {})
    password = os.environ.get(PASSWORD_ENV, "")

    def invoke(target: str) -> Invocation:
        if sqlite:
            return (program, "-bail", target), str(path), {}
        where = (
            (f"--socket={server['unix_socket']}",)
            if server["unix_socket"]
            else (f"--host={server['host']}", f"--port={server['port']}")
        )
        command = (program, "--no-defaults", *where, f"--user={server['user']}", target)
        return command, str(path), {"MYSQL_PWD": password} if password else {}

    return invoke


def _which(*names: str) -> Callable[[], str | None]:
    return lambda: next((found for name in names if (found := shutil.which(name))), None)


BOTH = ("sqlite", "mysql")
SQITCH_INSTALL = "apt-get install sqitch libdbd-sqlite3-perl libdbd-mysql-perl"

PEERS = (
    _command("sqlite3 client", "apt-get install sqlite3", _which("sqlite3"), _client, "sqlite"),
    _command(
        "mariadb client",
        "apt-get install mariadb-client",
        _which("mariadb", "mysql"),
        _client,
        "mysql",
    ),
    _in_process("sqlite-migrate", "sqlite_migrate", "sqlite_migrate", "sqlite"),
    _command("dbmate", SETUP, _dbmate_program, _dbmate, *BOTH),
    _in_process("yoyo", "yoyo", "yoyo", *BOTH),
    _in_process("alembic", "alembic", "alembic", *BOTH),
    _in_process("Django", "django", "django", *BOTH),
    _command("sqitch", SQITCH_INSTALL, _which("sqitch"), _sqitch, *BOTH),
)


def peers_for(engine: str) -> tuple[list[Peer], list[str]]:
    """The peers that are installed, and a line on each that is not."""
    known = [peer for peer in PEERS if engine in peer.engines]
    missing = [f"missing: {one.name} (install: {one.install})" for one in known if not one.found()]
    return [peer for peer in known if peer.found()], missing


def orders_for(engine: str, targets: list[str], folder: Path, server: Server | None) -> Orders:
    """What a peer, or the raw side, is told."""
    return {
        "engine": engine,
        "targets": targets,
        "folder": str(folder),
        "server": server.orders() if server is not None else {},
    }
