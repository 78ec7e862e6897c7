"""The order in which migrations apply: what they depend on first, otherwise by version.

Invariant: the order is a function of the migrations alone, so that every host
and every run works in the same one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from ledger.errors import ScriptError
from ledger.scripts.model import Migration, MigrationSet
from ledger.scripts.version import version_key

_MAX_SEQUENTIAL: Final = 99_999
"""Larger whole numbers are timestamps, which have gaps by nature."""

_Id = tuple[str, tuple[int, ...]]


def order_set(migrations: Sequence[Migration]) -> tuple[Migration, ...]:
    """Order one set; dependencies on other sets are left for `order_sets`.

    Each migration's `depends` come back with the versions as the files write
    them. Raises ScriptError for a duplicate, a missing version and a cycle.
    """
    return _order(migrations, only_within=True)


def order_sets(sets: Iterable[MigrationSet]) -> tuple[Migration, ...]:
    """Order several sets that one tenant follows, as one. Raises ScriptError as `order_set` does."""
    every = [migration for migration_set in sets for migration in migration_set.migrations]
    return _order(every, only_within=False)


def _order(migrations: Sequence[Migration], *, only_within: bool) -> tuple[Migration, ...]:
    by_id = _by_id(migrations)
    sets = {migration.ref.set for migration in migrations}
    needs: dict[_Id, list[_Id]] = {}
    result: dict[_Id, Migration] = {}
    for this, migration in by_id.items():
        needs[this] = []
        depends = []
        for owner, version in migration.depends:
            wanted = (owner, version_key(version) or ())
            found = by_id.get(wanted)
            if found is not None:
                needs[this].append(wanted)
                version = found.ref.version
            elif not only_within or owner in sets:
                raise _missing(migration, owner, version, by_id, sets)
            depends.append((owner, version))
        result[this] = (
            migration
            if tuple(depends) == migration.depends
            else msgspec.structs.replace(migration, depends=tuple(depends))
        )
    return tuple(result[this] for this in _sorted(needs, by_id))


def _by_id(migrations: Sequence[Migration]) -> dict[_Id, Migration]:
    by_id: dict[_Id, Migration] = {}
    twice: list[tuple[Migration, Migration]] = []
    for migration in migrations:
        other = by_id.setdefault((migration.ref.set, migration.key), migration)
        if other is not migration:
            twice.append((other, migration))
    if twice:
        other, migration = twice[0]
        more = "".join(f"; so have {left.path} and {right.path}" for left, right in twice[1:])
        raise ScriptError(
            f"{other.path} and {migration.path} have one version, "
            f"{other.ref.version} ({migration.ref.version}){more}",
            file=migration.path,
            hint="Give one of them a version of its own.",
        )
    return by_id


def _sorted(needs: dict[_Id, list[_Id]], by_id: dict[_Id, Migration]) -> list[_Id]:
    """Dependencies first, otherwise by version, then by set."""
    waits = {this: len(set(wanted)) for this, wanted in needs.items()}
    wanted_by: dict[_Id, list[_Id]] = {}
    for this, wanted in needs.items():
        for migration in set(wanted):
            wanted_by.setdefault(migration, []).append(this)
    ready = [(key, owner) for (owner, key), count in waits.items() if count == 0]
    heapq.heapify(ready)
    order: list[_Id] = []
    while ready:
        key, owner = heapq.heappop(ready)
        order.append((owner, key))
        for other in wanted_by.get((owner, key), ()):
            waits[other] -= 1
            if waits[other] == 0:
                heapq.heappush(ready, (other[1], other[0]))
    if len(order) < len(needs):
        raise _cycle(needs, by_id, done=set(order))
    return order


def _cycle(
    needs: dict[_Id, list[_Id]], by_id: dict[_Id, Migration], *, done: set[_Id]
) -> ScriptError:
    """Follow unfinished dependencies until one comes again: that is the cycle's path."""
    path = [min(this for this in needs if this not in done)]
    while path[-1] not in path[:-1]:
        path.append(next(need for need in needs[path[-1]] if need not in done))
    path = path[path.index(path[-1]) :]
    owners = {owner for owner, _ in path}
    names = [by_id[this].ref.version if len(owners) == 1 else by_id[this].id for this in path]
    first = by_id[path[0]]
    return ScriptError(
        f"the dependencies form a cycle: {' → '.join(names)}",
        file=first.path,
        migration=first.id,
        hint="Remove one of these `depends`.",
    )


def _missing(
    migration: Migration, owner: str, version: str, by_id: dict[_Id, Migration], sets: set[str]
) -> ScriptError:
    own = owner == migration.ref.set
    named = version if own else f"{owner}/{version}"
    if owner in sets:
        there = [migration.ref.version for (name, _), migration in by_id.items() if name == owner]
        listed = ", ".join(there[:10]) + (" …" if len(there) > 10 else "")
        reason = f"set {owner} has no version {version}"
        hint = f"It has {listed}."
    else:
        reason = f"there is no set {owner}"
        hint = f"The sets here are {', '.join(sorted(sets))}."
    return ScriptError(
        f"{migration.ref.version} → {named}: {reason}",
        file=migration.path,
        migration=migration.id,
        hint=hint,
    )


def gaps(migrations: Sequence[Migration]) -> tuple[str, ...]:
    """One warning for each hole in a sequence 001, 002, 004; none for dotted versions and timestamps."""
    ordered = sorted(migrations, key=lambda migration: migration.key)
    if any(
        "." in migration.ref.version or migration.key[0] > _MAX_SEQUENTIAL for migration in ordered
    ):
        return ()
    pairs = list(pairwise(ordered))
    if not any(after.key[0] - before.key[0] == 1 for before, after in pairs):
        return ()
    return tuple(_gap(before, after) for before, after in pairs if after.key[0] - before.key[0] > 1)


def _gap(before: Migration, after: Migration) -> str:
    width = len(before.ref.version)
    first, last = before.key[0] + 1, after.key[0] - 1
    hole = f"{first:0{width}}" if first == last else f"{first:0{width}} … {last:0{width}}"
    return f"gap: {hole} missing between {before.ref.version} and {after.ref.version}"
