"""yoyo: a folder of SQL files, applied under its lock to each database in one process."""

from __future__ import annotations

from pathlib import Path

from yoyo import get_backend, read_migrations

from bench.child import Orders, Work, serve
from bench.peers.address import url
from bench.workloads import MIGRATION, VERSION, WORKLOADS


def prepare(orders: Orders) -> Work:
    """The folder is read once, which is what a loop in one process would do."""
    folder = Path(orders["folder"]) / "yoyo"
    folder.mkdir(parents=True, exist_ok=True)
    script = WORKLOADS[orders["engine"]].script()
    (folder / f"{VERSION}.{MIGRATION}.sql").write_text(script)
    migrations = read_migrations(str(folder))

    def work() -> None:
        for target in orders["targets"]:
            backend = get_backend(url(orders, target, sqlite="sqlite:///", mysql="mysql"))
            with backend.lock():
                backend.apply_migrations(backend.to_apply(migrations))
            backend.connection.close()

    return work


if __name__ == "__main__":
    serve(prepare)
