"""Backups of MySQL and MariaDB tenants that fail: no secrets, and nothing is left."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ledger.drivers.url import Secret, SecretSource
from ledger.engines.mysql.engine import MysqlEngine
from ledger.errors import BackupError
from tests.engines.mysql.backups import account, back_up, restore
from tests.engines.mysql_tenants import FILL, ITEMS, Tenant
from tests.servers import query


class TestSecrets:
    """The password, and who could see it."""

    @pytest.fixture
    def guarded(self, tenant: Tenant) -> Iterator[tuple[Tenant, str]]:
        """A tenant with an account of its own, and that account's password."""
        account, password = f"u_{secrets.token_hex(6)}", 'canary-"8\\1#; '
        quoted = password.replace("\\", "\\\\").replace("'", "''")
        tenant.run(
            ITEMS,
            FILL,
            f"CREATE USER '{account}'@'%' IDENTIFIED BY '{quoted}'",
            f"GRANT ALL ON `{tenant.database}`.* TO '{account}'@'%'",
        )
        url = msgspec.structs.replace(tenant.target.url, user=account)
        tenant.target = msgspec.structs.replace(
            tenant.target, url=url, secret=SecretSource(value=Secret(password))
        )
        yield tenant, password
        query(tenant.server, f"DROP USER '{account}'@'%'")

    async def test_password_is_in_no_argument_variable_or_file(
        self,
        engine: MysqlEngine,
        guarded: tuple[Tenant, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """What the dump program gets is looked at by a program in its place, which then calls it."""
        tenant, _ = guarded
        monkeypatch.setenv("MYSQL_PWD", "wrong")
        seen = tmp_path / "seen"
        _in_place_of_dump(
            tmp_path, monkeypatch, f'env > {seen}; echo "$@" >> {seen}; exec {{}} "$@"'
        )
        backup = await back_up(engine, tenant, tmp_path)
        assert "canary" not in seen.read_text()
        assert "MYSQL_PWD" not in seen.read_text()
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert b"canary" not in file.read_bytes(), file
        tenant.run("DROP TABLE items")
        assert await restore(engine, tenant, backup) == backup.fingerprint

    async def test_password_is_cut_from_what_the_program_says(
        self,
        engine: MysqlEngine,
        guarded: tuple[Tenant, str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Even a program that prints its options does not bring the password into an error."""
        tenant, password = guarded
        shown = password.replace("\\", "\\\\").replace('"', '\\"')
        _in_place_of_dump(tmp_path, monkeypatch, f"echo '{shown} {password}' >&2; exit 2")
        with pytest.raises(BackupError, match="exit code 2") as caught:
            await back_up(engine, tenant, tmp_path)
        assert password not in str(caught.value)


def _in_place_of_dump(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A mariadb-dump of the test's own, first on the path."""
    real = subprocess.check_output(["which", "mariadb-dump"], text=True).strip()
    programs = folder / "programs"
    programs.mkdir()
    for name in ("mariadb-dump", "mysqldump"):
        program = programs / name
        version = f'case "$*" in *--version*) exec {real} "$@";; esac\n'
        program.write_text("#!/bin/sh\n" + version + script.replace("{}", real) + "\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


class TestFailures:
    """Backups that do not come to their end."""

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo 'CREATE TABLE t (id INT);'; echo 'no space left' >&2; exit 3", "no space left"),
            ("echo 'CREATE TABLE t (id INT);'", "did not come to its end"),
            ("kill -9 $$", "exit code -9"),
        ],
    )
    async def test_leave_nothing_behind(
        self,
        engine: MysqlEngine,
        tenant: Tenant,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        script: str,
        words: str,
    ) -> None:
        """A dump that fails, breaks off or is killed is an error with its words, and no file."""
        folder = tmp_path / "backups"
        folder.mkdir()
        _in_place_of_dump(tmp_path, monkeypatch, script)
        with pytest.raises(BackupError, match=words):
            await back_up(engine, tenant, folder)
        assert list(folder.iterdir()) == []

    async def test_deadline(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dump that hangs is ended at the deadline."""
        _in_place_of_dump(tmp_path, monkeypatch, "exec sleep 60")
        folder = tmp_path / "backups"
        folder.mkdir()
        async with engine.open(tenant.target) as session:
            with pytest.raises(BackupError, match="within 1 s"):
                await session.backup(folder / "b", deadline_seconds=1)
        assert list(folder.iterdir()) == []

    async def test_no_program(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a dump program the error names the package to install."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BackupError) as caught:
            await back_up(engine, tenant, tmp_path)
        assert "client" in caught.value.hint

    @pytest.mark.parametrize("when", ["asked", "dumping"])
    async def test_a_program_that_cannot_be_started(
        self,
        engine: MysqlEngine,
        tenant: Tenant,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        when: str,
    ) -> None:
        """It is the program that is named, and not the file that it was to write."""
        _in_place_of_dump(tmp_path, monkeypatch, "exit 1")
        folder = tmp_path / "backups"
        folder.mkdir()
        if when == "dumping":
            with pytest.raises(BackupError, match="exit code 1"):
                await back_up(engine, tenant, folder)
        for program in (tmp_path / "programs").iterdir():
            program.write_bytes(b"\x7fELF of another machine")
        with pytest.raises(
            BackupError, match="dump cannot be started: exec format error"
        ) as caught:
            await back_up(engine, tenant, folder)
        assert "PATH" in caught.value.hint
        assert list(folder.iterdir()) == []

    async def test_symlink_is_not_followed(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """A link at the final name is left alone, and so is what it points to."""
        precious = tmp_path / "precious"
        precious.write_text("precious")
        (tmp_path / "backup.sql.zst").symlink_to(precious)
        with pytest.raises(BackupError):
            await back_up(engine, tenant, tmp_path)
        assert precious.read_text() == "precious"

    async def test_mode(self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path) -> None:
        """Only the owner can read it, whatever the umask."""
        old = os.umask(0)
        try:
            backup = await back_up(engine, tenant, tmp_path)
        finally:
            os.umask(old)
        assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600

    async def test_a_privilege_that_is_lacking(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path
    ) -> None:
        """Without TRIGGER a server may show no trigger: a backup without them is none."""
        tenant.run(
            ITEMS,
            "CREATE TRIGGER watch BEFORE INSERT ON items FOR EACH ROW SET NEW.id = NEW.id + 1",
        )
        may = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, SHOW VIEW, EVENT"
        with account(tenant, may) as app, pytest.raises(BackupError, match="TRIGGER"):
            await back_up(engine, app, tmp_path)
        assert list(tmp_path.iterdir()) == []

    async def test_is_read_back(
        self, engine: MysqlEngine, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dump that no restore could read is no backup, though the program was content."""
        folder = tmp_path / "backups"
        folder.mkdir()
        script = "echo \"CREATE TABLE t (id INT COMMENT 'open);\"; echo '-- Dump completed'"
        _in_place_of_dump(tmp_path, monkeypatch, script)
        with pytest.raises(BackupError, match="no end"):
            await back_up(engine, tenant, folder)
        assert list(folder.iterdir()) == []
