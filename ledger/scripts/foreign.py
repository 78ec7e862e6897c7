"""Other migration tools' history tables: what their rows say, and which migrations those are.

Invariant: a history that says that something is unfinished, or that names what is
not on disk, is refused with the reason; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.scripts.model import Migration
from ledger.scripts.version import version_key

Row = Sequence[Any]


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One applied migration as the tool names it. `other` is a second name to find it by; `scope`
    is Django's app, Sqitch's project, sqlite-migrate's set. A `baseline` is a version from which on
    the tool counts, and no migration on disk need have it."""

    text: str
    other: str = ""
    scope: str = ""
    baseline: bool = False


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool's rows say: `applied` one by one, or everything `up_to` some; or the `problem`."""

    applied: tuple[Said, ...] = ()
    up_to: tuple[Said, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tool keeps its history. `lock` is a table and a column that is true while the tool runs.

    `registry` is the other database (on SQLite: the other file) that holds the table by default.
    `without` is a column that says that the table is another tool's.
    """

    table: str
    columns: tuple[str, ...]
    read: Callable[[Sequence[Row]], History]
    order: str = ""
    lock: tuple[str, str] | None = None
    registry: str = ""
    without: str = ""


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """The migrations that a history means, in the catalogue's order; `problem` if it is refused."""

    migrations: tuple[Migration, ...] = ()
    problem: str = ""
    hint: str = ""


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else "" if value is None else str(value)


def _true(value: object) -> bool:
    """MySQL's BIT comes as bytes, SQLite's booleans as numbers or words."""
    if isinstance(value, bytes):
        return value not in (b"", b"\0", b"0")
    if isinstance(value, str):
        return value.strip().lower() not in ("", "0", "f", "false", "n", "no")
    return bool(value)


def _golang_migrate(rows: Sequence[Row]) -> History:
    for version, dirty in rows:
        if _true(dirty):
            return History(
                problem=f"golang-migrate calls version {version} dirty: it ended in its middle"
            )
    return History(up_to=tuple(Said(text=_text(row[0])) for row in rows))


def _plain(rows: Sequence[Row]) -> History:
    return History(applied=tuple(Said(text=_text(row[0])) for row in rows))


def _goose(rows: Sequence[Row]) -> History:
    """The last row of a version decides; version 0 is goose's own."""
    last: dict[str, bool] = {_text(version): _true(applied) for version, applied in rows}
    return History(
        applied=tuple(
            Said(text=version) for version, applied in last.items() if applied and version != "0"
        )
    )


def _flyway(rows: Sequence[Row]) -> History:
    applied: dict[str, Said] = {}
    up_to: tuple[Said, ...] = ()
    repeatable: set[str] = set()
    for version, kind, script, success in rows:
        text, what = _text(version), _text(kind).upper()
        if not _true(success):
            return History(problem=f"Flyway says that {_text(script)} failed")
        if not text:
            if what != "SCHEMA":
                repeatable.add(_text(script))
        elif "BASELINE" in what:
            # Of a baseline command, or of a baseline migration, which stands for all before it.
            up_to = (Said(text=text, baseline=True),)
        elif what.startswith("UNDO") or what == "DELETE":
            applied.pop(text, None)
        else:
            applied[text] = Said(text=text)
    note = f"repeatable migrations have no version and are left out: {len(repeatable)}"
    return History(
        applied=tuple(applied.values()), up_to=up_to, notes=(note,) if repeatable else ()
    )


def _liquibase(rows: Sequence[Row]) -> History:
    applied = []
    for identifier, file, kind in rows:
        if _text(kind).upper() == "FAILED":
            return History(problem=f"Liquibase says that changeset {_text(identifier)} failed")
        applied.append(Said(text=_base_name(_text(file)), other=_text(identifier)))
    return History(applied=tuple(applied))


def _base_name(path: str) -> str:
    return re.split(r"[/\\]", path)[-1]


def _sqitch(rows: Sequence[Row]) -> History:
    return History(applied=tuple(Said(text=_text(row), scope=_text(scope)) for row, scope in rows))


def _atlas(rows: Sequence[Row]) -> History:
    """`type` is a set of bits: 1 baseline, 2 executed, 4 resolved by a person."""
    applied, up_to = [], []
    for version, kind, done, total, error in rows:
        text = _text(version)
        if text.startswith("."):
            continue
        if _text(error) and not int(kind) & 4:
            return History(problem=f"Atlas says that version {text} failed: {_text(error)}")
        if int(kind) & 1:
            up_to.append(Said(text=text))
        elif int(done) < int(total) and not int(kind) & 4:
            return History(
                problem=f"Atlas applied {done} of the {total} statements of version {text}"
            )
        else:
            applied.append(Said(text=text))
    return History(applied=tuple(applied), up_to=tuple(up_to))


def _alembic(rows: Sequence[Row]) -> History:
    heads = [_text(row[0]) for row in rows]
    if len(heads) > 1:
        return History(
            problem=f"Alembic has {len(heads)} heads ({', '.join(heads)}): merge them first"
        )
    return History(up_to=tuple(Said(text=head) for head in heads))


def _django(rows: Sequence[Row]) -> History:
    return History(applied=tuple(Said(text=_text(name), scope=_text(app)) for app, name in rows))


def _prisma(rows: Sequence[Row]) -> History:
    applied = []
    for name, finished, rolled_back in rows:
        if rolled_back is not None:
            continue
        if finished is None:
            return History(problem=f"Prisma says that {_text(name)} did not come to its end")
        applied.append(Said(text=_text(name)))
    return History(applied=tuple(applied))


SOURCES: Final[Mapping[str, Source]] = {
    "golang-migrate": Source(
        table="schema_migrations", columns=("version", "dirty"), read=_golang_migrate
    ),
    "dbmate": Source(table="schema_migrations", columns=("version",), read=_plain, without="dirty"),
    "goose": Source(
        table="goose_db_version", columns=("version_id", "is_applied"), read=_goose, order="id"
    ),
    "flyway": Source(
        table="flyway_schema_history",
        columns=("version", "type", "script", "success"),
        read=_flyway,
        order="installed_rank",
    ),
    "liquibase": Source(
        table="DATABASECHANGELOG",
        columns=("ID", "FILENAME", "EXECTYPE"),
        read=_liquibase,
        order="ORDEREXECUTED",
        lock=("DATABASECHANGELOGLOCK", "LOCKED"),
    ),
    "sqitch": Source(
        table="changes",
        columns=("change", "project"),
        read=_sqitch,
        order="committed_at",
        registry="sqitch",
    ),
    "atlas": Source(
        table="atlas_schema_revisions",
        columns=("version", "type", "applied", "total", "error"),
        read=_atlas,
        order="version",
    ),
    "alembic": Source(table="alembic_version", columns=("version_num",), read=_alembic),
    "django": Source(table="django_migrations", columns=("app", "name"), read=_django, order="id"),
    "yoyo": Source(
        table="_yoyo_migration",
        columns=("migration_id",),
        read=_plain,
        lock=("yoyo_lock", "locked"),
    ),
    "prisma": Source(
        table="_prisma_migrations",
        columns=("migration_name", "finished_at", "rolled_back_at"),
        read=_prisma,
        order="started_at",
    ),
    "sqlite-migrate": Source(
        table="_sqlite_migrations", columns=("migration_set", "name"), read=_django
    ),
}


def map_history(
    history: History, migrations: Sequence[Migration], *, scope: str | None = None
) -> Mapped:
    """The migrations on disk that the history means.

    Found by version (`0001_initial`, `V1.1`, `20261121_add_x` lead with it), else by
    name. `scope` chooses one app, project or set of the tool's.
    """
    if history.problem:
        return Mapped(
            problem=history.problem,
            hint="Settle it with that tool first, or count by hand with `ledger baseline --tenant NAME --to VERSION`.",
        )
    problem = _scope_problem(history, migrations, scope)
    if problem:
        return Mapped(problem=problem, hint="Name one with --scope.")
    scopes = {applied.scope for applied in history.applied}
    wanted = scope if scope is not None else _own_scope(scopes, migrations)
    chosen: set[str] = set()
    unknown: list[str] = []
    for said in history.applied:
        if wanted is not None and said.scope != wanted:
            continue
        found = _find(said, migrations)
        if len(found) > 1:
            names = ", ".join(migration.id for migration in found)
            return Mapped(problem=f"{said.text} may be any of {names}", hint="Choose with --set.")
        if found:
            chosen.add(found[0].id)
        else:
            unknown.append(said.text)
    for said in history.up_to:
        goals = {(migration.ref.set, migration.key) for migration in _find(said, migrations)}
        if not goals and said.baseline:
            sets = {migration.ref.set for migration in migrations}
            if len(sets) > 1:
                problem = f"its baseline {said.text} may be of any of {', '.join(sorted(sets))}"
                return Mapped(problem=problem, hint="Choose with --set.")
            key = version_key(said.text.replace("_", "."))
            goals = set() if key is None else {(name, key) for name in sets}
        if not goals:
            unknown.append(said.text)
        for name, goal in goals:
            chosen |= {
                migration.id
                for migration in migrations
                if migration.ref.set == name and migration.key <= goal
            }
    if unknown:
        return Mapped(
            problem=f"its history names what is not on disk: {', '.join(unknown[:10])}"
            + (" …" if len(unknown) > 10 else ""),
            hint="Put those migrations into the folder, under the version that the tool knows.",
        )
    return Mapped(migrations=tuple(migration for migration in migrations if migration.id in chosen))


def _scope_problem(history: History, migrations: Sequence[Migration], scope: str | None) -> str:
    scopes = sorted({applied.scope for applied in history.applied})
    if scope is not None and scope not in scopes:
        return f"its history knows no {scope!r}, but {', '.join(scopes) or 'nothing'}"
    if scope is None and len(scopes) > 1 and _own_scope(set(scopes), migrations) is None:
        return f"its history holds several: {', '.join(scopes)}"
    return ""


def _own_scope(scopes: Iterable[str], migrations: Sequence[Migration]) -> str | None:
    """The one scope that there is, or that is named like the one set on disk."""
    known = set(scopes)
    if len(known) == 1:
        return known.pop()
    sets = {migration.ref.set for migration in migrations} & known
    return sets.pop() if len(sets) == 1 else None


_LEADING: Final = (
    re.compile(r"[vVmM]?(\d+(?:[._]\d+)*)(?![0-9A-Za-z])"),
    re.compile(r"[vVmM]?(\d+(?:\.\d+)*)(?![0-9A-Za-z])"),
)


def _find(said: Said, migrations: Sequence[Migration]) -> list[Migration]:
    """By the leading version, then by name; a tool's second name is tried after its first."""
    for text in (said.text, said.other):
        for leading in _LEADING:
            lead = leading.match(text)
            key = version_key(lead[1].replace("_", ".")) if lead else None
            if key is not None and (
                found := [migration for migration in migrations if migration.key == key]
            ):
                return found
        name = _name(text)
        if name and (
            found := [migration for migration in migrations if _same_name(migration.ref.name, name)]
        ):
            return found
    return []


def _name(text: str) -> str:
    """The text in the form of a migration's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _same_name(own: str, said: str) -> bool:
    """Equal, or led by it: a file may be named after a revision and its message."""
    return own == said or own.startswith(said + "_")
