"""Sections without a transaction on SQLite: one step after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import StepFailedError
from tests.engines.sqlite.files import rows, run
from tests.engines.sqlite_child import make_items, target_for
from tests.engines.work import Journal, check, work


class TestStepwise:
    """Sections with transaction:false."""

    async def test_what_cannot_be_in_a_transaction_runs(self, path: Path) -> None:
        """VACUUM, journal_mode and ATTACH run, in order, each reported once."""
        other = path.with_name("other.db")
        make_items(other)
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(
                work(
                    "PRAGMA journal_mode = WAL",
                    f"ATTACH '{other}' AS other",
                    "INSERT INTO items (name) SELECT 'copied' FROM other.items",
                    "DETACH other",
                    "VACUUM",
                    transaction=False,
                    checks=[check("SELECT count(*) = 4 FROM items")],
                ),
                journal,
            )
            (entry,) = (await session.marker()).entries
        assert journal.numbers == [1, 2, 3, 4, 5]
        assert (entry.state, entry.step) == ("applied", 5)
        assert rows(path, "PRAGMA journal_mode") == [("wal",)]

    async def test_a_failure_stops_at_its_step(self, path: Path) -> None:
        """What landed stays and is remembered; corrected, the section goes on from there."""
        other = path.with_name("other.db")
        make_items(other)
        first = ("DELETE FROM items WHERE id = 1", f"ATTACH '{other}' AS other")
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work(*first, "SELECT nothing", "VACUUM", transaction=False), journal
                )
            (entry,) = (await session.marker()).entries
        assert caught.value.step == 3 and "what landed before stays" in caught.value.hint
        assert journal.numbers == [1, 2]
        assert (entry.state, entry.step) == ("running", 2)
        async with SqliteEngine().open(target_for(path)) as session:
            journal = Journal()
            await session.apply(
                work(
                    *first,
                    "INSERT INTO items (name) SELECT name FROM other.items",
                    "VACUUM main",
                    transaction=False,
                ),
                journal,
            )
        assert [(result.number, result.recovered) for result in journal.results] == [
            (1, True), (2, True), (3, False), (4, False),
        ]  # fmt: skip
        assert rows(path, "SELECT name FROM items") == [("two",), ("one",), ("two",)]

    @pytest.mark.parametrize("mode", ["OFF", "MEMORY"])
    async def test_no_statement_takes_the_way_back(self, path: Path, mode: str) -> None:
        """Without a journal on disk, ROLLBACK or a kill would leave a corrupt file; nor is
        `synchronous` lowered for the commits that follow, or for the next migration."""
        run(path, *(f"INSERT INTO items (name) VALUES ('{n:0500}')" for n in range(300)))
        watched = (
            "CREATE TABLE seen AS SELECT journal_mode, synchronous"
            " FROM pragma_journal_mode, pragma_synchronous"
        )
        settings = ("PRAGMA synchronous = OFF", "PRAGMA cache_size = 5")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError):
                await session.apply(
                    work(
                        f"PRAGMA journal_mode = {mode}",
                        *settings,
                        watched,
                        "BEGIN",
                        f"PRAGMA journal_mode = {mode}",
                        "UPDATE items SET name = name || name",
                        "DELETE FROM items WHERE id % 2",
                        "SELECT nothing",
                        "COMMIT",
                        transaction=False,
                    ),
                    Journal(),
                )
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
        assert rows(path, "SELECT count(*) FROM items") == [(302,)]
        assert rows(path, "SELECT * FROM seen") == [("delete", 3)]

    async def test_the_authors_own_transaction(self, path: Path) -> None:
        """BEGIN … COMMIT in the file holds its statements together, with the marker inside."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError):
                await session.apply(
                    work(
                        "DELETE FROM items WHERE id = 1",
                        "BEGIN",
                        "DELETE FROM items",
                        "SELECT nothing",
                        "COMMIT",
                        transaction=False,
                    ),
                    Journal(),
                )
            assert rows(path, "SELECT id FROM items") == [(2,)]
            journal = Journal()
            await session.apply(
                work(
                    "DELETE FROM items WHERE id = 1",
                    "BEGIN",
                    "DELETE FROM items",
                    "SELECT 1",
                    "COMMIT",
                    transaction=False,
                ),
                journal,
            )
        assert journal.numbers == [1, 2, 3, 4, 5]
        assert rows(path, "SELECT id FROM items") == []

    @pytest.mark.parametrize(
        "steps",
        [("BEGIN", "SELECT 1"), ("COMMIT",), ("BEGIN", "ROLLBACK"), ("BEGIN", "BEGIN", "COMMIT")],
    )
    async def test_a_transaction_that_is_not_one(self, path: Path, steps: tuple[str, ...]) -> None:
        """Refused before anything runs."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(StepFailedError):
                await session.apply(work("DELETE FROM items", *steps, transaction=False), Journal())
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_down(self, path: Path) -> None:
        """Down steps too are remembered one by one, and the entry goes with the last."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.apply(work("CREATE TABLE x (a)"), Journal())
            with pytest.raises(StepFailedError):
                await session.apply(
                    work(
                        "DROP TABLE x",
                        "SELECT nothing",
                        direction="down",
                        transaction=False,
                        epoch=2,
                    ),
                    Journal(),
                )
            journal = Journal()
            await session.apply(
                work("DROP TABLE x", "VACUUM", direction="down", transaction=False, epoch=3),
                journal,
            )
            assert (await session.marker()).entries == ()
        assert [result.recovered for result in journal.results] == [True, False]
