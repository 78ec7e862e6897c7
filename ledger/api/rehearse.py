"""`rehearse`: what migrate, rollback and migrate again would do, on copies of the chosen tenants."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import anyio.to_thread
import msgspec

from ledger import events as ev
from ledger.calls.discovery import Engines
from ledger.calls.opened import Look, Opened
from ledger.drivers.url import IN_MEMORY
from ledger.engines import engine_for
from ledger.engines.base import Engine, Target
from ledger.engines.kinds import KINDS
from ledger.errors import LedgerError, UnfinishedError, UsageError
from ledger.fleet.fanout import each_target
from ledger.fleet.planning import Decisions, left_alone, refuse_wrong_files
from ledger.fleet.progress import Progress, Unwatched
from ledger.plan import Catalogue, Options, others
from ledger.projections import FleetState, TenantState
from ledger.requests import Rehearse, Source
from ledger.runner.context import RunContext, Settings
from ledger.runner.holder import new_run_id
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.references import kept_schema
from ledger.runner.rehearsal import Rehearsal, not_rehearsed
from ledger.runner.rehearse import rehearse_tenant
from ledger.schema import Schema
from ledger.stores import open_store

FOLDER: Final = "ledger-rehearse-"
LEASE_SECONDS: Final = 7 * 86400.0
"""Nobody else knows the scratch ledger: its claims need not be renewed."""


class RehearsalReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the rehearsal of every chosen tenant came to. `left_out` is how many a sample passed over,
    `notes` name those that follow no set with the version asked for."""

    tenants: tuple[Rehearsal, ...]
    left_out: int = 0
    notes: tuple[str, ...] = ()
    duration_us: int = 0

    @property
    def summary(self) -> dict[str, int]:
        """How many tenants had which result."""
        counts: dict[str, int] = {}
        for one in self.tenants:
            counts[one.result] = counts.get(one.result, 0) + 1
        return counts

    @property
    def exit_code(self) -> int:
        """4 if something failed in the rehearsal, 3 if a tenant could not be rehearsed, else 0."""
        if "failed" in self.summary:
            return 4
        return 3 if "error" in self.summary else 0


def choose_sample(
    targets: Sequence[Target], fleet: FleetState, sample: int | None
) -> tuple[Target, ...]:
    """At most `sample` tenants, of every engine and applied set some, the same each time."""
    if sample is None:
        return tuple(targets)
    groups: dict[tuple[str, int], list[Target]] = {}
    for target in targets:
        key = (target.engine, id(fleet.tenant(target.name).applied))
        groups.setdefault(key, []).append(target)
    taken: list[Target] = []
    depth = 0
    while len(taken) < min(sample, len(targets)):
        taken += [group[depth] for group in groups.values() if depth < len(group)]
        depth += 1
    return tuple(sorted(taken[:sample], key=lambda target: target.name))


async def rehearse(look: Look, request: Rehearse, progress: Progress) -> RehearsalReport:
    """Rehearse every chosen tenant; one value for each, and for each source that was lost.

    Raises ChecksumMismatchError, as `migrate` would, if a migration was edited after it ran.
    """
    ready, fleet, chosen = look
    options = ready.options(request.to, request.out_of_order)
    began = anyio.current_time()
    alone = others(chosen.catalogues, options.to)
    decisions = Decisions(fleet, options)
    refuse_wrong_files(chosen.targets, chosen.catalogues, decisions)
    concerned = [target for target in chosen.targets if target.name not in alone]
    targets = choose_sample(concerned, fleet, request.sample)
    newest = await _newest_backups(ready, fleet, request.source)
    timeouts = ready.config.timeouts
    engines = Engines(
        lambda name: engine_for(
            name, connect_seconds=timeouts.connect_seconds, lock_seconds=timeouts.lock_seconds
        )
    )

    strangers = {one.tenant: one.error for one in chosen.strangers}
    with private_folder() as folder:

        async def work(target: Target) -> Rehearsal:
            if target.name in strangers:
                return not_rehearsed(target.name, strangers[target.name])
            try:
                problem = decisions.problem(target.name, chosen.catalogues[target.name])
                if isinstance(problem, UnfinishedError):
                    raise problem
                return await _one(
                    ready,
                    engines[target.engine],
                    target,
                    chosen.catalogues[target.name],
                    options,
                    newest.get(target.name),
                    request.source,
                    folder,
                    whole=await _recorded(ready, fleet.tenant(target.name)),
                )
            except LedgerError as error:
                return not_rehearsed(target.name, error)

        try:
            made = await each_target(
                targets,
                work,
                command="rehearse",
                parallel=request.parallel or ready.config.parallel,
                progress=progress,
                outcome=_said,
            )
        finally:
            await engines.aclose()
    lost = [not_rehearsed(one.source, one.error) for one in chosen.found.lost]
    return RehearsalReport(
        tenants=(*made, *lost),
        left_out=len(concerned) - len(targets),
        notes=left_alone(alone, options.to),
        duration_us=int((anyio.current_time() - began) * 1e6),
    )


async def _newest_backups(
    ready: Opened, fleet: FleetState, source: Source
) -> dict[str, KeptBackup]:
    """By tenant. Unless backups are asked for, none in which what is pending would not be."""
    return {
        kept.tenant: kept
        for kept in await kept_backups(ready.store)
        if source == "backup" or not (_is_ahead(kept, fleet) or fleet.tenant(kept.tenant).halves)
    }


def _is_ahead(kept: KeptBackup, fleet: FleetState) -> bool:
    """Whether the backup holds what was undone since: in it, that would not be pending."""
    applied = {(ref.set, ref.version) for ref in fleet.tenant(kept.tenant).applied}
    return not {(ref.set, ref.version) for ref in kept.backup.applied} <= applied


def _said(one: Rehearsal) -> tuple[str, str]:
    return ("current" if one.result in ("passed", "current") else "failed"), one.message


async def _one(
    ready: Opened,
    engine: Engine,
    target: Target,
    catalogue: Catalogue,
    options: Options,
    newest: KeptBackup | None,
    source: Source,
    folder: Path,
    *,
    whole: Schema | None,
) -> Rehearsal:
    own = folder / "tenants" / target.name
    own.mkdir(mode=0o700)
    try:
        kept, said = await _content(ready, engine, target, newest, source, own, catalogue)
        async with (
            engine.scratch(target, own) as scratch,
            _scratch_ledger(ready, own) as ctx,
        ):
            made = await rehearse_tenant(
                ctx, engine, scratch, catalogue, options, kept, whole=whole
            )
        return msgspec.structs.replace(
            made,
            source=said,
            source_path=kept.backup.path if said == "backup" else "",
            source_at=kept.at,
        )
    finally:
        await anyio.to_thread.run_sync(shutil.rmtree, own)


async def _recorded(ready: Opened, state: TenantState) -> Schema | None:
    """The schema from before what has landed in part; None where nothing has, or it is not kept."""
    mark = state.mark
    if not state.halves or mark is None or mark.fingerprint is None:
        return None
    return await kept_schema(ready.store, mark.fingerprint)


async def _content(
    ready: Opened,
    engine: Engine,
    target: Target,
    newest: KeptBackup | None,
    source: Source,
    folder: Path,
    catalogue: Catalogue,
) -> tuple[KeptBackup, Literal["backup", "live"]]:
    """The newest backup; or a copy of the tenant as it is, which is read only."""
    if newest is not None and source != "live":
        return newest, "backup"
    if source == "backup":
        raise UsageError(
            "it has no backup", hint="Leave --from away, and a copy of the live tenant is made."
        )
    async with engine.open(msgspec.structs.replace(target, create=False)) as session:
        marker = await session.marker()
        copy = await session.backup(
            folder / f"copy{KINDS[target.engine].backup_suffix}",
            deadline_seconds=ready.config.timeouts.backup_seconds,
            pending=[one.id for one in catalogue.order],
        )
    backup = ev.BackupCreated(
        path=str(copy.path),
        bytes=copy.bytes,
        sha256=copy.sha256,
        format=copy.format,
        covers=copy.covers,
        fingerprint=copy.fingerprint,
        applied=tuple(entry.ref for entry in marker.entries if entry.state == "applied"),
    )
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return KeptBackup(seq=0, at=now, tenant=target.name, run="", backup=backup), "live"


@asynccontextmanager
async def _scratch_ledger(ready: Opened, folder: Path) -> AsyncIterator[RunContext]:
    """A ledger in memory for one tenant: nothing of a rehearsal is in the real one."""
    config = ready.config
    async with open_store(IN_MEMORY, create=True) as store:
        yield RunContext(
            store=store,
            ledger_id=store.ledger_id,
            fleet=FleetState(),
            settings=Settings(
                backups=folder,
                backup="never",
                lease_seconds=LEASE_SECONDS,
                backup_seconds=config.timeouts.backup_seconds,
                statement_seconds=config.timeouts.statement_seconds,
                strict=config.strict,
            ),
            command="migrate",
            run=new_run_id(),
            actor="rehearsal",
            watcher=Unwatched(),
        )


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder (0700) for copies, gone afterwards; what a killed rehearsal of ours left is removed."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))
    (folder / "tenants").mkdir(mode=0o700)
    with (folder / "new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now others can see that there is a lock, and that it is held.
        (folder / "new").rename(folder / "lock")
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _sweep(temporary: Path) -> None:
    """Folders of ours whose lock nobody holds any more."""
    for folder in temporary.glob(f"{FOLDER}*"):
        info = folder.lstat()
        lock = folder / "lock"
        if info.st_uid != os.geteuid() or folder.is_symlink() or not lock.is_file():
            continue
        with lock.open() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)
