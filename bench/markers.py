"""What the marker takes in a tenant: bytes after 1, 10 and 100 migrations of 15 statements each.

    python -m bench.markers [--engine sqlite]

Sizes, not times. Beside it stands a bare table with a row per migration, as most tools keep one. The
last migration's results stay in the marker until the next one, so that one that is settled costs what
each further one adds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.fleet import MysqlFleet, no_server, work_folder
from bench.options import Options
from bench.ours import Product
from bench.report import Report, Table, TargetRow, main, unmeasured
from bench.server import Server

LIMIT_BYTES: Final = 410
WHAT: Final = "marker in a tenant, per settled migration of 15 statements"
TARGET: Final = "≤ 0.4 KB"
BARE: Final = (
    "CREATE TABLE bare_marker (version VARCHAR(100) NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL,"
    " applied_at VARCHAR(30) NOT NULL)"
)
BARE_ROW: Final = "INSERT INTO bare_marker VALUES ('{:04}', 'bring_more', '2026-01-01T00:00:00Z')"
INDEXED: Final = ("owner", "note", "owner, note", "note, owner")
MYSQL_BYTES: Final = (
    "SELECT data_length + index_length FROM information_schema.tables"
    " WHERE table_schema = '{}' AND table_name = '{}'"
)


def migration(number: int) -> str:
    """Three tables and twelve indexes."""
    tables = [f"more_{number}_{each}" for each in range(3)]
    made = [
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, owner VARCHAR(40), note VARCHAR(40));\n"
        for table in tables
    ]
    made += [
        f"CREATE INDEX {table}_{number} ON {table} ({columns});\n"
        for table in tables
        for number, columns in enumerate(INDEXED)
    ]
    return "-- migrate:up\n" + "".join(made)


class Place(NamedTuple):
    """One tenant. `run` executes a statement in it, `size` is a table's bytes there."""

    product: Product
    run: Callable[[str], object]
    size: Callable[[str], int]


@contextmanager
def sqlite_place(folder: Path) -> Iterator[Place]:
    """A file."""
    folder.mkdir()
    path = folder / "tenant.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 1")

        def size(table: str) -> int:
            names = f"SELECT name FROM sqlite_master WHERE tbl_name = '{table}'"
            sql = f"SELECT SUM(pgsize) FROM dbstat WHERE name IN ({names})"
            return int(database.execute(sql).fetchone()[0])

        yield Place(
            Product(folder / "ours", f'[[tenants]]\nsqlite = "{path}"\n'),
            database.execute,
            size,
        )


@contextmanager
def mysql_place(folder: Path, options: Options) -> Iterator[Place]:
    """A database on the server."""
    fleet = MysqlFleet(Server.parse(options.server), 1)
    (name,) = fleet.fresh(1)
    try:
        with fleet.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"USE `{name}`")

            def size(table: str) -> int:
                # Both keep what they counted last, MySQL for a day.
                if "MariaDB" not in (fleet.server.version() or ""):
                    cursor.execute("SET SESSION information_schema_stats_expiry = 0")
                cursor.execute(f"ANALYZE TABLE `{table}`")
                cursor.execute(MYSQL_BYTES.format(name, table))
                return int(cursor.fetchall()[0][0])

            yield Place(
                Product(folder / "ours", fleet.config()),
                cursor.execute,
                size,
            )
    finally:
        fleet.drop()


def measure(place: Place, counts: tuple[int, ...]) -> list[tuple[int, int]]:
    """The bytes of the marker and of the bare table after each number of migrations in `counts`."""
    found, done = [], 0
    place.run(BARE)
    place.product.migrations.mkdir()
    for count in counts:
        for number in range(done + 1, count + 1):
            (place.product.migrations / f"{number:04}_bring_more.sql").write_text(migration(number))
            place.run(BARE_ROW.format(number))
        done = count
        place.product.migrate()
        found.append((place.size("ledger_marker"), place.size("bare_marker")))
    return found


def run(options: Options) -> Report:
    """All counts on both kinds of databases."""
    counts = (1, 3) if options.size == "quick" else (1, 10, 100)
    rows, targets = [], []
    for engine in options.engines:
        key = f"marker-{engine}"
        if engine == "mysql" and (why := no_server(options)):
            targets.append(unmeasured(key, f"{WHAT}, {engine}", TARGET, why))
            continue
        with work_folder(options) as folder:
            place = (
                sqlite_place(folder / "one")
                if engine == "sqlite"
                else mysql_place(folder / "one", options)
            )
            with place as opened:
                found = measure(opened, counts)
        for count, (ours, bare) in zip(counts, found, strict=True):
            rows.append((engine, str(count), f"{ours:,}", f"{ours / count:,.0f}", f"{bare:,}"))
        each = (found[-1][0] - found[0][0]) / (counts[-1] - counts[0])
        targets.append(
            TargetRow(
                key=key,
                what=f"{WHAT}, {engine}",
                target=TARGET,
                measured=f"{each:.0f} bytes",
                met=each <= LIMIT_BYTES,
                value=each,
            )
        )
    table = Table(
        title="The marker's size in one tenant, in bytes",
        columns=("database", "migrations", "marker", "per migration", "bare table"),
        rows=tuple(rows),
        notes=(
            "SQLite: pages of the table and its indexes (dbstat); servers: data and index length.",
        ),
    )
    return Report(script="markers", tables=(table,), targets=tuple(targets))


if __name__ == "__main__":
    main("markers", __doc__, run)
