"""`doctor`: is everything there that a run will need? The host, the ledger, the backups, every tenant.

Invariant: no tenant is written. The ledger gets no event; that it can be written is
tried with an empty projection of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Final

import msgspec

from ledger.calls.opened import Opened, opened
from ledger.calls.tenants import Chosen, choose_tenants, find_strangers, wrong_ledger
from ledger.config import Config
from ledger.doctor.report import Area, DoctorReport, Finding
from ledger.doctor.tenant import check_tenant
from ledger.drivers.folders import nothing_at
from ledger.drivers.url import IN_MEMORY
from ledger.drivers.versions import library_versions
from ledger.engines.probes import Level, Probe
from ledger.errors import (
    StoreError,
    for_tenant,
)
from ledger.fleet.fanout import each_target
from ledger.fleet.progress import Progress
from ledger.fleet.state import load_fleet
from ledger.projections import FleetState
from ledger.requests import Doctor
from ledger.runner.backups import unsafe_folder

NONE: Final = "none here"
"""In the place of the id of a ledger that is not there: every marker belongs to another one."""

LEDGER_BYTES: Final = 64 * 1024 * 1024
"""So much room should be left where the ledger lies: some hundred thousand events."""


async def doctor(config: Config, request: Doctor, progress: Progress) -> DoctorReport:
    """Look at everything, also where some of it cannot be reached. Raises UsageError, ScriptError."""
    findings = _host(config)
    fleet, ledger_id, missing = FleetState(), "", False
    url = config.url
    if url == IN_MEMORY or (url.file and nothing_at(url.file)):
        findings += _no_ledger(url.file or ":memory:")
        missing = True
    else:
        try:
            async with opened(config, create=False) as ready:
                findings += await _ledger(ready)
                fleet, ledger_id = await load_fleet(ready.store), ready.store.ledger_id
        except StoreError as error:
            findings.append(_finding("ledger", "connection", "failed", error.message, error.hint))
    # The tenants are looked at whatever became of the ledger.
    empty = msgspec.structs.replace(config, url=IN_MEMORY)
    async with opened(empty, create=True) as ready:
        chosen = await choose_tenants(config, ready.engines, request.patterns)
        findings += [
            _finding(
                "tenant",
                "source",
                "failed",
                f"{lost.source}: {lost.error.message}",
                lost.error.hint,
            )
            for lost in chosen.found.lost
        ]
        strangers = await find_strangers(ready.engines, chosen.targets, fleet, ledger_id or NONE)
        if strangers and (missing or ledger_id):
            wrong = wrong_ledger(
                strangers, total=len(chosen.targets), ledger=str(config.url), missing=missing
            )
            # Neither `init` nor `migrate` is the way out, as it is said of a ledger that is not there yet.
            findings = [
                msgspec.structs.replace(finding, hint="")
                if missing and finding.area == "ledger"
                else finding
                for finding in findings
            ]
            findings.insert(0, _finding("ledger", "tenants", "failed", wrong.message, wrong.hint))
        findings += _backups(config, chosen, fleet)
        whose = NONE if missing else ledger_id
        checked = await each_target(
            chosen.targets,
            lambda target: check_tenant(
                ready.engines[target.engine],
                target,
                fleet.tenant(target.name),
                whose,
                quick=request.quick,
            ),
            command="doctor",
            parallel=request.parallel or config.parallel,
            progress=progress,
            outcome=lambda found: ("valid" if found.fine else "invalid", ""),
        )
    findings += [_of_tenant(tenant.tenant, probe) for tenant in checked for probe in tenant.probes]
    return DoctorReport(findings=tuple(findings), tenants=len(checked))


def _finding(area: Area, check: str, level: Level, detail: str, hint: str = "") -> Finding:
    return Finding(area=area, check=check, level=level, detail=detail, hint=hint)


def _of_tenant(tenant: str, probe: Probe) -> Finding:
    return Finding(
        area="tenant",
        tenant=tenant,
        check=probe.check,
        level=probe.level,
        detail=probe.detail,
        hint=for_tenant(probe.hint, tenant),
    )


def _host(config: Config) -> list[Finding]:
    versions = f"Python {platform.python_version()}, {', '.join(library_versions())}"
    warnings = [
        _finding("host", "configuration", "warning", warning) for warning in config.warnings
    ]
    return [_finding("host", "versions", "ok", versions), *warnings]


def _no_ledger(path: str) -> list[Finding]:
    if os.access(Path(path).parent, os.W_OK):
        return [
            _finding(
                "ledger", "connection", "warning", f"there is no ledger at {path} yet",
                "`ledger migrate --all-tenants` makes it.",
            )
        ]  # fmt: skip
    return [
        _finding(
            "ledger", "connection", "failed",
            f"there is no ledger at {path}, and its folder cannot be written",
            "Correct `url` in the configuration, or make the folder.",
        )
    ]  # fmt: skip


async def _ledger(ready: Opened) -> list[Finding]:
    """Raises StoreError where it cannot be read."""
    store, config = ready.store, ready.config
    head = await store.head()
    findings = [_finding("ledger", "connection", "ok", f"{store.url}, seq {head.seq}")]
    try:
        await store.save_projection("doctor", base_seq=-1, seq=head.seq, changed=())
        findings.append(_finding("ledger", "writable", "ok", "a transaction was committed"))
    except StoreError as error:
        findings.append(_finding("ledger", "writable", "failed", error.message, error.hint))
    if config.url.file:
        free = shutil.disk_usage(Path(config.url.file).parent).free
        level: Level = "ok" if free >= LEDGER_BYTES else "failed"
        hint = "" if level == "ok" else "Free some space: without it no run can be recorded."
        findings.append(_finding("ledger", "disk", level, f"{free} bytes free", hint))
    return findings


def _backups(config: Config, chosen: Chosen, fleet: FleetState) -> list[Finding]:
    """The folder's safety, and room for one backup of each chosen tenant, as last recorded."""
    if config.backup == "never":
        return [_finding("backups", "folder", "warning", "no backups are made (backup = never)")]
    findings = [_folder(config.backups)]
    place = config.backups
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    marks = [fleet.tenant(target.name).mark for target in chosen.targets]
    sizes = [mark.bytes or 0 for mark in marks if mark is not None]
    level: Level = "ok"
    if sizes and free < sum(sizes):
        level = "failed" if free < max(sizes) else "warning"
    findings.append(
        _finding(
            "backups", "disk", level, f"{free} bytes free, {sum(sizes)} bytes of tenants recorded",
            "" if level == "ok" else "Free some space, or `ledger backups prune`.",
        )
    )  # fmt: skip
    return findings


def _folder(folder: Path) -> Finding:
    """As the run will want it: a folder of ours, mode 0700, no symbolic link; or none yet."""
    try:
        info = folder.lstat()
    except FileNotFoundError:
        parent = next(parent for parent in folder.parents if parent.exists())
        if os.access(parent, os.W_OK):
            return _finding("backups", "folder", "ok", f"{folder} will be made")
        return _finding(
            "backups", "folder", "failed", f"{folder} cannot be made: {parent} cannot be written",
            "Set `backups` to a folder that can be written.",
        )  # fmt: skip
    if (unsafe := unsafe_folder(folder, info)) is not None:
        what, hint = unsafe
        return _finding("backups", "folder", "failed", f"{folder} {what}", hint)
    if not os.access(folder, os.W_OK):
        return _finding(
            "backups", "folder", "failed", f"{folder} cannot be written", f"chmod 700 {folder}"
        )
    return _finding("backups", "folder", "ok", str(folder))
