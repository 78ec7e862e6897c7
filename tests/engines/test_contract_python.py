"""The engine contract: Python migrations and queries, on every database alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.engines.base import Engine, Target
from ledger.errors import (
    StepFailedError,
    UnreachableError,
)
from ledger.scripts.model import PythonModule
from tests.engines.adapters import Adapter
from tests.engines.work import (
    CREATE,
    FILL,
    Journal,
    work,
)

MODULE = """
async def up(tenant):
    await tenant.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40))")
    await tenant.execute("INSERT INTO items (id, name) VALUES (1, 'one')")
    rows = await tenant.fetch("SELECT name FROM items")
    await tenant.execute(f"INSERT INTO items (id, name) VALUES (2, '{rows[0][0]}{tenant.name}')")

async def down(tenant):
    await tenant.execute("DROP TABLE items")

async def broken(tenant):
    await tenant.execute("CREATE TABLE items (id INTEGER PRIMARY KEY)")
    raise RuntimeError("as it happens")

async def leaving(tenant):
    raise SystemExit(3)
"""


def _module(tmp_path: Path, up: str = "up") -> PythonModule:
    file = tmp_path / "001_items.py"
    file.write_text(MODULE)
    names: dict[str, object] = {}
    exec(compile(MODULE, str(file), "exec"), names)
    return PythonModule(up=names[up], down=names["down"])  # type: ignore[arg-type]


class TestPython:
    """Migrations that are Python."""

    async def test_number_their_statements(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """Each execute is a step; fetch is none; both see what came before."""
        async with engine.open(target) as session:
            journal = Journal()
            await session.apply(work(python=_module(tmp_path)), journal)
            await session.apply(work(python=_module(tmp_path)), journal)
        assert journal.numbers == [1, 2, 3, 1, 2, 3]
        assert [result.recovered for result in journal.results] == [False] * 3 + [True] * 3
        assert adapter.rows(target, "SELECT name FROM items WHERE id = 2") == [
            (f"one{target.name}",)
        ]

    async def test_can_be_undone(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """`down` runs, and the entry is gone."""
        async with engine.open(target) as session:
            await session.apply(work(python=_module(tmp_path)), Journal())
            await session.apply(
                work(python=_module(tmp_path), direction="down", epoch=2), Journal()
            )
            assert (await session.marker()).entries == ()
        assert adapter.tables(target) == set()

    async def test_that_raise_name_their_line(
        self, engine: Engine, target: Target, tmp_path: Path
    ) -> None:
        """Any exception is a StepFailedError at the line of the file that raised it."""
        async with engine.open(target) as session:
            with pytest.raises(StepFailedError, match="as it happens") as caught:
                await session.apply(work(python=_module(tmp_path, "broken")), Journal())
            entries = (await session.marker()).entries
        assert caught.value.file == str(tmp_path / "001_items.py")
        assert caught.value.line == 13
        assert [entry for entry in entries if entry.state == "applied"] == []

    async def test_that_exit_end_their_tenant_only(
        self, engine: Engine, target: Target, tmp_path: Path
    ) -> None:
        """`sys.exit` in a migration is its failure, and does not end the run."""
        async with engine.open(target) as session:
            with pytest.raises(StepFailedError, match="SystemExit: 3"):
                await session.apply(work(python=_module(tmp_path, "leaving")), Journal())


class TestQuery:
    """Control planes."""

    async def test_reads_rows(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """Rows come as tuples, in order."""
        adapter.run(target, CREATE, FILL)
        sql = "SELECT id, name FROM items ORDER BY id"
        rows = [row async for row in engine.query(target.url, target.secret, sql)]
        assert rows == [(1, "one"), (2, "two")]

    async def test_cannot_write(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """A statement that writes is refused."""
        adapter.run(target, CREATE, FILL)
        with pytest.raises(UnreachableError):
            _ = [row async for row in engine.query(target.url, target.secret, "DELETE FROM items")]
        assert adapter.rows(target, "SELECT count(*) FROM items") == [(2,)]
