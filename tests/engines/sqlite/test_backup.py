"""Backups of SQLite tenants: exact, checked, in time, and nobody else's file."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import (
    BackupError,
)
from tests.engines.sqlite.backups import back_up, make_own_indexes, opened, own, restore
from tests.engines.sqlite.files import rows
from tests.engines.sqlite_child import target_for


class TestBackup:
    """What a backup holds."""

    async def test_holds_what_is_only_in_the_wal(self, path: Path) -> None:
        """Committed rows that no checkpoint has moved are in the backup; open transactions are not."""
        with closing(opened(path)) as application:
            application.execute("PRAGMA journal_mode = WAL")
            application.execute("PRAGMA wal_autocheckpoint = 0")
            application.execute("INSERT INTO items (name) VALUES ('in the wal')")
            application.execute("BEGIN IMMEDIATE")
            application.execute("INSERT INTO items (name) VALUES ('not committed')")
            backup = await back_up(path)
            application.execute("COMMIT")
        assert rows(backup.path, "SELECT name FROM items") == [
            ("one",),
            ("two",),
            ("in the wal",),
        ]

    async def test_is_exact(self, path: Path) -> None:
        """Hash, size, fingerprint; rowids, settings and layout of the original; nothing beside it."""
        with closing(opened(path)) as application:
            application.execute("PRAGMA user_version = 42")
            application.execute("PRAGMA application_id = 7")
            application.execute("PRAGMA journal_mode = WAL")
        backup = await back_up(path)
        content = backup.path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == backup.sha256
        assert len(content) == backup.bytes
        async with SqliteEngine().open(target_for(path)) as session:
            assert (await session.mark()).fingerprint == backup.fingerprint
        assert [entry.name for entry in path.parent.glob("*backup*")] == ["backup.sqlite"]
        assert rows(backup.path, "PRAGMA user_version") == [(42,)]
        assert rows(backup.path, "PRAGMA application_id") == [(7,)]
        assert rows(backup.path, "PRAGMA journal_mode") == [("wal",)]

    async def test_of_a_damaged_database_is_refused(self, path: Path) -> None:
        """What integrity_check finds is told, and no file is left."""
        with closing(opened(path)) as application:
            application.execute("CREATE INDEX items_name ON items (name)")
            application.execute("PRAGMA writable_schema = ON")
            application.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'items_name'")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(BackupError, match="not sound"):
                await session.backup(path.with_name("backup.sqlite"), deadline_seconds=30)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    async def test_needs_nothing_that_only_the_application_has(self, path: Path) -> None:
        """Its collations and functions may be in indexes; the restored rows are in its order."""
        make_own_indexes(path)
        backup = await back_up(path)
        own(path, "DELETE FROM places")
        await restore(path, backup)
        assert own(path, "SELECT name FROM places ORDER BY name") == [("b",), ("A",)]
        assert own(path, "SELECT name FROM places WHERE doubled(size) = 4") == [("b",)]
        assert own(path, "PRAGMA integrity_check") == [("ok",)]
        looked = await SqliteEngine().probe(target_for(path), quick=False)
        assert {probe.level for probe in looked.probes} == {"ok"}

    @pytest.mark.parametrize("damaged", ["items_name", "places_name", "places"])
    async def test_of_a_damaged_database_with_such_is_refused(
        self, path: Path, damaged: str
    ) -> None:
        """What can be checked without the application is: other tables, and the pages of all."""
        make_own_indexes(path)
        own(path, "CREATE INDEX items_name ON items (name)")
        (row,) = own(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{damaged}'")
        (pages,) = own(path, "PRAGMA page_size")
        with path.open("r+b") as file:
            # A page that says it has other cells than it has.
            file.seek((int(str(row[0])) - 1) * int(str(pages[0])) + 5)
            file.write(b"\x00\x10")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(BackupError, match="not sound"):
                await session.backup(path.with_name("backup.sqlite"), deadline_seconds=30)

    async def test_pages_that_no_table_has_are_checked_without_the_application(
        self, path: Path
    ) -> None:
        """What a row holds depends on the application's functions; the list of free pages does not."""
        make_own_indexes(path)
        with path.open("r+b") as file:
            file.seek(36)
            file.write((5).to_bytes(4, "big"))
        looked = await SqliteEngine().probe(target_for(path), quick=False)
        assert "failed" in {probe.level for probe in looked.probes}

    async def test_needs_room(self, path: Path, tmp_path: Path) -> None:
        """A folder that does not exist, or cannot be written, is a BackupError."""
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(BackupError, match="none"):
                await session.backup(tmp_path / "none" / "backup.sqlite", deadline_seconds=30)

    async def test_a_link_in_its_place_is_not_followed(self, path: Path, tmp_path: Path) -> None:
        """Neither at the final nor at the temporary name."""
        victim = tmp_path / "victim"
        victim.write_text("precious")
        (tmp_path / ".backup.sqlite.partial").symlink_to(victim)
        await back_up(path)
        (tmp_path / "other.sqlite").symlink_to(tmp_path / "dangling")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(BackupError):
                await session.backup(tmp_path / "other.sqlite", deadline_seconds=30)
        assert victim.read_text() == "precious"
        assert not (tmp_path / "dangling").exists()

    async def test_has_a_deadline(self, path: Path) -> None:
        """One that takes too long is ended, leaves nothing, and the session is usable."""
        with closing(opened(path)) as application:
            application.execute("INSERT INTO items (name) SELECT randomblob(100000) FROM "
                                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                                "WHERE i < 500) SELECT i FROM n)")  # fmt: skip
        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.fail_after(30), pytest.raises(BackupError, match="longer than"):
                await session.backup(path.with_name("backup.sqlite"), deadline_seconds=0.005)
            assert (await session.marker()).epoch == 0
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
