"""Python migrations on SQLite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import CheckFailedError, StepFailedError, TenantError
from ledger.scripts.model import PythonModule
from tests.engines.sqlite.files import rows
from tests.engines.sqlite_child import target_for
from tests.engines.work import Journal, work

Up = Callable[[object], Awaitable[None]]


def _python(up: Up, verify: Up | None = None) -> PythonModule:
    return PythonModule(up=up, verify=verify)


class TestPython:
    """Python migrations hold one transaction over their awaits."""

    async def _fails(
        self,
        path: Path,
        up: Up,
        match: str,
        verify: Up | None = None,
        error: type[TenantError] = StepFailedError,
        timeout_seconds: float | None = None,
    ) -> TenantError:
        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.fail_after(30), pytest.raises(error, match=match) as caught:
                await session.apply(
                    work(python=_python(up, verify), timeout_seconds=timeout_seconds), Journal()
                )
            assert (await session.marker()).entries == ()
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]
        assert caught.value.file == __file__ or timeout_seconds
        return caught.value

    async def test_an_exception_rolls_back(self, path: Path) -> None:
        """Whatever it is, and whenever."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            raise KeyError("missing")

        await self._fails(path, up, "KeyError: 'missing'")

    async def test_it_cannot_commit(self, path: Path) -> None:
        """COMMIT is refused as a step of its own number."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            await tenant.execute("COMMIT")  # type: ignore[attr-defined]

        error = await self._fails(path, up, "may not begin or end a transaction")
        assert isinstance(error, StepFailedError)
        assert error.step == 2

    async def test_a_caught_error_cannot_hide_a_lost_transaction(self, path: Path) -> None:
        """If SQLite has rolled back, the migration does not count, whatever it caught."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items WHERE id = 2")  # type: ignore[attr-defined]
            try:
                await tenant.execute("INSERT OR ROLLBACK INTO items VALUES (1, 'x')")  # type: ignore[attr-defined]
            except StepFailedError:
                return

        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError, match="rolled the transaction back"):
                await session.apply(work(python=_python(up)), Journal())
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_a_time_out(self, path: Path) -> None:
        """Also while it awaits something else than the database."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            await anyio.sleep(60)

        await self._fails(path, up, "timed out after", timeout_seconds=0.2)

    async def test_a_cancellation(self, path: Path) -> None:
        """Also while it awaits something else than the database."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]
            await anyio.sleep(60)

        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.move_on_after(0.2) as scope:
                await session.apply(work(python=_python(up)), Journal())
            assert scope.cancelled_caught
            assert (await session.marker()).entries == ()
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_verify(self, path: Path) -> None:
        """It may only fetch; what it raises stops the migration, what it accepts is a check."""

        async def up(tenant: object) -> None:
            await tenant.execute("DELETE FROM items")  # type: ignore[attr-defined]

        async def writes(tenant: object) -> None:
            await tenant.execute("INSERT INTO items (name) VALUES ('x')")  # type: ignore[attr-defined]

        async def refuses(tenant: object) -> None:
            assert await tenant.fetch("SELECT 1 FROM items"), "nobody left"  # type: ignore[attr-defined]

        async def accepts(tenant: object) -> None:
            assert not await tenant.fetch("SELECT 1 FROM items WHERE id > ?", [0])  # type: ignore[attr-defined]

        await self._fails(path, up, "nobody left", refuses, CheckFailedError)
        await self._fails(path, up, "read only", writes, CheckFailedError)
        async with SqliteEngine().open(target_for(path)) as session:
            done = await session.apply(work(python=_python(up, accepts)), Journal())
        assert [(result.name, result.passed) for result in done.checks] == [("verify", True)]
