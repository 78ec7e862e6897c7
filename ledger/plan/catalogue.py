"""The migrations that a group of tenants follows, and those that a run is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ledger.errors import (
    UsageError,
)
from ledger.projections import Applied
from ledger.scripts.model import Migration, MigrationSet


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The sets that a group of tenants follows. `order` lists all their migrations as they apply."""

    sets: tuple[MigrationSet, ...]
    order: tuple[Migration, ...]

    def find(self, version: str, *, set_name: str | None = None) -> Migration | None:
        """The migration `VERSION` or `SET/VERSION` names. Raises UsageError if two sets have it."""
        wanted_set, _, wanted = version.rpartition("/")
        wanted_set = wanted_set or set_name or ""
        found = [
            migration
            for migration in self.order
            if migration.ref.version == wanted
            and (not wanted_set or migration.ref.set == wanted_set)
        ]
        if len(found) > 1:
            names = ", ".join(migration.id for migration in found)
            raise UsageError(
                f"version {version} is in more than one set ({names})",
                hint="Name it as SET/VERSION.",
            )
        return found[0] if found else None


def without_file(applied: Applied, catalogue: Catalogue) -> tuple[str, ...]:
    """Applied migrations that no file of the catalogue's sets describes any more, as they were applied."""
    known = {(migration.ref.set, migration.ref.version) for migration in catalogue.order}
    return tuple(ref.id for ref in applied if (ref.set, ref.version) not in known)


def up_to(catalogue: Catalogue, to: str | None) -> list[Migration]:
    """The migrations that `to` asks for, with what they depend on, in order; all without it.

    Raises UsageError if it names none.
    """
    caps: dict[str, tuple[int, ...]] = {}
    for migration_set in catalogue.sets:
        if migration_set.target is not None:
            target = catalogue.find(migration_set.target, set_name=migration_set.name)
            if target is not None:
                caps[migration_set.name] = target.key
    if to is None:
        return [migration for migration in catalogue.order if _within(migration, caps)]
    goal = catalogue.find(to)
    if goal is None:
        raise UsageError(
            f"no migration has version {to}",
            hint="Available: "
            + (", ".join(migration.id for migration in catalogue.order) or "none")
            + ".",
        )
    caps = {migration_set.name: () for migration_set in catalogue.sets} | {goal.ref.set: goal.key}
    chosen = {migration.id for migration in catalogue.order if _within(migration, caps)}
    for migration in reversed(catalogue.order):
        if migration.id in chosen:
            chosen.update(f"{name}/{version}" for name, version in migration.depends)
    return [migration for migration in catalogue.order if migration.id in chosen]


def others(catalogues: Mapping[str, Catalogue], to: str | None) -> tuple[str, ...]:
    """The tenants (the keys) whose sets have no migration `to`: there is nothing to do for them.

    Raises UsageError if none of the catalogues has it, or if one has it twice.
    """
    if to is None:
        return ()
    has = {id(catalogue): catalogue.find(to) is not None for catalogue in catalogues.values()}
    if has and not any(has.values()):
        known = {migration.id: None for each in catalogues.values() for migration in each.order}
        raise UsageError(
            f"no migration has version {to}",
            hint="Available: " + (", ".join(known) or "none") + ".",
        )
    return tuple(name for name, catalogue in catalogues.items() if not has[id(catalogue)])


def _within(migration: Migration, caps: Mapping[str, tuple[int, ...]]) -> bool:
    cap = caps.get(migration.ref.set)
    return cap is None or migration.key <= cap
