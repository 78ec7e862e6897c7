"""The engine contract: ways back, what is adopted, schemas and backups, on every database alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.engines.base import Engine, Session, Target
from ledger.errors import (
    BackupError,
    FencedError,
    RestoreError,
)
from ledger.schema import fingerprint
from tests.engines.adapters import Adapter
from tests.engines.work import (
    ADD,
    CREATE,
    FILL,
    INDEX,
    LEDGER,
    Journal,
    ref,
    work,
)


class TestDown:
    """A migration, backwards."""

    async def test_undoes_and_forgets(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """The down steps run once, and the migration's entry is gone with them."""
        async with engine.open(target) as session:
            await session.apply(work(CREATE, version="1"), Journal())
            journal = Journal()
            await session.apply(
                work("DROP TABLE items", version="1", direction="down", epoch=2), journal
            )
            assert (await session.marker()).entries == ()
        assert journal.numbers == [1]
        assert adapter.tables(target) == set()

    async def test_again_does_nothing(self, engine: Engine, target: Target) -> None:
        """Undone already, the steps are reported as recovered and not run."""
        down = work("DROP TABLE items", version="1", direction="down", epoch=2)
        async with engine.open(target) as session:
            await session.apply(work(CREATE, version="1"), Journal())
            await session.apply(down, Journal())
            journal = Journal()
            await session.apply(down, journal)
        assert [(result.number, result.recovered) for result in journal.results] == [(1, True)]

    async def test_then_up_again(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """What was undone can be applied anew."""
        async with engine.open(target) as session:
            await session.apply(work(CREATE), Journal())
            await session.apply(work("DROP TABLE items", direction="down", epoch=2), Journal())
            journal = Journal()
            await session.apply(work(CREATE, epoch=3), journal)
        assert [result.recovered for result in journal.results] == [False]
        assert adapter.tables(target) == {"items"}


class TestAdopt:
    """Baseline."""

    async def test_makes_exactly_these_applied(self, engine: Engine, target: Target) -> None:
        """What is named counts as applied, and nothing else."""
        async with engine.open(target) as session:
            await session.adopt([ref("1"), ref("2")], epoch=1, ledger=LEDGER)
            await session.adopt([ref("2"), ref("3")], epoch=2, ledger=LEDGER)
            marker = await session.marker()
        assert {entry.ref for entry in marker.entries} == {ref("2"), ref("3")}
        assert {entry.state for entry in marker.entries} == {"applied"}
        assert marker.epoch == 2

    async def test_keeps_its_steps_from_running(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """An adopted migration is not run."""
        async with engine.open(target) as session:
            await session.adopt([ref()], epoch=1, ledger=LEDGER)
            journal = Journal()
            await session.apply(work(CREATE, epoch=2), journal)
        assert journal.results == []
        assert adapter.tables(target) == set()

    async def test_gives_the_mark(self, engine: Engine, target: Target, adapter: Adapter) -> None:
        """The mark is that of the schema as it stands."""
        adapter.run(target, CREATE)
        async with engine.open(target) as session:
            mark = await session.adopt([ref()], epoch=1, ledger=LEDGER)
            assert mark.fingerprint == fingerprint(await session.schema())
            assert (await session.mark()).fingerprint == mark.fingerprint


class TestSchema:
    """Structure, and its fingerprint."""

    async def test_is_equal_for_equal_tenants(self, engine: Engine, adapter: Adapter) -> None:
        """Order of creation and whitespace do not count."""
        one, two = adapter.target(), adapter.target()
        other = "CREATE TABLE others (id INTEGER PRIMARY KEY)"
        adapter.run(one, CREATE, other, INDEX)
        adapter.run(two, other, CREATE.replace(" (", "  (\n  "), INDEX)
        async with engine.open(one) as first, engine.open(two) as second:
            assert await first.schema() == await second.schema()
            assert (await first.mark()).fingerprint == (await second.mark()).fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            ADD,
            INDEX,
            "DROP TABLE items",
            "CREATE VIEW items_seen AS SELECT id FROM items",
            "CREATE TABLE others (id INTEGER PRIMARY KEY)",
        ],
    )
    async def test_notices_a_change(
        self, engine: Engine, target: Target, adapter: Adapter, change: str
    ) -> None:
        """Any difference that a query could see changes the fingerprint."""
        adapter.run(target, CREATE)
        async with engine.open(target) as session:
            before = await session.mark()
        adapter.run(target, change)
        async with engine.open(target) as session:
            assert (await session.mark()).fingerprint != before.fingerprint

    async def test_does_not_hold_data(
        self, engine: Engine, target: Target, adapter: Adapter
    ) -> None:
        """Rows do not change the fingerprint."""
        adapter.run(target, CREATE)
        async with engine.open(target) as session:
            before = await session.mark()
        adapter.run(target, FILL)
        async with engine.open(target) as session:
            assert (await session.mark()).fingerprint == before.fingerprint


async def _damaged(
    session: Session, adapter: Adapter, target: Target, folder: Path
) -> tuple[Path, str, str]:
    """A backup of a filled tenant that then lost its data: path, hash, fingerprint."""
    await session.apply(work(CREATE, FILL, INDEX), Journal())
    backup = await session.backup(folder / f"b{adapter.backup_suffix}", deadline_seconds=60)
    adapter.run(target, "DELETE FROM items", "CREATE TABLE intruder (id INTEGER)")
    return backup.path, backup.sha256, backup.fingerprint


class TestBackup:
    """Backups, and bringing them back."""

    async def test_brings_content_and_schema_back(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """After a restore rows, schema and applied set are the backup's; the fence is the restore's."""
        async with engine.open(target) as session:
            path, sha256, before = await _damaged(session, adapter, target, tmp_path)
        async with engine.open(target) as session:
            mark = await session.restore(
                path, sha256=sha256, epoch=7, ledger=LEDGER, deadline_seconds=60
            )
        async with engine.open(target) as session:
            marker = await session.marker()
        assert mark.fingerprint == before
        assert adapter.rows(target, "SELECT id, name FROM items ORDER BY id") == [
            (1, "one"),
            (2, "two"),
        ]
        assert adapter.tables(target) == {"items"}
        assert marker.epoch == 7
        assert [entry.ref for entry in marker.entries] == [ref()]

    async def test_may_be_restored_again(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """A restore that is repeated ends the same."""
        async with engine.open(target) as session:
            path, sha256, before = await _damaged(session, adapter, target, tmp_path)
        for epoch in (7, 8):
            async with engine.open(target) as session:
                mark = await session.restore(
                    path, sha256=sha256, epoch=epoch, ledger=LEDGER, deadline_seconds=60
                )
                assert mark.fingerprint == before
                assert (await session.marker()).epoch == epoch

    async def test_is_private_and_complete(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """Mode 0600, the size and hash as told, and nothing else left in the folder."""
        folder = tmp_path / "backups"
        folder.mkdir()
        async with engine.open(target) as session:
            await session.apply(work(CREATE, FILL), Journal())
            backup = await session.backup(folder / "one", deadline_seconds=60)
        assert [entry.name for entry in folder.iterdir()] == ["one"]
        assert backup.path.stat().st_mode & 0o777 == 0o600
        assert backup.path.stat().st_size == backup.bytes
        assert backup.fingerprint

    async def test_never_overwrites(self, engine: Engine, target: Target, tmp_path: Path) -> None:
        """A file at the final name is left as it is."""
        there = tmp_path / "there"
        there.write_text("precious")
        async with engine.open(target) as session:
            with pytest.raises(BackupError):
                await session.backup(there, deadline_seconds=60)
        assert there.read_text() == "precious"

    async def test_truncated_is_refused(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """A backup that is not what was written is refused, and the tenant left alone."""
        async with engine.open(target) as session:
            path, sha256, _ = await _damaged(session, adapter, target, tmp_path)
        path.write_bytes(path.read_bytes()[:-100])
        async with engine.open(target) as session:
            with pytest.raises(RestoreError):
                await session.restore(
                    path, sha256=sha256, epoch=7, ledger=LEDGER, deadline_seconds=60
                )
        assert "intruder" in adapter.tables(target)

    async def test_missing_is_refused(self, engine: Engine, target: Target, tmp_path: Path) -> None:
        """A backup that is gone is an error that names it."""
        async with engine.open(target) as session:
            with pytest.raises(RestoreError, match="gone"):
                await session.restore(
                    tmp_path / "gone", sha256="0" * 64, epoch=7, ledger=LEDGER, deadline_seconds=60
                )

    async def test_is_refused_to_an_older_claim(
        self, engine: Engine, target: Target, adapter: Adapter, tmp_path: Path
    ) -> None:
        """A zombie cannot put an old state back over a newer claim's work."""
        async with engine.open(target) as session:
            path, sha256, _ = await _damaged(session, adapter, target, tmp_path)
        async with engine.open(target) as session:
            await session.fence(epoch=9, ledger=LEDGER)
        async with engine.open(target) as session:
            with pytest.raises(FencedError):
                await session.restore(
                    path, sha256=sha256, epoch=8, ledger=LEDGER, deadline_seconds=60
                )
        assert "intruder" in adapter.tables(target)
