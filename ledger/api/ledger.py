"""`Ledger`: everything the command line does, from Python.

Invariant: a method either changes nothing or records what it changed as events;
a tenant's failure is an outcome in the report, what concerns the whole is raised. A method imports
what it alone needs, so that `status` does not wait for what `rehearse` is made of.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ledger.api.arguments import require_acceptable, require_arguments, require_restored
from ledger.api.choosing import pick_backup, rollback_chooser
from ledger.api.reading import Reading
from ledger.api.running import Tenants, changed_tenants, run_call
from ledger.engines.base import Target
from ledger.fleet.planning import Decisions, drifted_tenants, left_alone, refuse_wrong_files
from ledger.fleet.report import RunReport
from ledger.fleet.run import Bounds
from ledger.plan import Catalogue, others, standing, unsettled, up_to
from ledger.runner.context import BackupPolicy, RunContext
from ledger.runner.kept import kept_backups
from ledger.runner.outcome import Outcome
from ledger.runner.undo import How, restore_tenant, rollback_tenant
from ledger.stores.base import Head
from ledger.stores.filters import moment_text

if TYPE_CHECKING:
    from ledger.api.maintain import MaintainReport
    from ledger.api.verify import VerifyReport
    from ledger.fleet.validation import ValidationReport
    from ledger.runner.upkeep import Task


class Ledger(Reading):
    """One configuration's ledger and fleet.

    Use it as `async with Ledger.open(…) as ledger`, or for a single call as
    `await Ledger.open(…).migrate()`, which opens and closes by itself. `lost` are the sources
    that did not answer when the last call asked them for tenants; `gone` are the tenants with
    applied migrations that none of them named, when the last `migrate` or `status` asked for all.
    """

    async def init(self) -> Head:
        """Create the ledger if it is not there, and return its head."""
        async with self._making() as ready:
            return await ready.store.head()

    async def migrate(
        self,
        tenants: Tenants = "*",
        *,
        to: str | None = None,
        parallel: int | None = None,
        backup: BackupPolicy | None = None,
        on_error: Literal["continue", "stop"] = "continue",
        max_failures: int | str | None = None,
        out_of_order: bool | None = None,
        explain: str | Path | None = None,
        reason: str = "",
    ) -> RunReport:
        """Bring tenants forward; a run is recorded only if there is something to do.

        `backup` overrides the configuration's. Several processes may call this at
        once: each tenant is migrated by one, the others wait for its result. `explain` is a
        file of named queries whose plans are recorded where a migration changes them.
        """
        require_arguments(
            to=to,
            parallel=parallel,
            backup=backup,
            on_error=on_error,
            max_failures=max_failures,
            out_of_order=out_of_order,
            explain=explain,
            reason=reason,
        )
        from ledger.api.migrating import migrate_fleet
        from ledger.fleet.plans import migrate_plan

        async with self._making(tenants) as ready:
            options = self._options(to, out_of_order)
            ctx, chosen = await self._begin(ready, "migrate", tenants, reason=reason, backup=backup)
            if explain is not None:
                from ledger.api.explaining import read_queries

                queries = await read_queries(explain, chosen)
                ctx.settings = msgspec.structs.replace(ctx.settings, explain=queries)
            alone = others(chosen.catalogues, to)
            decisions = Decisions(ctx.fleet, options)
            refuse_wrong_files(chosen.targets, chosen.catalogues, decisions)
            warnings = (
                *chosen.warnings,
                *left_alone(alone, to),
                *drifted_tenants(chosen.targets, ctx.fleet),
            )
            plan = migrate_plan(
                chosen.targets,
                chosen.catalogues,
                ctx.fleet,
                decisions,
                warnings,
                ctx.settings.backup,
            )
            changed = await changed_tenants(ready, ctx.fleet, chosen)
            changed |= {
                target.name
                for target, one in zip(chosen.targets, plan.tenants, strict=True)
                if not one.migrations and unsettled(ctx.state(target.name))
            }
            todo = [
                target
                for target, one in zip(chosen.targets, plan.tenants, strict=True)
                if target.name not in alone
                and (one.migrations or one.problem or target.name in changed)
            ]
            report = await migrate_fleet(
                ready,
                ctx,
                chosen,
                todo,
                changed,
                options,
                Bounds(
                    parallel=parallel or self.config.parallel,
                    on_error=on_error,
                    max_failures=None if max_failures is None else str(max_failures),
                    signals=self.signals,
                ),
                self.progress,
                decisions,
            )
            return msgspec.structs.replace(report, warnings=(*plan.warnings, *report.warnings))

    async def rollback(
        self,
        tenants: Tenants = "*",
        *,
        migration: str | None = None,
        to: str | None = None,
        run: str | None = None,
        by: How = "auto",
        parallel: int | None = None,
        backup: BackupPolicy | None = None,
        reason: str = "",
    ) -> RunReport:
        """Undo the last migration, one `migration`, all after `to`, or exactly what `run` applied."""
        require_arguments(
            migration=migration,
            to=to,
            run=run,
            by=by,
            parallel=parallel,
            backup=backup,
            reason=reason,
        )
        async with self._ready() as ready:
            ctx, chosen = await self._begin(
                ready, "rollback", tenants, reason=reason, backup=backup
            )
            choose = await rollback_chooser(ctx, chosen, migration=migration, to=to, run=run)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await rollback_tenant(
                    ctx,
                    ready.engines[target.engine],
                    target,
                    catalogue,
                    choose(target, catalogue),
                    by=by,
                )

            todo = [
                target
                for target in chosen.targets
                if choose(target, chosen.catalogues[target.name])(standing(ctx.state(target.name)))
            ]
            options = {"by": by} | ({"run": run} if run else {})
            return await run_call(
                ctx,
                chosen,
                todo,
                work,
                self._bounds(parallel),
                self.progress,
                target_version=to or migration,
                options=options,
                work_of=lambda target: choose(target, chosen.catalogues[target.name])(
                    standing(ctx.state(target.name))
                ),
            )

    async def restore(
        self,
        tenants: Tenants,
        *,
        backup: int | str | None = None,
        at: str | None = None,
        parallel: int | None = None,
        reason: str = "",
    ) -> RunReport:
        """Restore each tenant's newest backup, the newest from before `at`, or one by event seq or path."""
        require_arguments(at=at, parallel=parallel, reason=reason)
        require_restored(backup)
        before = None if at is None else moment_text(at)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "restore", tenants, reason=reason)
            kept = {
                target.name: pick_backup(
                    await kept_backups(ready.store, target.name), target.name, backup, before
                )
                for target in chosen.targets
            }

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                target = msgspec.structs.replace(target, for_restore=True)
                return await restore_tenant(
                    ctx, ready.engines[target.engine], target, catalogue, kept[target.name]
                )

            return await run_call(
                ctx, chosen, chosen.targets, work, self._bounds(parallel), self.progress
            )

    async def prune_backups(
        self,
        tenants: Tenants,
        *,
        keep: int | None = None,
        before: str | None = None,
        reason: str = "",
    ) -> RunReport:
        """Delete backups beyond the newest `keep` and from before a time; the newest sound one stays."""
        require_arguments(keep=keep, before=before, reason=reason)
        from ledger.api.backups import prune

        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "prune", tenants, reason=reason)
            return await prune(
                ctx, chosen, self._bounds(None), self.progress, keep=keep, before=before
            )

    async def baseline(
        self, tenants: Tenants, *, to: str, parallel: int | None = None, reason: str = ""
    ) -> RunReport:
        """Count everything up to `to` as applied, without running it."""
        require_arguments(to=to, parallel=parallel, reason=reason)
        from ledger.runner.settle import baseline_tenant

        async with self._making(tenants, takes_over=True) as ready:
            ctx, chosen = await self._begin(ready, "baseline", tenants, reason=reason)
            alone = others(chosen.catalogues, to)
            wanted = {
                id(one): up_to(one, to)
                for name, one in chosen.catalogues.items()
                if name not in alone
            }

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                bound = [ctx.bound(one, target.variables) for one in wanted[id(catalogue)]]
                engine = ready.engines[target.engine]
                return await baseline_tenant(ctx, engine, target, catalogue, bound)

            return await run_call(
                ctx,
                chosen,
                [target for target in chosen.targets if target.name not in alone],
                work,
                self._bounds(parallel),
                self.progress,
                target_version=to,
                notes=left_alone(alone, to),
                work_of=lambda target: [
                    one.ref for one in wanted[id(chosen.catalogues[target.name])]
                ],
            )

    async def reset(
        self,
        tenants: Tenants,
        *,
        to: str | None = None,
        mark_only: bool = False,
        drop_all: bool = False,
        by: How = "auto",
        parallel: int | None = None,
        reason: str = "",
    ) -> RunReport:
        """Undo everything after `to` (or change the records only), or drop all that migrations created."""
        require_arguments(
            to=to, mark_only=mark_only, drop_all=drop_all, by=by, parallel=parallel, reason=reason
        )
        from ledger.api.reset import require_one_way, reset

        require_one_way(to=to, mark_only=mark_only, drop_all=drop_all)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(
                ready, "reset", tenants, reason=reason, backup="always" if drop_all else None
            )
            return await reset(
                ctx,
                ready,
                chosen,
                self._bounds(parallel),
                self.progress,
                to=to,
                mark_only=mark_only,
                drop_all=drop_all,
                by=by,
            )

    async def import_from(
        self,
        tenants: Tenants,
        *,
        source: str,
        table: str | None = None,
        registry: str | None = None,
        scope: str | None = None,
        set_name: str | None = None,
        parallel: int | None = None,
    ) -> RunReport:
        """Count as applied what another tool's history table says: dbmate, flyway, django …"""
        require_arguments(
            source=source,
            table=table,
            registry=registry,
            scope=scope,
            set_name=set_name,
            parallel=parallel,
        )
        from ledger.api.importing import import_history
        from ledger.runner.importing import Asked

        asked = Asked(tool=source, table=table, registry=registry, scope=scope, set_name=set_name)
        async with self._making(tenants, takes_over=True) as ready:
            ctx, chosen = await self._begin(ready, "import", tenants)
            bounds = self._bounds(parallel)
            return await import_history(ctx, ready, chosen, bounds, self.progress, asked)

    async def unlock(self, tenants: Tenants, *, reason: str) -> RunReport:
        """End the claims on the chosen tenants, whoever holds them, and fence the holders."""
        require_arguments(reason=reason)
        from ledger.runner.settle import unlock_tenant

        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "unlock", tenants, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await unlock_tenant(ctx, ready.engines[target.engine], target)

            todo = [one for one in chosen.targets if ctx.state(one.name).claim is not None]
            return await run_call(ctx, chosen, todo, work, self._bounds(None), self.progress)

    async def resolve(
        self, tenant: str, *, how: Literal["applied", "not_applied", "restore"], reason: str
    ) -> RunReport:
        """Settle a tenant's step in doubt: by a person's word, or by restoring its newest backup."""
        require_arguments(how=how, reason=reason)
        from ledger.runner.settle import resolve_tenant

        if how == "restore":
            return await self.restore(tenant, reason=reason)
        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "resolve", tenant, reason=reason)

            async def work(ctx: RunContext, target: Target, catalogue: Catalogue) -> Outcome:
                return await resolve_tenant(ctx, target, how)

            return await run_call(
                ctx, chosen, chosen.targets, work, self._bounds(None), self.progress
            )

    async def maintain(
        self,
        tenants: Tenants,
        *,
        task: Task,
        apply: bool = False,
        table: str | None = None,
        column: str | None = None,
        older_than: str | None = None,
        batch: int = 1000,
        parallel: int | None = None,
        reason: str = "",
    ) -> MaintainReport:
        """Optimise the tenants; find orphans or old rows, and with `apply` delete or archive them.

        `older_than` is an age such as `90d`. Without `apply` nothing is changed (but by `optimize`).
        """
        require_arguments(
            task=task,
            apply=apply,
            table=table,
            column=column,
            older_than=older_than,
            batch=batch,
            parallel=parallel,
            reason=reason,
        )
        from ledger.api.maintain import maintain, make_order

        changes = apply or task == "optimize"
        async with self._making(tenants) if changes else self._reading() as ready:
            order = make_order(
                task=task,
                apply=apply,
                batch=batch,
                table=table,
                column=column,
                older_than=older_than,
                now=await ready.store.now(),
            )
            ctx, chosen = await self._begin(
                ready, "maintain", tenants, reason=reason, backup="never"
            )
            return await maintain(ctx, ready, chosen, order, self._bounds(parallel), self.progress)

    async def validate(
        self,
        tenants: Tenants = "*",
        *,
        schema: str | Path | None = None,
        accept: bool = False,
        parallel: int | None = None,
        reason: str = "",
    ) -> ValidationReport:
        """Run every applied migration's checks and compare live schemas with what they should be.

        With `accept` and a `reason`, what differs becomes what it should be. With `schema` they
        are compared with that file: a snapshot in JSON (as `ledger schema` prints it), or SQL
        that is run in a scratch database. Raises UsageError for `accept` with a file or no reason.
        """
        require_arguments(schema=schema, accept=accept, parallel=parallel, reason=reason)
        require_acceptable(accept=accept, schema=schema, reason=reason)
        from ledger.api.unanswered import with_lost_found, with_strangers_found
        from ledger.fleet.validation import validate_fleet
        from ledger.folder.schema import read_wanted_schema

        async with self._ready() as ready:
            ctx, chosen = await self._begin(ready, "migrate", tenants, reason=reason)
            strange = {one.tenant for one in chosen.strangers}
            against = None
            if schema is not None:
                dialects = frozenset(target.engine for target in chosen.targets)
                against = await read_wanted_schema(Path(schema), dialects)
            report = await validate_fleet(
                ctx,
                [target for target in chosen.targets if target.name not in strange],
                chosen.catalogues,
                ready.engines.__getitem__,
                parallel=parallel or self.config.parallel,
                progress=self.progress,
                against=against,
                accept=accept,
            )
            return with_lost_found(with_strangers_found(report, chosen.strangers), self.lost)

    async def verify(self, *, anchor: str | None = None, rebuild: bool = False) -> VerifyReport:
        """Recompute the hash chain, rehash the kept texts, compare stored projections with a full replay.

        With `rebuild`, projections are replaced, and texts that are missing are taken from migration
        files that are still as they were when they ran.
        """
        require_arguments(anchor=anchor, rebuild=rebuild)
        from ledger.api.texts import texts_in_folders
        from ledger.api.verify import verify_store

        async with self._ready() as ready:
            return await verify_store(
                ready.store,
                anchor=anchor,
                rebuild=rebuild,
                texts=partial(texts_in_folders, self.config),
            )
