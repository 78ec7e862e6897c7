"""SQLite tenants that are missing, damaged, locked, full or killed under us: the fault table, provoked for real."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from ledger.engines.python import Tenant
from ledger.engines.sqlite.engine import SqliteEngine
from ledger.errors import LockedError, StepFailedError, UnreachableError
from ledger.scripts.model import PythonModule
from tests.engines import sqlite_child
from tests.engines.sqlite_child import answer, make_items, target_for
from tests.engines.work import Journal, check, work


def _content(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows and definitions, the marker apart."""
    with closing(sqlite3.connect(path)) as database:
        return (
            database.execute("SELECT * FROM items ORDER BY id").fetchall(),
            database.execute(
                "SELECT name, sql FROM sqlite_master WHERE tbl_name <> 'ledger_marker' ORDER BY name"
            ).fetchall(),
        )


async def _refused(path: Path, **more: object) -> UnreachableError:
    with pytest.raises(UnreachableError) as caught:
        async with SqliteEngine().open(target_for(path, **more)):
            pass
    return caught.value


class TestOpen:
    """What is opened, what is created, and what is refused."""

    async def test_missing_is_never_created(self, tmp_path: Path) -> None:
        """A missing file is an error that names path and source, and stays missing."""
        error = await _refused(tmp_path / "gone.db")
        assert "gone.db" in error.message
        assert "ledger.toml" in error.hint
        assert not (tmp_path / "gone.db").exists()

    async def test_missing_is_created_if_asked(self, tmp_path: Path) -> None:
        """With create the file is made, as SQLite itself would make it."""
        umask = os.umask(0o027)
        try:
            async with SqliteEngine().open(target_for(tmp_path / "new.db", create=True)) as session:
                await session.apply(work("CREATE TABLE items (id)"), Journal())
        finally:
            os.umask(umask)
        assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o640

    async def test_never_a_folder(self, tmp_path: Path) -> None:
        """With create, a missing folder is an error."""
        error = await _refused(tmp_path / "none" / "new.db", create=True)
        assert "Create its folder" in error.hint

    async def test_a_link_is_followed(self, path: Path, tmp_path: Path) -> None:
        """A symlink to a database is that database."""
        link = tmp_path / "link.db"
        link.symlink_to(path)
        async with SqliteEngine().open(target_for(link)) as session:
            await session.apply(work("DELETE FROM items"), Journal())
        assert link.is_symlink()
        assert _content(path)[0] == []

    async def test_a_fifo_is_refused(self, tmp_path: Path) -> None:
        """What is no regular file is refused without being opened, which might never return."""
        os.mkfifo(tmp_path / "fifo.db")
        assert "regular file" in (await _refused(tmp_path / "fifo.db")).message

    async def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        """So is a folder."""
        assert "regular file" in (await _refused(tmp_path)).message

    async def test_no_database(self, tmp_path: Path) -> None:
        """Any other file is called what it may be, and left as it is."""
        (tmp_path / "letter.db").write_text("Dear SQLite, " * 100)
        error = await _refused(tmp_path / "letter.db")
        assert "encrypted" in error.message
        assert (tmp_path / "letter.db").read_text() == "Dear SQLite, " * 100

    async def test_corrupt(self, path: Path) -> None:
        """A damaged first page is found on opening, with the way out."""
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff" * 3000)
        error = await _refused(path)
        assert "malformed" in error.message
        assert "ledger restore" in error.hint

    async def test_session_statements(self, path: Path) -> None:
        """They run on the connection, and cannot lower the durability of what we commit."""
        target = target_for(path, session=("PRAGMA synchronous = OFF", "PRAGMA foreign_keys = ON"))
        async with SqliteEngine().open(target) as session:
            checks = await session.check(
                [
                    check("SELECT foreign_keys = 1 FROM pragma_foreign_keys"),
                    check("SELECT synchronous = 3 FROM pragma_synchronous"),
                ]
            )
        assert [result.passed for result in checks] == [True, True]

    @pytest.mark.parametrize("mode", ["OFF", "MEMORY"])
    async def test_session_statements_keep_the_way_back(self, path: Path, mode: str) -> None:
        """A journal that is not on disk would make a failed step, or a kill, a corrupt file."""
        target = target_for(path, session=(f"PRAGMA journal_mode = {mode}",))
        async with SqliteEngine().open(target) as session:
            checks = await session.check(
                [check("SELECT journal_mode = 'delete' FROM pragma_journal_mode")]
            )
        assert [result.passed for result in checks] == [True]

    async def test_broken_session_statement(self, path: Path) -> None:
        """The statement is named."""
        error = await _refused(path, session=("PRAGMA foreign_keys = = 1",))
        assert "foreign_keys = = 1" in error.message


class TestRights:
    """Files that we may not write or read. A child without root's rights tries."""

    @pytest.mark.parametrize(
        ("mode", "folder_mode", "hint"),
        [(0o444, 0o777, "writable"), (0o666, 0o555, "folder"), (0o000, 0o777, "permissions")],
        ids=["read-only file", "read-only folder", "unreadable file"],
    )
    def test_are_named(
        self, monkeypatch: pytest.MonkeyPatch, mode: int, folder_mode: int, hint: str
    ) -> None:
        """The tenant is unreachable, the hint says what to do, and nothing is changed."""
        monkeypatch.setenv("TEST_AS_NOBODY", "1")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = folder / "tenant.db"
            make_items(path)
            before = _content(path)
            path.chmod(mode)
            folder.chmod(folder_mode)
            found = answer(sqlite_child.run("apply", path))
            folder.chmod(0o700)
            path.chmod(0o600)
            assert _content(path) == before
        assert found["error"] == "UnreachableError"
        assert hint in found["hint"]


class TestFull:
    """No room to write."""

    async def test_database_full(self, path: Path) -> None:
        """SQLite ends the transaction by itself; the tenant is as it was, and the step named."""
        before = _content(path)
        target = target_for(path, session=("PRAGMA max_page_count = 20",))
        async with SqliteEngine().open(target) as session:
            with pytest.raises(StepFailedError) as caught:
                await session.apply(
                    work("CREATE TABLE more (id)", *[sqlite_child.BIG] * 6), Journal()
                )
            assert (await session.marker()).entries == ()
        assert caught.value.database_code == "SQLITE_FULL"
        assert "Free disk space" in caught.value.hint
        assert _content(path) == before

    def test_disk_full(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that the disk refuses leaves the tenant as it was; with room again it applies."""
        before = _content(path)
        monkeypatch.setenv("TEST_FILE_BYTES", "20000")
        found = answer(sqlite_child.run("big", path))
        assert found["error"] in ("StepFailedError", "UnreachableError")
        assert "disk" in found["hint"]
        assert _content(path) == before
        monkeypatch.delenv("TEST_FILE_BYTES")
        assert answer(sqlite_child.run("big", path))["landed"] == [1, 2, 3, 4]


_HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
database.execute("SELECT * FROM items").fetchone() if "IMM" not in sys.argv[2] else None
print("held", flush=True)
sys.stdin.readline()
database.execute("COMMIT")
"""


@contextmanager
def _held(path: Path, begin: str) -> Iterator[subprocess.Popen[str]]:
    """Another process with a transaction open until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), begin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


class TestReplaced:
    """The file is not where it was, by a deployment script or a person, in the middle of a migration."""

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    @pytest.mark.parametrize("how", ["replaced", "removed"])
    async def test_what_nobody_would_find_is_not_done(
        self, path: Path, how: str, mode: str
    ) -> None:
        """A commit into a file that has lost its name is told as a failure."""
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA journal_mode = {mode}")
        new = path.with_name("new.db")
        make_items(new)

        async def up(tenant: Tenant) -> None:
            await tenant.execute("CREATE TABLE more (id)")
            path.unlink()
            if how == "replaced":
                new.rename(path)

        async with SqliteEngine().open(target_for(path)) as session:
            with pytest.raises(UnreachableError, match="replaced or removed"):
                await session.apply(work(python=PythonModule(up=up)), Journal())
        if how == "replaced" and mode == "delete":
            assert [name for name, _ in _content(path)[1]] == ["items"]
        elif how == "removed":
            assert not path.exists()


class TestBusy:
    """Another process holds the lock."""

    async def test_a_writer_is_waited_for(self, path: Path) -> None:
        """As soon as it commits, the migration goes on."""
        async with SqliteEngine(lock_seconds=30).open(target_for(path)) as session:
            with _held(path, "BEGIN IMMEDIATE") as process:
                journal = Journal()
                async with anyio.create_task_group() as group:
                    group.start_soon(session.apply, work(*sqlite_child.STEPS), journal)
                    await anyio.sleep(0.3)
                    assert journal.results == []
                    assert process.stdin is not None
                    process.stdin.close()
        assert journal.numbers == [1, 2, 3, 4]

    @pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN"])
    async def test_not_for_ever(self, path: Path, begin: str) -> None:
        """A writer, and a reader that keeps us from committing, end in an error that names the lock."""
        before = _content(path)
        async with SqliteEngine(lock_seconds=0.3).open(target_for(path)) as session:
            with (
                _held(path, begin) as process,
                pytest.raises(LockedError, match=r"locked for 0\.3 s") as caught,
            ):
                await session.apply(work(*sqlite_child.STEPS), Journal())
            assert f"process {process.pid} " in caught.value.message
            assert _content(path) == before
            journal = Journal()
            await session.apply(work(*sqlite_child.STEPS), journal)
        assert [result.recovered for result in journal.results] == [False] * 4

    async def test_opening_waits_no_longer_either(self, path: Path) -> None:
        """A tenant that cannot even be read is called locked, and is no damaged one."""
        with _held(path, "BEGIN EXCLUSIVE"), pytest.raises(LockedError):
            async with SqliteEngine(lock_seconds=0.2).open(target_for(path, for_restore=True)):
                pass


POINTS = ["engine.before_begin", "engine.in_transaction", "engine.before_marker"]


class TestKilled:
    """SIGKILL at every failpoint, then the same once more."""

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    @pytest.mark.parametrize("point", [*POINTS, "engine.after_commit"])
    def test_in_apply(self, tmp_path: Path, point: str, mode: str) -> None:
        """Every step takes effect exactly once: before the commit nothing has, after it all have."""
        path, undisturbed = tmp_path / "tenant.db", tmp_path / "undisturbed.db"
        make_items(path, journal_mode=mode)
        make_items(undisturbed, journal_mode=mode)
        assert sqlite_child.run("apply", path, failpoint=point).killed
        again = answer(sqlite_child.run("apply", path))
        assert again["landed"] == [1, 2, 3, 4]
        assert again["recovered"] == ([1, 2, 3, 4] if point == "engine.after_commit" else [])
        answer(sqlite_child.run("apply", undisturbed))
        assert _content(path) == _content(undisturbed)

    @pytest.mark.parametrize(
        "point",
        [
            *[f"engine.before_begin:{n}" for n in (1, 2, 4, 8)],
            *[f"engine.before_marker:{n}" for n in (1, 3, 6, 7)],
            *[f"engine.after_marker:{n}" for n in (1, 3, 5, 6)],
            "engine.after_statement",
            "engine.after_commit",
        ],
    )
    def test_between_the_steps(self, tmp_path: Path, point: str) -> None:
        """A section without a transaction goes on where it was: no step is lost, none run twice."""
        path = tmp_path / "tenant.db"
        make_items(path)
        assert sqlite_child.run("stepwise", path, failpoint=point).killed
        again = answer(sqlite_child.run("stepwise", path))
        assert again["landed"] == [1, 2, 3, 4, 5, 6]
        rows, definitions = _content(path)
        assert [row[1] for row in rows] == ["one", "two", "three"]
        assert [name for name, _ in definitions] == ["items", "items_category", "last"]

    @pytest.mark.parametrize(
        "point", ["backup.half_written", "backup.before_rename", "backup.after_rename"]
    )
    def test_in_a_backup(self, path: Path, tmp_path: Path, point: str) -> None:
        """What stands at the final name is whole; what does not is discarded by the next attempt."""
        folder = tmp_path / "backups"
        folder.mkdir()
        killed = sqlite_child.run("backup", path, folder, failpoint=point)
        assert killed.killed
        final = folder / "backup.sqlite"
        if point == "backup.after_rename":
            with closing(sqlite3.connect(final)) as database:
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return
        assert not final.exists()
        answer(sqlite_child.run("backup", path, folder))
        assert [entry.name for entry in folder.iterdir()] == ["backup.sqlite"]

    @pytest.mark.parametrize("mode", ["delete", "wal"])
    @pytest.mark.parametrize(
        "point", ["restore.before_write", "restore.half_written", "restore.after_write"]
    )
    def test_in_a_restore(self, tmp_path: Path, point: str, mode: str) -> None:
        """Before the restore's commit the tenant is readable as it was; repeated, it is the backup."""
        path = tmp_path / "tenant.db"
        make_items(path, journal_mode=mode)
        before = _content(path)
        made = answer(sqlite_child.run("backup", path))
        (tmp_path / "backup.sha256").write_text(made["sha256"])
        answer(sqlite_child.run("apply", path))
        after = _content(path)
        killed = sqlite_child.run("restore", path, failpoint=point)
        assert killed.killed
        assert _content(path) == (before if point == "restore.after_write" else after)
        answer(sqlite_child.run("restore", path))
        assert _content(path) == before
        assert not list(tmp_path.glob(".*"))


def test_a_stopped_zombie_is_refused(path: Path, tmp_path: Path) -> None:
    """A runner that wakes up after its claim has passed on finds the newer fence and writes nothing."""
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    answer(sqlite_child.run("restore", *_backup_of(path, tmp_path)))
    found = answer(sqlite_child.run("apply", path))
    assert found["error"] == "FencedError"
    assert _content(path) == _content(copy)


def _backup_of(path: Path, folder: Path) -> tuple[Path, Path]:
    made = answer(sqlite_child.run("backup", path, folder))
    (folder / "backup.sha256").write_text(made["sha256"])
    return path, folder
