"""Lint of everything a configuration names, without opening a tenant or the ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ledger.api.discovery import CHARSET_COLLATE
from ledger.config import Config
from ledger.drivers.application import Application, equip, load
from ledger.errors import ScriptError
from ledger.folder import find_sets, load_set
from ledger.lint import Finding, lint_set
from ledger.scripts.model import DialectName


async def lint_config(config: Config) -> list[Finding]:
    """The findings of every set, by file and line. Raises ConfigError for a folder that cannot be read.

    A set that cannot be loaded is a finding too, its first problem.
    """
    found: set[Finding] = set()
    applications = _applications(config)
    for (folder, dialect), variables in sets_wanted(config).items():
        equipped = partial(_equip, applications=applications.get(folder, ()))
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
    for source in config.tenants:
        dialect = source.engine
        for folder in source.migrations or config.migrations:
            variables = wanted.setdefault((folder, dialect), _built_in(dialect))
            variables.update(config.variables | source.variables)
    if not config.tenants:
        for folder in config.migrations:
            wanted[folder, "sqlite"] = _built_in("sqlite") | config.variables
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


def _equip(database: sqlite3.Connection, applications: Sequence[Application]) -> None:
    for one in applications:
        equip(database, one)


def _built_in(dialect: DialectName) -> dict[str, str]:
    return {"prefix": "p_", "charset_collate": CHARSET_COLLATE if dialect == "mysql" else ""}


def _unusable(error: ScriptError, path: Path) -> Finding:
    return Finding(
        rule="unusable",
        severity="error",
        file=error.file or str(path),
        line=error.line or 1,
        message=error.message,
        hint=error.hint,
    )
