"""What a rollback would undo, decided before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger.errors import (
    UsageError,
)
from ledger.events import MigrationRef
from ledger.projections import Applied
from ledger.scripts.model import Migration


def decide_rollback(
    applied: Applied,
    migrations: Mapping[tuple[str, str], Migration],
    *,
    version: str | None = None,
    to: str | None = None,
    only: frozenset[tuple[str, str]] | None = None,
) -> tuple[MigrationRef, ...]:
    """What to undo, newest first; nothing for a version that is not applied.

    `version` names one migration, `to` the one that stays the newest of its set
    (`0` for none), `only` the ones a run applied; with none of them it is the
    last one applied. Raises UsageError for a version that two sets have, and for
    a migration that another applied one depends on.
    """
    newest_first = tuple(reversed(applied))
    if only is not None:
        chosen = [ref for ref in newest_first if (ref.set, ref.version) in only]
    elif version is not None:
        chosen = _applied_refs(applied, version)
    elif to == "0":
        chosen = list(newest_first)
    elif to is not None:
        chosen = []
        for goal in _applied_refs(applied, to):
            after = applied[applied.index(goal) + 1 :]
            chosen = [ref for ref in reversed(after) if ref.set == goal.set]
    else:
        chosen = list(newest_first[:1])
    _refuse_needed(applied, chosen, migrations)
    return tuple(chosen)


def _applied_refs(applied: Applied, version: str) -> list[MigrationRef]:
    """The applied migration with this VERSION or SET/VERSION, or none."""
    set_name, _, wanted = version.rpartition("/")
    found = [
        ref for ref in applied if ref.version == wanted and (not set_name or ref.set == set_name)
    ]
    if len(found) > 1:
        raise UsageError(
            f"version {version} is in more than one set", hint="Name it as SET/VERSION."
        )
    return found


def _refuse_needed(
    applied: Applied,
    chosen: Sequence[MigrationRef],
    migrations: Mapping[tuple[str, str], Migration],
) -> None:
    gone = {(ref.set, ref.version) for ref in chosen}
    for ref in applied:
        key = (ref.set, ref.version)
        migration = migrations.get(key)
        if migration is None or key in gone:
            continue
        needed = [need for need in migration.depends if need in gone]
        if needed:
            name = "/".join(needed[0])
            raise UsageError(
                f"{name} cannot be undone alone: {ref.id} depends on it",
                hint=f"Undo {ref.id} first, or use --to.",
            )
