"""What would make a run fail is one list, before its first step."""

from __future__ import annotations

import anyio
import pytest

from ledger.api import Ledger
from ledger.calls.call import Call, begin
from ledger.errors import PreflightError
from ledger.events import Mark
from ledger.fleet.progress import Progress
from ledger.fleet.run import Bounds
from tests.conftest import MakePrivateMariadb
from tests.faults.conftest import MakeWorld
from tests.faults.world import ServerWorld, World
from tests.servers import Server, as_server, query

ALL = ("migrate", "--all-tenants")


def of(world: World) -> ServerWorld:
    """The world as one on a server."""
    assert isinstance(world, ServerWorld)
    return world


def log_in_as(world: ServerWorld, server: Server, *grants: str) -> str:
    """Let the tenants be opened by an account that has these privileges on them only."""
    user = f"small_{world.whole[-8:]}"
    query(server, f"CREATE USER {user}@'%'")
    for database in (world.whole, world.shared):
        query(server, f"GRANT {', '.join(grants)} ON `{database}`.* TO {user}@'%'")
    config = world.root / "ledger.toml"
    config.write_text(config.read_text().replace("mysql://root@", f"mysql://{user}@"))
    return user


def refused(world: ServerWorld, *words: str) -> None:
    """Nothing was begun: no event, no table."""
    ended = world.run(*ALL)
    assert ended.code == 1, ended
    for word in words:
        assert word in ended.err, ended.err
    assert all(state == {} for state in world.state().values())
    assert world.history() == []


@pytest.mark.fault("preflight")
def test_a_read_only_server_is_refused(
    private_mariadb: MakePrivateMariadb, make_world: MakeWorld
) -> None:
    """A replica: named, with what to do."""
    server = as_server(private_mariadb())
    world = of(make_world("mariadb", server=server, local_ledger=True))
    log_in_as(world, server, "ALL PRIVILEGES")
    query(server, "SET GLOBAL read_only = 1")
    refused(world, "read-only", "primary")
    query(server, "SET GLOBAL read_only = 0")
    world.ok(*ALL)


@pytest.mark.fault("preflight")
def test_missing_privileges_are_named(own_mariadb: Server, make_world: MakeWorld) -> None:
    """All that are lacking, at once, with the GRANT."""
    world = of(make_world("mariadb", local_ledger=True))
    user = log_in_as(world, own_mariadb, "SELECT", "INSERT")
    refused(world, "CREATE", "ALTER", "GRANT")
    query(own_mariadb, f"DROP USER {user}@'%'")


@pytest.mark.fault("preflight")
def test_a_statement_that_the_server_does_not_take(
    private_mariadb: MakePrivateMariadb, make_world: MakeWorld
) -> None:
    """max_allowed_packet: refused before the steps ahead of it have run."""
    server = as_server(private_mariadb("--max-allowed-packet=1M"))
    world = of(make_world("mariadb", server=server, local_ledger=True))
    many = "x" * 2_000_000
    (world.root / "migrations" / "004_big.sql").write_text(f"SELECT '{many}';\n")
    refused(world, "max_allowed_packet")


@pytest.mark.fault("preflight")
def test_durability_settings_are_warned_about(make_world: MakeWorld) -> None:
    """The run goes on, and says what a power loss could take back."""
    world = make_world("mariadb")
    ended = world.ok(*ALL)
    assert "innodb_flush_log_at_trx_commit is 2" in ended.out + ended.err


@pytest.mark.fault("preflight", 22)
def test_backups_that_will_not_fit_are_refused(make_world: MakeWorld) -> None:
    """By the sizes that the ledger knows, before the first of them is made."""
    world = make_world("sqlite")
    world.ok("migrate", "--all-tenants", "--to", "001")
    before = len(world.history())
    anyio.run(_that_will_not_fit, world)
    assert len(world.history()) == before


async def _that_will_not_fit(world: World) -> None:
    async with Ledger.open(world.root / "ledger.toml") as ledger, ledger._ready() as ready:
        ctx, chosen = await begin(ready, "migrate", ["*"], actor="me", progress=Progress())
        ctx.fleet.tenants["a"].mark = Mark(fingerprint="f", bytes=1 << 60)

        async def never(*_: object) -> None:
            raise AssertionError("nothing may be begun")

        with pytest.raises(PreflightError, match="backups of this run need"):
            await Call(ready, ctx, chosen, Bounds(), Progress()).run(never)  # type: ignore[arg-type]
