"""What must hold before the first step of a run: servers, disks. One list, asked once for each.

That the ledger can be written, and is not a newer one, the run's first event proves.
Invariant: the cost grows with servers and folders, not with tenants. What cannot be asked
(a server that is down) is no problem here: its tenants are named by the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import anyio
import msgspec

from ledger.engines.base import Engine, Target
from ledger.engines.probes import Probe
from ledger.errors import PreflightError, TenantError
from ledger.runner.context import RunContext

SECONDS: Final = 15.0
"""For all servers together; one that has not answered by then is left to the run."""

SERVERS_AT_ONCE: Final = 64
LEDGER_BYTES: Final = 4 * 1024 * 1024
"""A ledger on a disk with less than this free is refused."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """`where` is a server or a folder."""

    where: str
    level: Literal["ok", "warning", "failed"]
    detail: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}" + (f". {self.hint}" if self.hint else "")


async def preflight(
    ctx: RunContext,
    targets: Sequence[Target],
    engine_of: Callable[[str], Engine],
    *,
    ledger: Path | None,
    parallel: int,
    statement_bytes: int,
    statements: Callable[[Target], Sequence[str]],
) -> tuple[str, ...]:
    """The warnings. Raises PreflightError with all that would make the run fail.

    `ledger` is the ledger's file if it is one, `statement_bytes` the longest statement's size,
    `statements` what is to be run on a tenant.
    """
    problems = await anyio.to_thread.run_sync(_disks, ctx, targets, ledger, parallel)
    problems += await _servers(targets, engine_of, statement_bytes, statements)
    problems.sort(key=lambda finding: (finding.level, finding.where, finding.detail))
    failed = [problem for problem in problems if problem.level == "failed"]
    if failed:
        more = "".join(f"\n  {finding}" for finding in failed)
        raise PreflightError(
            f"nothing was begun, since the run would fail:{more}",
            hint="Correct these, then run the same command again.",
        )
    return tuple(str(problem) for problem in problems if problem.level == "warning")


async def _servers(
    targets: Sequence[Target],
    engine_of: Callable[[str], Engine],
    statement_bytes: int,
    statements: Callable[[Target], Sequence[str]],
) -> list[Problem]:
    """Each server and account once."""
    groups: dict[tuple[str, str, str], list[Target]] = {}
    for target in targets:
        if target.server:
            groups.setdefault((target.engine, target.server, target.url.user), []).append(target)
    found: list[Problem] = []
    limit = anyio.CapacityLimiter(SERVERS_AT_ONCE)

    async def ask(engine: Engine, server: str, group: list[Target]) -> None:
        async with limit:
            try:
                probes: Sequence[Probe] = await engine.preflight(
                    group, statement_bytes=statement_bytes, statements=statements(group[0])
                )
            except TenantError:
                # The run opens each of them, and says what is wrong with it.
                return
        found.extend(
            Problem(where=server, level=probe.level, detail=probe.detail, hint=probe.hint)
            for probe in probes
            if probe.level != "ok"
        )

    with anyio.move_on_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for (engine, server, _), group in groups.items():
                tasks.start_soon(ask, engine_of(engine), server, group)
    return found


def _disks(
    ctx: RunContext, targets: Sequence[Target], ledger: Path | None, parallel: int
) -> list[Problem]:
    """Room for the ledger, for the backups (by what the ledger knows of sizes), and for journals."""
    found: list[Problem] = []
    if ledger is not None and (free := _free(ledger.parent)) < LEDGER_BYTES:
        detail = f"the ledger's disk has {free} bytes free"
        found.append(Problem(where=str(ledger), level="failed", detail=detail, hint=_ROOM))
    sizes: dict[str, list[int]] = {}
    for target in targets:
        if target.url.file:
            mark = ctx.state(target.name).mark
            folder = os.path.dirname(target.url.file) or "."  # noqa: PTH120 - for thousands of tenants
            sizes.setdefault(folder, []).append(mark.bytes or 0 if mark is not None else 0)
    needed = sum(sum(some) for some in sizes.values())
    backups = ctx.settings.backups
    if ctx.settings.backup in ("always", "each") and (free := _free(backups)) < needed:
        detail = f"the backups of this run need about {needed} bytes, and {free} are free"
        hint = "Free space, set `backups` to another disk, or use --no-backup."
        found.append(Problem(where=str(backups), level="failed", detail=detail, hint=hint))
    for folder, some in sizes.items():
        at_once = sum(sorted(some)[-parallel:])
        if (free := _free(Path(folder))) < at_once:
            detail = (
                f"journals of {parallel} tenants at once may need {at_once} bytes; {free} are free"
            )
            found.append(Problem(where=folder, level="warning", detail=detail, hint=_ROOM))
    return found


_ROOM: Final = "Free space there."


def _free(folder: Path) -> int:
    """Bytes free where the folder is, or would be; a place that cannot be read counts as having room."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return 1 << 62
