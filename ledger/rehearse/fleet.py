"""`rehearse` over many tenants: what migrate, rollback and migrate again would do, on copies of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread
import msgspec

from ledger.calls.opened import Look, Opened, new_engines
from ledger.calls.sources import Engines
from ledger.engines.base import Engine, Target
from ledger.engines.kinds import KINDS
from ledger.errors import LedgerError, UnfinishedError, UsageError
from ledger.fleet.fanout import each_target
from ledger.fleet.planning import Decisions, left_alone, refuse_wrong_files
from ledger.fleet.progress import Progress
from ledger.plan import Catalogue, Options, others
from ledger.projections import FleetState
from ledger.rehearse.place import private_folder, scratch_ledger
from ledger.rehearse.report import Rehearsal, RehearsalReport, not_rehearsed
from ledger.rehearse.tenant import rehearse_tenant
from ledger.requests import Rehearse, Source
from ledger.runner.facts import backup_created
from ledger.runner.kept import KeptBackup, kept_backups
from ledger.runner.references import kept_schema
from ledger.schema import Schema


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
    newest = await _newest_backups(ready, fleet, targets, request.source)
    engines = new_engines(ready.config)
    strangers = {stranger.tenant: stranger.error for stranger in chosen.strangers}
    with private_folder() as folder:
        shared = _Shared(
            look, strangers, options, decisions, engines, newest, request.source, folder
        )
        try:
            made = await each_target(
                targets,
                shared.rehearsed,
                command="rehearse",
                parallel=request.parallel or ready.config.parallel,
                progress=progress,
                outcome=_outcome,
            )
        finally:
            await engines.aclose()
    lost = [not_rehearsed(source.source, source.error) for source in chosen.found.lost]
    return RehearsalReport(
        tenants=(*made, *lost),
        left_out=len(concerned) - len(targets),
        notes=left_alone(alone, options.to),
        duration_us=int((anyio.current_time() - began) * 1e6),
    )


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


async def _newest_backups(
    ready: Opened, fleet: FleetState, targets: Sequence[Target], source: Source
) -> dict[str, KeptBackup]:
    """By tenant. Unless backups are asked for, none in which what is pending would not be."""
    if source == "live":
        return {}
    return {
        kept.tenant: kept
        for kept in await kept_backups(ready.store, [target.name for target in targets])
        if source == "backup" or not (_is_ahead(kept, fleet) or fleet.tenant(kept.tenant).halves)
    }


def _is_ahead(kept: KeptBackup, fleet: FleetState) -> bool:
    """Whether the backup holds what was undone since: in it, that would not be pending."""
    applied = {ref.key for ref in fleet.tenant(kept.tenant).applied}
    return not {ref.key for ref in kept.backup.applied} <= applied


def _outcome(made: Rehearsal) -> tuple[str, str]:
    return ("current" if made.result in ("passed", "current") else "failed"), made.message


class _Shared(NamedTuple):
    """What the rehearsals of all tenants share."""

    look: Look
    strangers: Mapping[str, LedgerError]
    options: Options
    decisions: Decisions
    engines: Engines
    newest: Mapping[str, KeptBackup]
    source: Source
    folder: Path

    async def rehearsed(self, target: Target) -> Rehearsal:
        """The tenant's rehearsal; its error is in the value."""
        if target.name in self.strangers:
            return not_rehearsed(target.name, self.strangers[target.name])
        try:
            catalogue = self.look.chosen.catalogues[target.name]
            problem = self.decisions.problem(target.name, catalogue)
            if isinstance(problem, UnfinishedError):
                raise problem
            whole = await self._whole(target)
            folder = self.folder / "tenants" / target.name
            folder.mkdir(mode=0o700)
            try:
                return await self._on_a_copy(target, catalogue, folder, whole)
            finally:
                await anyio.to_thread.run_sync(shutil.rmtree, folder)
        except LedgerError as error:
            return not_rehearsed(target.name, error)

    async def _whole(self, target: Target) -> Schema | None:
        """The schema from before what has landed in part; None where nothing has, or it is not kept."""
        state = self.look.fleet.tenant(target.name)
        mark = state.mark
        if not state.halves or mark is None or mark.fingerprint is None:
            return None
        return await kept_schema(self.look.ready.store, mark.fingerprint)

    async def _on_a_copy(
        self, target: Target, catalogue: Catalogue, folder: Path, whole: Schema | None
    ) -> Rehearsal:
        """On the newest backup, or on a copy of the tenant as it is."""
        config, engine = self.look.ready.config, self.engines[target.engine]
        newest = self.newest.get(target.name)
        if newest is None and self.source == "backup":
            raise UsageError(
                "it has no backup", hint="Leave --from out: then a copy of the live tenant is made."
            )
        kept = newest or await _copied(
            engine, target, catalogue, folder, deadline_seconds=config.timeouts.backup_seconds
        )
        async with (
            engine.scratch(target, folder) as scratch,
            scratch_ledger(config, folder) as ctx,
        ):
            made = await rehearse_tenant(
                ctx, engine, scratch, catalogue, self.options, kept, whole=whole
            )
        return msgspec.structs.replace(
            made,
            source="backup" if newest else "live",
            source_path=newest.backup.path if newest else "",
            source_at=kept.at,
        )


async def _copied(
    engine: Engine, target: Target, catalogue: Catalogue, folder: Path, *, deadline_seconds: float
) -> KeptBackup:
    """A copy of the tenant as it is, which is read only."""
    async with engine.open(msgspec.structs.replace(target, create=False)) as session:
        marker = await session.marker()
        copy = await session.backup(
            folder / f"copy{KINDS[target.engine].backup_suffix}",
            deadline_seconds=deadline_seconds,
            pending=[migration.id for migration in catalogue.order],
        )
    applied = tuple(entry.ref for entry in marker.entries if entry.state == "applied")
    backup = backup_created(copy, applied)
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return KeptBackup(seq=0, at=now, tenant=target.name, run="", backup=backup)
