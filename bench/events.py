"""A made-up history for the ledger benches: whole tenants' lives, events of about 320 bytes."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from bench.options import Options
from bench.server import Server
from ledger import events as ev
from ledger.drivers.url import MysqlUrl, Secret, SecretSource, SqliteUrl
from ledger.stores import open_store
from ledger.stores.base import Append
from ledger.stores.store import Store

RUN, ACTOR = "01BENCH000000000000000000", "bench@bench"
HOLDER = ev.Holder(host="bench", boot="b" * 32, pid=1, started=0, nonce="n" * 16)
REF = ev.MigrationRef(set="bench", version="001", name="workload", checksum="c" * 64)
STEPS = 13

_numbers = itertools.count()


def step(number: int) -> ev.StepApplied:
    """What most of a ledger is made of."""
    return ev.StepApplied(
        set=REF.set,
        version=REF.version,
        direction="up",
        step=number,
        of=STEPS,
        name=f"Create index number {number} on the assistants table",
        statement="5" * 64,
        duration_us=1234,
        rows=0,
    )


def new(event: ev.AnyEvent) -> ev.NewEvent:
    """By the bench's run."""
    return ev.NewEvent(event=event, run=RUN, actor=ACTOR)


def life(tenant: str) -> Append:
    """A tenant's whole migration, 16 events, as one request."""
    happened: list[ev.AnyEvent] = [
        ev.Started(
            command="migrate",
            epoch=1,
            holder=HOLDER,
            lease_seconds=60.0,
            engine="sqlite",
            migration=REF,
            steps=STEPS,
        ),
        *(step(number) for number in range(1, STEPS + 1)),
        ev.Validated(passed=True, set=REF.set, version=REF.version, fingerprint="f" * 64),
        ev.Completed(command="migrate", migration=REF, duration_us=2500),
    ]
    return Append(stream=f"tenant/{tenant}", events=tuple(new(event) for event in happened))


def steps(tenant: str, count: int) -> Append:
    """One request of `count` events."""
    return Append(
        stream=f"tenant/{tenant}",
        events=tuple(new(step(number)) for number in range(count)),
    )


Url = SqliteUrl | MysqlUrl


@contextmanager
def ledger_url(engine: str, folder: Path, options: Options) -> Iterator[tuple[Url, SecretSource]]:
    """A place for one ledger; on a server a database of its own, dropped in the end."""
    if engine == "sqlite":
        yield SqliteUrl(path=str(folder / f"ledger-{next(_numbers)}.db")), SecretSource()
        return
    server = Server.parse(options.server)
    name = f"bench_ledger_{folder.name[-8:].lower()}_{next(_numbers)}"
    server.query(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    try:
        secret = SecretSource(value=Secret(server.password)) if server.password else SecretSource()
        yield msgspec.structs.replace(server.url, database=name), secret
    finally:
        server.query(f"DROP DATABASE `{name}`")


@asynccontextmanager
async def new_store(url: Url, secret: SecretSource) -> AsyncIterator[Store]:
    """A new ledger, open, its writer connected by a first event."""
    async with open_store(url, secret, create=True) as store:
        await store.append(steps("first", 1))
        yield store
