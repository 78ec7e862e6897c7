"""Restores of SQLite tenants: one transaction, the layout too, and what is refused."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import (
    FencedError,
    LockedError,
    RestoreError,
    TenantError,
    UnreachableError,
)
from tests.engines.sqlite.backups import back_up, opened, restore
from tests.engines.sqlite.files import rows
from tests.engines.sqlite_child import make_items, target_for
from tests.engines.work import LEDGER, Journal, ref, work


class TestRestore:
    """What a restore does to the live file."""

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    async def test_is_one_transaction_for_the_application(self, path: Path, mode: str) -> None:
        """A connection that stays open sees the old content, then the new; inode and mode survive."""
        with closing(opened(path)) as application:
            application.execute(f"PRAGMA journal_mode = {mode}")
            backup = await back_up(path)
            application.execute("DELETE FROM items")
            application.execute("CREATE TABLE intruder (id)")
            path.chmod(0o640)
            before = path.stat()
            await restore(path, backup)
            assert application.execute("SELECT count(*) FROM items").fetchall() == [(2,)]
            assert application.execute("PRAGMA journal_mode").fetchall() == [(mode,)]
            application.execute("INSERT INTO items (name) VALUES ('goes on')")
        after = path.stat()
        assert (after.st_ino, after.st_mode, after.st_uid) == (
            before.st_ino,
            before.st_mode,
            before.st_uid,
        )
        assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'intruder'") == []
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]

    @pytest.mark.parametrize("now", ["delete", "wal"])
    @pytest.mark.parametrize("then", ["delete", "wal"])
    @pytest.mark.parametrize("page_size", [4096, 8192, 512])
    async def test_brings_the_layout_back(
        self, tmp_path: Path, then: str, now: str, page_size: int
    ) -> None:
        """Journal mode, page size, user_version and application_id are those of the backup."""
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode=then, page_size=page_size)
        with closing(opened(path)) as application:
            application.execute("PRAGMA user_version = 42")
            application.execute("PRAGMA application_id = 7")
        backup = await back_up(path)
        path.unlink()
        make_items(path, journal_mode=now)
        mark = await restore(path, backup)
        assert mark.fingerprint == backup.fingerprint
        for name, value in {
            "journal_mode": then,
            "page_size": page_size,
            "user_version": 42,
            "application_id": 7,
            "integrity_check": "ok",
        }.items():
            assert rows(path, f"PRAGMA {name}") == [(value,)], name

    async def test_another_page_size_needs_the_wal_database_alone(self, tmp_path: Path) -> None:
        """While an application has it open that cannot be done: an error, and nothing is changed."""
        path = tmp_path / "tenant.db"
        make_items(path, page_size=8192)
        backup = await back_up(path)
        path.unlink()
        make_items(path, journal_mode="wal")
        with closing(opened(path)) as application:
            application.execute("DELETE FROM items")
            with pytest.raises(LockedError):
                await restore(path, backup, lock_seconds=0.2)
            assert application.execute("SELECT count(*) FROM items").fetchall() == [(0,)]
        await restore(path, backup)
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    @pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
    async def test_brings_the_text_encoding_back(self, tmp_path: Path, encoding: str) -> None:
        """Also into a file that somebody has emptied, or made anew in another encoding."""
        path = tmp_path / "tenant.db"
        with closing(opened(path)) as application:
            application.execute(f"PRAGMA encoding = '{encoding}'")
            application.execute("CREATE TABLE items (name TEXT)")
            application.execute("INSERT INTO items VALUES ('\u00e9\U0001f600')")
        backup = await back_up(path)
        path.write_bytes(b"")
        for _ in range(2):
            mark = await restore(path, backup)
            assert mark.fingerprint == backup.fingerprint
            assert rows(path, "PRAGMA encoding") == [(encoding,)]
            assert rows(path, "SELECT name FROM items") == [("\u00e9\U0001f600",)]
            path.unlink()
            make_items(path, journal_mode="wal")

    async def test_makes_a_missing_file_anew(self, path: Path) -> None:
        """The file is there again, with the fence, and the session goes on with it."""
        backup = await back_up(path)
        path.unlink()
        async with SqliteEngine().open(target_for(path, for_restore=True)) as session:
            with pytest.raises(UnreachableError):
                await session.marker()
            mark = await session.restore(
                backup.path, sha256=backup.sha256, epoch=5, ledger=LEDGER, deadline_seconds=30
            )
            assert (await session.marker()).epoch == 5
            await session.apply(work("DELETE FROM items", epoch=6), Journal())
        assert mark.fingerprint == backup.fingerprint
        assert sorted(entry.name for entry in path.parent.iterdir()) == [
            "backup.sqlite",
            "tenant.db",
        ]

    @pytest.mark.parametrize("damage", ["header", "schema", "marker", "stale journal"])
    async def test_replaces_a_damaged_file(self, path: Path, damage: str) -> None:
        """What cannot be opened or read is replaced, with its mode; no stale journal is played back."""
        async with SqliteEngine().open(target_for(path)) as session:
            await session.fence(epoch=1, ledger=LEDGER)
        backup = await back_up(path)
        path.chmod(0o640)
        start, length = {"header": (0, 50), "schema": (100, 3996), "marker": (8192, 4096)}.get(
            damage, (0, 200)
        )
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xfe" * length)
        if damage == "stale journal":
            path.with_name("tenant.db-wal").write_bytes(b"not a journal" * 100)
            path.with_name("tenant.db-journal").write_bytes(b"not a journal" * 100)
        mark = await restore(path, backup)
        assert mark.fingerprint == backup.fingerprint
        assert path.stat().st_mode & 0o777 == 0o640
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]
        assert sorted(entry.name for entry in path.parent.iterdir()) == [
            "backup.sqlite",
            "tenant.db",
        ]

    async def test_replaces_no_file_that_this_process_uses(self, path: Path) -> None:
        """The application around us would go on with a file that has no name any more; its lock
        is no hindrance to ours, and would be lost with ours."""
        backup = await back_up(path)
        with closing(opened(path)) as application:
            application.execute("BEGIN IMMEDIATE")
            with path.open("r+b") as file:
                file.write(b"\xfe" * 50)
            with pytest.raises(LockedError, match="this process has it open"):
                await restore(path, backup)
        await restore(path, backup)
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_plays_no_old_journal_back(self, tmp_path: Path) -> None:
        """The -wal of a file that is gone is whole, and would overwrite what was restored."""
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode="wal")
        backup = await back_up(path)
        with closing(opened(path)) as application:
            application.execute("PRAGMA wal_autocheckpoint = 0")
            application.execute("UPDATE items SET name = 'from the old journal'")
            journal = path.with_name("tenant.db-wal").read_bytes()
        path.unlink()
        path.with_name("tenant.db-wal").write_bytes(journal)
        await restore(path, backup)
        assert rows(path, "SELECT name FROM items") == [("one",), ("two",)]

    async def test_refuses_a_backup_that_was_edited(self, path: Path) -> None:
        """A sound database whose hash is not the recorded one is not the backup."""
        backup = await back_up(path)
        with closing(opened(backup.path)) as database:
            database.execute("UPDATE items SET name = 'forged'")
        with pytest.raises(RestoreError, match="SHA-256"):
            await restore(path, backup)
        assert rows(path, "SELECT name FROM items") == [("one",), ("two",)]

    async def test_replaces_what_a_link_names(self, path: Path, tmp_path: Path) -> None:
        """The link stays a link."""
        backup = await back_up(path)
        path.write_bytes(b"damaged" * 1000)
        link = tmp_path / "link.db"
        link.symlink_to(path)
        await restore(link, backup)
        assert link.is_symlink()
        assert rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_waits_for_readers(self, path: Path) -> None:
        """A reader that never ends is named as a lock; nothing is changed, and all locks are let go."""
        backup = await back_up(path)
        with closing(opened(path)) as application:
            application.execute("DELETE FROM items")
            application.execute("BEGIN")
            application.execute("SELECT * FROM items").fetchall()
            with pytest.raises(LockedError):
                await restore(path, backup, lock_seconds=0.2)
            application.execute("COMMIT")
            application.execute("INSERT INTO items (name) VALUES ('mine')")
        await restore(path, backup)
        assert rows(path, "SELECT name FROM items") == [("one",), ("two",)]

    async def test_leaves_the_session_usable(self, path: Path) -> None:
        """Backup, migration and restore may follow each other on one session."""
        async with SqliteEngine().open(target_for(path)) as session:
            backup = await session.backup(path.with_name("backup.sqlite"), deadline_seconds=30)
            await session.apply(work("DROP TABLE items"), Journal())
            for epoch in (2, 3):
                await session.restore(
                    backup.path,
                    sha256=backup.sha256,
                    epoch=epoch,
                    ledger=LEDGER,
                    deadline_seconds=30,
                )
            with closing(opened(path)) as application:
                application.execute("INSERT INTO items (name) VALUES ('not locked out')")
            await session.apply(work("DELETE FROM items", epoch=3), Journal())
        assert rows(path, "SELECT count(*) FROM items") == [(0,)]

    async def test_is_refused_where_it_must_be(self, path: Path, tmp_path: Path) -> None:
        """A newer claim, another ledger, a backup that is no database: nothing is changed."""
        backup = await back_up(path)
        async with SqliteEngine().open(target_for(path)) as session:
            await session.adopt([ref()], epoch=9, ledger=LEDGER)
        with pytest.raises(FencedError):
            await restore(path, backup, epoch=8)
        letter = tmp_path / "letter"
        letter.write_text("Dear SQLite, " * 1000)
        digest = hashlib.sha256(letter.read_bytes()).hexdigest()
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(RestoreError, match="not sound"):
                await session.restore(
                    letter, sha256=digest, epoch=10, ledger=LEDGER, deadline_seconds=30
                )
            with pytest.raises(TenantError, match="another ledger"):
                await session.restore(
                    backup.path,
                    sha256=backup.sha256,
                    epoch=10,
                    ledger="another",
                    deadline_seconds=30,
                )
            assert (await session.marker()).entries[0].ref == ref()
        assert not list(tmp_path.glob(".*"))

    async def test_has_a_deadline(self, path: Path) -> None:
        """After it nothing is half restored."""
        backup = await back_up(path)
        with closing(opened(path)) as application:
            application.execute("DELETE FROM items")
            application.execute("BEGIN IMMEDIATE")
            with anyio.fail_after(30), pytest.raises(RestoreError, match="longer than"):
                await restore(path, backup, lock_seconds=30, seconds=0.3)
            application.execute("COMMIT")
        assert rows(path, "SELECT count(*) FROM items") == [(0,)]
        assert not list(path.parent.glob(".*"))
