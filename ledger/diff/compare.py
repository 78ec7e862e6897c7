"""Where the fleet stood at two times, compared: by version and by tenant. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ledger.projections import RunState
from ledger.scripts.version import version_key


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant in one set at one time, as `status --at` has it."""

    tenant: str
    set: str
    version: str | None
    state: str
    applied: tuple[str, ...]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one time: the last event before it, and where each tenant stood."""

    at: str
    seq: int
    tenants: tuple[Standing, ...]


class TenantDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant that is not as it was, or `came` or `went` (a source named it at one of the times only).

    `applied` and `undone` are migrations that count as applied at one of the times only. `before` and
    `after` are its states and versions by set, empty where it was not there.
    """

    tenant: str
    change: Literal["came", "went", "changed"]
    applied: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    before: tuple[Standing, ...] = ()
    after: tuple[Standing, ...] = ()


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    """On how many tenants a migration was applied at both times, and on how many that was done and undone.

    `came` and `went` are tenants that have it and were there at one of the times only.
    """

    migration: str
    before: int
    after: int
    applied: int = 0
    undone: int = 0
    came: int = 0
    went: int = 0


class FleetDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What changed between two times, `since` (inclusive) and `until` (exclusive); `runs` began in between."""

    since: str
    until: str
    seq_since: int
    seq_until: int
    versions: tuple[VersionDiff, ...]
    tenants: tuple[TenantDiff, ...]
    runs: tuple[RunState, ...]
    summary: dict[str, int]


_Sets = dict[str, dict[str, Standing]]


def compare(before: Moment, after: Moment, runs: Iterable[RunState]) -> FleetDiff:
    """What is not as it was; tenants by name, migrations in their order."""
    was, now = _by_tenant(before), _by_tenant(after)
    tenants: list[TenantDiff] = []
    versions: dict[str, dict[str, int]] = {}
    same = 0

    def count(ids: Iterable[str], word: str) -> None:
        for one in ids:
            counts = versions.setdefault(one, {})
            counts[word] = counts.get(word, 0) + 1

    for name in sorted(was.keys() | now.keys()):
        found = _tenant(name, was.get(name, {}), now.get(name, {}))
        had, has = _applied(was.get(name, {})), _applied(now.get(name, {}))
        count(had, "before")
        count(has, "after")
        if found is None:
            same += 1
            continue
        tenants.append(found)
        count(found.applied, "applied" if found.change == "changed" else "came")
        count(found.undone, "undone" if found.change == "changed" else "went")
    words = [one.change for one in tenants]
    return FleetDiff(
        since=before.at,
        until=after.at,
        seq_since=before.seq,
        seq_until=after.seq,
        versions=tuple(
            VersionDiff(migration=one, **{"before": 0, "after": 0, **counts})
            for one, counts in sorted(versions.items(), key=lambda item: _order(item[0]))
            if counts.keys() - {"before", "after"}
        ),
        tenants=tuple(tenants),
        runs=tuple(sorted(runs, key=lambda run: (run.started_at, run.run))),
        summary={"same": same} | {word: words.count(word) for word in ("changed", "came", "went")},
    )


def _by_tenant(moment: Moment) -> _Sets:
    found: _Sets = {}
    for one in moment.tenants:
        found.setdefault(one.tenant, {})[one.set] = one
    return found


def _applied(sets: dict[str, Standing]) -> list[str]:
    return [f"{one.set}/{version}" for one in sets.values() for version in one.applied]


def _tenant(name: str, was: dict[str, Standing], now: dict[str, Standing]) -> TenantDiff | None:
    if was == now:
        return None
    had, has = _applied(was), _applied(now)
    return TenantDiff(
        tenant=name,
        change="came" if not was else "went" if not now else "changed",
        applied=tuple(one for one in has if one not in had),
        undone=tuple(one for one in had if one not in has),
        before=tuple(was.values()),
        after=tuple(now.values()),
    )


def _order(migration: str) -> tuple[str, tuple[int, ...], str]:
    set_name, _, version = migration.rpartition("/")
    return set_name, version_key(version) or (), version
