"""Lint of everything a configuration names, without opening a tenant or the ledger."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ledger.config import Config
from ledger.dialects.steps import DialectName
from ledger.drivers.application import Application, equip_all, load
from ledger.engines.kinds import KINDS
from ledger.errors import ScriptError
from ledger.folder import find_sets, load_set
from ledger.lint import Finding, lint_set


async def lint_config(config: Config) -> list[Finding]:
    """The findings of every set, by file and line. Raises ConfigError for a folder that cannot be read.

    A set that cannot be loaded is a finding too, its first problem.
    """
    found: set[Finding] = set()
    applications = _applications(config)
    for (folder, dialect), variables in sets_wanted(config).items():
        equipped = partial(equip_all, applications=applications.get(folder, ()))
        for name, path in (await find_sets(folder)).items():
            try:
                loaded = await load_set(path, dialect, name=name, allow_python=config.allow_python)
            except ScriptError as error:
                found.add(_unusable(error, path))
            else:
                found.update(lint_set(loaded, variables, equip=equipped))
    return sorted(found, key=lambda each: (each.file, each.line, each.rule))


def sets_wanted(config: Config) -> dict[tuple[Path, DialectName], dict[str, str]]:
    """Each folder in each dialect that its tenants speak, with all that placeholders stand for."""
    wanted: dict[tuple[Path, DialectName], dict[str, str]] = {}
    for (folder, dialect), sources in config.followed().items():
        built_in = {"prefix": "p_", "charset_collate": KINDS[dialect].charset_collate}
        wanted[folder, dialect] = built_in | config.variables
        for source in sources:
            wanted[folder, dialect] |= config.variables | source.variables
    return wanted


def _applications(config: Config) -> dict[Path, list[Application]]:
    """What the applications of each folder's tenants bring. Raises ConfigError."""
    wanted: dict[Path, list[Application]] = {}
    for source in config.tenants:
        if source.application is not None:
            load(source.application)
            for folder in source.migrations or config.migrations:
                wanted.setdefault(folder, []).append(source.application)
    return wanted


def _unusable(error: ScriptError, path: Path) -> Finding:
    return Finding(
        rule="unusable",
        severity="error",
        file=error.file or str(path),
        line=error.line or 1,
        message=error.message,
        hint=error.hint,
    )
