"""Backups of SQLite tenants as they live: WAL, other connections, layouts, damage."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ledger.engines.base import Backup
from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import (
    BackupError,
    FencedError,
    LockedError,
    RestoreError,
    TenantError,
    UnreachableError,
)
from ledger.events import Mark
from tests.engines.sqlite_child import make_items, target_for
from tests.engines.work import LEDGER, Journal, ref, work


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=5)


def _rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(_open(path)) as database:
        return database.execute(sql).fetchall()


def _own(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements as an application that has a collation and a function of its own."""
    rows: list[tuple[object, ...]] = []
    with closing(_open(path)) as application:
        application.create_collation("BACKWARDS", lambda one, other: (one < other) - (one > other))
        application.create_function("doubled", 1, lambda value: value * 2, deterministic=True)
        for statement in statements:
            rows = application.execute(statement).fetchall()
    return rows


def _make_own_indexes(path: Path) -> None:
    _own(
        path,
        "CREATE TABLE places (name TEXT COLLATE BACKWARDS, size INTEGER)",
        "CREATE INDEX places_name ON places (name)",
        "CREATE INDEX places_size ON places (doubled(size)) WHERE doubled(size) > 0",
        "CREATE TABLE codes (code TEXT COLLATE BACKWARDS PRIMARY KEY) WITHOUT ROWID",
        "INSERT INTO places VALUES ('A', 1), ('b', 2)",
        "INSERT INTO codes VALUES ('A'), ('b')",
        "CREATE TABLE sums (size INTEGER, twice INTEGER AS (doubled(size)) NOT NULL)",
        "INSERT INTO sums VALUES (1), (2)",
    )


async def _back_up(path: Path, name: str = "backup.sqlite") -> Backup:
    async with SqliteEngine().open(target_for(path)) as session:
        return await session.backup(path.with_name(name), deadline_seconds=30)


async def _restore(
    path: Path, backup: Backup, *, epoch: int = 5, lock_seconds: float = 5, seconds: float = 30
) -> Mark:
    target = target_for(path, for_restore=True)
    async with SqliteEngine(lock_seconds=lock_seconds).open(target) as session:
        return await session.restore(
            backup.path, sha256=backup.sha256, epoch=epoch, ledger=LEDGER, deadline_seconds=seconds
        )


class TestBackup:
    """What a backup holds."""

    async def test_holds_what_is_only_in_the_wal(self, path: Path) -> None:
        """Committed rows that no checkpoint has moved are in the backup; open transactions are not."""
        with closing(_open(path)) as application:
            application.execute("PRAGMA journal_mode = WAL")
            application.execute("PRAGMA wal_autocheckpoint = 0")
            application.execute("INSERT INTO items (name) VALUES ('in the wal')")
            application.execute("BEGIN IMMEDIATE")
            application.execute("INSERT INTO items (name) VALUES ('not committed')")
            backup = await _back_up(path)
            application.execute("COMMIT")
        assert _rows(backup.path, "SELECT name FROM items") == [
            ("one",),
            ("two",),
            ("in the wal",),
        ]

    async def test_is_exact(self, path: Path) -> None:
        """Hash, size, fingerprint; rowids, settings and layout of the original; nothing beside it."""
        with closing(_open(path)) as application:
            application.execute("PRAGMA user_version = 42")
            application.execute("PRAGMA application_id = 7")
            application.execute("PRAGMA journal_mode = WAL")
        backup = await _back_up(path)
        content = backup.path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == backup.sha256
        assert len(content) == backup.bytes
        async with SqliteEngine().open(target_for(path)) as session:
            assert (await session.mark()).fingerprint == backup.fingerprint
        assert [entry.name for entry in path.parent.glob("*backup*")] == ["backup.sqlite"]
        assert _rows(backup.path, "PRAGMA user_version") == [(42,)]
        assert _rows(backup.path, "PRAGMA application_id") == [(7,)]
        assert _rows(backup.path, "PRAGMA journal_mode") == [("wal",)]

    async def test_of_a_damaged_database_is_refused(self, path: Path) -> None:
        """What integrity_check finds is told, and no file is left."""
        with closing(_open(path)) as application:
            application.execute("CREATE INDEX items_name ON items (name)")
            application.execute("PRAGMA writable_schema = ON")
            application.execute("UPDATE sqlite_master SET rootpage = 2 WHERE name = 'items_name'")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(BackupError, match="not sound"):
                await session.backup(path.with_name("backup.sqlite"), deadline_seconds=30)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]

    async def test_needs_nothing_that_only_the_application_has(self, path: Path) -> None:
        """Its collations and functions may be in indexes; the restored rows are in its order."""
        _make_own_indexes(path)
        backup = await _back_up(path)
        _own(path, "DELETE FROM places")
        await _restore(path, backup)
        assert _own(path, "SELECT name FROM places ORDER BY name") == [("b",), ("A",)]
        assert _own(path, "SELECT name FROM places WHERE doubled(size) = 4") == [("b",)]
        assert _own(path, "PRAGMA integrity_check") == [("ok",)]
        looked = await SqliteEngine().probe(target_for(path), quick=False)
        assert {probe.level for probe in looked.probes} == {"ok"}

    @pytest.mark.parametrize("damaged", ["items_name", "places_name", "places"])
    async def test_of_a_damaged_database_with_such_is_refused(
        self, path: Path, damaged: str
    ) -> None:
        """What can be checked without the application is: other tables, and the pages of all."""
        _make_own_indexes(path)
        _own(path, "CREATE INDEX items_name ON items (name)")
        (row,) = _own(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{damaged}'")
        (pages,) = _own(path, "PRAGMA page_size")
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
        _make_own_indexes(path)
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
        await _back_up(path)
        (tmp_path / "other.sqlite").symlink_to(tmp_path / "dangling")
        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(BackupError):
                await session.backup(tmp_path / "other.sqlite", deadline_seconds=30)
        assert victim.read_text() == "precious"
        assert not (tmp_path / "dangling").exists()

    async def test_has_a_deadline(self, path: Path) -> None:
        """One that takes too long is ended, leaves nothing, and the session is usable."""
        with closing(_open(path)) as application:
            application.execute("INSERT INTO items (name) SELECT randomblob(100000) FROM "
                                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                                "WHERE i < 500) SELECT i FROM n)")  # fmt: skip
        async with SqliteEngine().open(target_for(path)) as session:
            with anyio.fail_after(30), pytest.raises(BackupError, match="longer than"):
                await session.backup(path.with_name("backup.sqlite"), deadline_seconds=0.005)
            assert (await session.marker()).epoch == 0
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


class TestRestore:
    """What a restore does to the live file."""

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    async def test_is_one_transaction_for_the_application(self, path: Path, mode: str) -> None:
        """A connection that stays open sees the old content, then the new; inode and mode survive."""
        with closing(_open(path)) as application:
            application.execute(f"PRAGMA journal_mode = {mode}")
            backup = await _back_up(path)
            application.execute("DELETE FROM items")
            application.execute("CREATE TABLE intruder (id)")
            path.chmod(0o640)
            before = path.stat()
            await _restore(path, backup)
            assert application.execute("SELECT count(*) FROM items").fetchall() == [(2,)]
            assert application.execute("PRAGMA journal_mode").fetchall() == [(mode,)]
            application.execute("INSERT INTO items (name) VALUES ('goes on')")
        after = path.stat()
        assert (after.st_ino, after.st_mode, after.st_uid) == (
            before.st_ino,
            before.st_mode,
            before.st_uid,
        )
        assert _rows(path, "SELECT name FROM sqlite_master WHERE name = 'intruder'") == []
        assert _rows(path, "PRAGMA integrity_check") == [("ok",)]

    @pytest.mark.parametrize("now", ["delete", "wal"])
    @pytest.mark.parametrize("then", ["delete", "wal"])
    @pytest.mark.parametrize("page_size", [4096, 8192, 512])
    async def test_brings_the_layout_back(
        self, tmp_path: Path, then: str, now: str, page_size: int
    ) -> None:
        """Journal mode, page size, user_version and application_id are those of the backup."""
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode=then, page_size=page_size)
        with closing(_open(path)) as application:
            application.execute("PRAGMA user_version = 42")
            application.execute("PRAGMA application_id = 7")
        backup = await _back_up(path)
        path.unlink()
        make_items(path, journal_mode=now)
        mark = await _restore(path, backup)
        assert mark.fingerprint == backup.fingerprint
        for name, value in {
            "journal_mode": then,
            "page_size": page_size,
            "user_version": 42,
            "application_id": 7,
            "integrity_check": "ok",
        }.items():
            assert _rows(path, f"PRAGMA {name}") == [(value,)], name

    async def test_another_page_size_needs_the_wal_database_alone(self, tmp_path: Path) -> None:
        """While an application has it open that cannot be done: an error, and nothing is changed."""
        path = tmp_path / "tenant.db"
        make_items(path, page_size=8192)
        backup = await _back_up(path)
        path.unlink()
        make_items(path, journal_mode="wal")
        with closing(_open(path)) as application:
            application.execute("DELETE FROM items")
            with pytest.raises(LockedError):
                await _restore(path, backup, lock_seconds=0.2)
            assert application.execute("SELECT count(*) FROM items").fetchall() == [(0,)]
        await _restore(path, backup)
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    @pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
    async def test_brings_the_text_encoding_back(self, tmp_path: Path, encoding: str) -> None:
        """Also into a file that somebody has emptied, or made anew in another encoding."""
        path = tmp_path / "tenant.db"
        with closing(_open(path)) as application:
            application.execute(f"PRAGMA encoding = '{encoding}'")
            application.execute("CREATE TABLE items (name TEXT)")
            application.execute("INSERT INTO items VALUES ('\u00e9\U0001f600')")
        backup = await _back_up(path)
        path.write_bytes(b"")
        for _ in range(2):
            mark = await _restore(path, backup)
            assert mark.fingerprint == backup.fingerprint
            assert _rows(path, "PRAGMA encoding") == [(encoding,)]
            assert _rows(path, "SELECT name FROM items") == [("\u00e9\U0001f600",)]
            path.unlink()
            make_items(path, journal_mode="wal")

    async def test_makes_a_missing_file_anew(self, path: Path) -> None:
        """The file is there again, with the fence, and the session goes on with it."""
        backup = await _back_up(path)
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
        backup = await _back_up(path)
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
        mark = await _restore(path, backup)
        assert mark.fingerprint == backup.fingerprint
        assert path.stat().st_mode & 0o777 == 0o640
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]
        assert sorted(entry.name for entry in path.parent.iterdir()) == [
            "backup.sqlite",
            "tenant.db",
        ]

    async def test_replaces_no_file_that_this_process_uses(self, path: Path) -> None:
        """The application around us would go on with a file that has no name any more; its lock
        is no hindrance to ours, and would be lost with ours."""
        backup = await _back_up(path)
        with closing(_open(path)) as application:
            application.execute("BEGIN IMMEDIATE")
            with path.open("r+b") as file:
                file.write(b"\xfe" * 50)
            with pytest.raises(LockedError, match="this process has it open"):
                await _restore(path, backup)
        await _restore(path, backup)
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_plays_no_old_journal_back(self, tmp_path: Path) -> None:
        """The -wal of a file that is gone is whole, and would overwrite what was restored."""
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode="wal")
        backup = await _back_up(path)
        with closing(_open(path)) as application:
            application.execute("PRAGMA wal_autocheckpoint = 0")
            application.execute("UPDATE items SET name = 'from the old journal'")
            journal = path.with_name("tenant.db-wal").read_bytes()
        path.unlink()
        path.with_name("tenant.db-wal").write_bytes(journal)
        await _restore(path, backup)
        assert _rows(path, "SELECT name FROM items") == [("one",), ("two",)]

    async def test_refuses_a_backup_that_was_edited(self, path: Path) -> None:
        """A sound database whose hash is not the recorded one is not the backup."""
        backup = await _back_up(path)
        with closing(_open(backup.path)) as database:
            database.execute("UPDATE items SET name = 'forged'")
        with pytest.raises(RestoreError, match="SHA-256"):
            await _restore(path, backup)
        assert _rows(path, "SELECT name FROM items") == [("one",), ("two",)]

    async def test_replaces_what_a_link_names(self, path: Path, tmp_path: Path) -> None:
        """The link stays a link."""
        backup = await _back_up(path)
        path.write_bytes(b"damaged" * 1000)
        link = tmp_path / "link.db"
        link.symlink_to(path)
        await _restore(link, backup)
        assert link.is_symlink()
        assert _rows(path, "SELECT count(*) FROM items") == [(2,)]

    async def test_waits_for_readers(self, path: Path) -> None:
        """A reader that never ends is named as a lock; nothing is changed, and all locks are let go."""
        backup = await _back_up(path)
        with closing(_open(path)) as application:
            application.execute("DELETE FROM items")
            application.execute("BEGIN")
            application.execute("SELECT * FROM items").fetchall()
            with pytest.raises(LockedError):
                await _restore(path, backup, lock_seconds=0.2)
            application.execute("COMMIT")
            application.execute("INSERT INTO items (name) VALUES ('mine')")
        await _restore(path, backup)
        assert _rows(path, "SELECT name FROM items") == [("one",), ("two",)]

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
            with closing(_open(path)) as application:
                application.execute("INSERT INTO items (name) VALUES ('not locked out')")
            await session.apply(work("DELETE FROM items", epoch=3), Journal())
        assert _rows(path, "SELECT count(*) FROM items") == [(0,)]

    async def test_is_refused_where_it_must_be(self, path: Path, tmp_path: Path) -> None:
        """A newer claim, another ledger, a backup that is no database: nothing is changed."""
        backup = await _back_up(path)
        async with SqliteEngine().open(target_for(path)) as session:
            await session.adopt([ref()], epoch=9, ledger=LEDGER)
        with pytest.raises(FencedError):
            await _restore(path, backup, epoch=8)
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
        backup = await _back_up(path)
        with closing(_open(path)) as application:
            application.execute("DELETE FROM items")
            application.execute("BEGIN IMMEDIATE")
            with anyio.fail_after(30), pytest.raises(RestoreError, match="longer than"):
                await _restore(path, backup, lock_seconds=30, seconds=0.3)
            application.execute("COMMIT")
        assert _rows(path, "SELECT count(*) FROM items") == [(0,)]
        assert not list(path.parent.glob(".*"))
