"""sqlite-migrate (sqlite-utils): one registered function, applied to each database in one process."""

from __future__ import annotations

from typing import Any

from sqlite_migrate import Migrations
from sqlite_utils import Database

from bench.child import Orders, Work, serve
from bench.workloads import P


def prepare(orders: Orders) -> Work:
    """Only SQLite is there."""
    migrations = Migrations("bench")

    @migrations()
    def workload(db: Any) -> None:
        for statement in P.statements:
            db.execute(statement)

    def work() -> None:
        for path in orders["targets"]:
            database = Database(path)
            migrations.apply(database)
            database.close()

    return work


if __name__ == "__main__":
    serve(prepare)
