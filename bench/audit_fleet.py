"""A made-up audit of years, appended through the product's own store, and kept for the next reading.

Every run brings one migration of 15 steps to all tenants in turn, in appends of the sizes that runs
make. Tenants are empty files, as the ledger says: no command finds them changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import msgspec

from bench.events import HOLDER
from bench.options import Options
from bench.server import PASSWORD_ENV, Server
from ledger import events as ev
from ledger.calls.opened import new_engines
from ledger.calls.tenants import Chosen, choose_tenants
from ledger.config import Config, load_config
from ledger.fleet.recorded import kept, record_fleet, record_plan
from ledger.fleet.state import advance
from ledger.runner.holder import new_run_id
from ledger.stores import open_store
from ledger.stores.base import LEDGER_SCHEMA, Append, Script
from ledger.stores.chain import prepare
from ledger.stores.store import Store

FORMAT = 1
"""One more whenever what is generated changes: kept ledgers of another number are made anew."""

STEPS = 15
EVENTS_EACH = STEPS + 3
"""A tenant's events of one migration: claimed, its steps, validated, completed."""

APPEND_TENANTS = 64
ACTORS = 7
_MARK = ev.Mark(fingerprint="f" * 64, cookie=0, counter=0, bytes=0)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger of `events` over `tenants` in `folder`, with its configuration; on a server in `database`."""

    folder: Path
    engine: str
    events: int
    tenants: int
    database: str = ""

    @property
    def rounds(self) -> int:
        """The runs, of which each brings a migration; the last one may not come to all tenants."""
        return -(-self.events // (self.tenants * EVENTS_EACH))

    @property
    def config(self) -> Config:
        """The configuration, as commands read it."""
        return load_config(self.folder / "ledger.toml")

    def bytes(self, server: Server | None) -> int:
        """What the ledger takes on disk: with its indexes, projections and texts."""
        if server is None:
            return sum(path.stat().st_size for path in self.folder.glob("ledger.db*"))
        names = ", ".join(
            f"`{self.database}`.`{name}`"
            for (name,) in server.query(
                "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
                f" AND table_schema = '{self.database}'"
            )
        )
        server.query(f"ANALYZE TABLE {names}")
        ((size,),) = server.query(
            "SELECT SUM(data_length + index_length) FROM information_schema.tables"
            f" WHERE table_schema = '{self.database}'"
        )
        return int(size)


def cache_folder(options: Options) -> Path:
    """Where generated ledgers are kept: `--dir`, else the user's cache."""
    return options.dir or Path("~/.cache/migration-ledger/bench").expanduser()


def audit_of(engine: str, events: int, tenants: int, options: Options) -> Audit:
    """The kept ledger of this size, or a new one."""
    folder = cache_folder(options) / f"audit-{engine}-{events}-{tenants}"
    database = f"bench_audit_{events}_{tenants}" if engine == "mysql" else ""
    made = Audit(folder=folder, engine=engine, events=events, tenants=tenants, database=database)
    key = f"{LEDGER_SCHEMA} {FORMAT}"
    whole = folder / "whole"
    server = Server.parse(options.server) if engine == "mysql" else None
    there = server is None or server.names(database) == [database]
    if there and whole.exists() and whole.read_text() == key:
        return made
    shutil.rmtree(folder, ignore_errors=True)
    if server is not None:
        server.query(f"DROP DATABASE IF EXISTS `{database}`")
    _write(made, server)
    anyio.run(_generate, made)
    whole.write_text(key)
    return made


def _write(audit: Audit, server: Server | None) -> None:
    migrations, tenants = audit.folder / "migrations", audit.folder / "tenants"
    for folder in (migrations, tenants):
        folder.mkdir(parents=True)
    for number in range(audit.tenants):
        os.close(os.open(tenants / f"t{number:06}.db", os.O_CREAT | os.O_WRONLY))
    for number in range(1, audit.rounds + 1):
        steps = (
            f"-- step: Index column {step} of the table of migration {number}\n"
            f"CREATE INDEX i{number}_{step} ON t{number} (c{step});\n"
            for step in range(2, STEPS + 1)
        )
        columns = ", ".join(f"c{step} INTEGER" for step in range(1, STEPS + 1))
        text = f"-- step: Create the table\nCREATE TABLE t{number} ({columns});\n" + "".join(steps)
        (migrations / f"{number:03}_table_{number}.sql").write_text(text)
    password = ""
    url = '"sqlite:///ledger.db"'
    if server is not None:
        socket = f"?unix_socket={server.url.unix_socket}" if server.url.unix_socket else ""
        url = f'"{msgspec.structs.replace(server.url, database=audit.database)}{socket}"'
        password = f'password_env = "{PASSWORD_ENV}"\n' if server.password else ""
    (audit.folder / "ledger.toml").write_text(
        f'url = {url}\n{password}migrations = "migrations"\nbackup = "never"\n\n'
        '[[tenants]]\nsqlite = "tenants/*.db"\n'
    )


async def _generate(audit: Audit) -> None:
    """Append whole runs until the ledger holds this number of events."""
    config = audit.config
    engines = new_engines(config)
    try:
        chosen = await choose_tenants(config, engines, ["*"])
    finally:
        await engines.aclose()
    async with open_store(config.url, config.secret, create=True) as store:
        for number in range(audit.rounds):
            await _Run(store, chosen, number).append(audit.events)
            await advance(store)


class _Run:
    """One run's events: its plan, a migration on tenant after tenant, its end."""

    def __init__(self, store: Store, chosen: Chosen, number: int) -> None:
        self._store = store
        self._chosen = chosen
        self._number = number
        self._migration = next(iter(chosen.catalogues.values())).order[number]
        self._run = new_run_id()

    async def append(self, events: int) -> None:
        """All of the run, for as many tenants as the ledger is to have events."""
        chosen, refs = self._chosen, [self._migration.ref]
        fleet = record_fleet(chosen.found.targets, chosen.known, None, out_of_order=False)
        plan = kept(
            record_plan(
                "migrate",
                chosen.targets,
                lambda _: refs,
                fleet=kept(fleet).sha256,
                target=None,
                options={},
            )
        )
        seen = ev.FleetSeen(
            scope=chosen.scope,
            fleet=kept(fleet).sha256,
            tenants=len(fleet.tenants),
            follows=fleet.follows,
        )
        started = ev.RunStarted(
            command="migrate",
            tenants=len(chosen.targets),
            holder=HOLDER,
            lease_seconds=60.0,
            plan=plan.sha256,
        )
        began = (started,) if self._number else (seen, started)
        texts = {one.sha256: one.text for one in (plan, kept(fleet))}
        await self._store.append(
            msgspec.structs.replace(
                self._append(None, *began),
                scripts=tuple(
                    Script(sha256=key, content=text)
                    for key, text in (texts | dict(self._migration.contents)).items()
                ),
            )
        )
        room = events - (await self._store.head()).seq - 1
        names = chosen.names[: -(-max(0, room) // EVENTS_EACH)]
        for start in range(0, len(names), APPEND_TENANTS):
            some = names[start:][:APPEND_TENANTS]
            for part in (self._claims(some), self._ends(some)):
                await self._store.append_all([prepare(one) for one in part])
        ended = ev.RunFinished(outcomes={"migrated": len(names)}, duration_us=10**6)
        await self._store.append(self._append(None, ended))

    def _claims(self, names: Sequence[str]) -> Iterator[Append]:
        for name in names:
            yield self._append(
                name,
                ev.Started(
                    command="migrate",
                    epoch=self._number + 1,
                    holder=HOLDER,
                    lease_seconds=60.0,
                    engine="sqlite",
                    migration=self._migration.ref,
                    steps=STEPS,
                ),
            )

    def _ends(self, names: Sequence[str]) -> Iterator[Append]:
        ref = self._migration.ref
        steps = [
            ev.StepApplied(
                set=ref.set,
                version=ref.version,
                direction="up",
                step=step.number,
                of=STEPS,
                name=step.name,
                statement=step.sha256,
                duration_us=step.number * 100,
                rows=0,
            )
            for step in self._migration.up.steps
        ]
        validated = ev.Validated(
            passed=True, set=ref.set, version=ref.version, fingerprint="f" * 64
        )
        done = ev.Completed(
            command="migrate", migration=ref, duration_us=2500, mark=_MARK, bytes_before=0
        )
        for name in names:
            yield self._append(name, *steps, validated, done)

    def _append(self, tenant: str | None, *happened: ev.AnyEvent) -> Append:
        return Append(
            stream=f"run/{self._run}" if tenant is None else f"tenant/{tenant}",
            events=tuple(
                ev.NewEvent(event=one, run=self._run, actor=f"deploy{self._number % ACTORS}@bench")
                for one in happened
            ),
        )
