"""Backing up and restoring tenants of MySQL and MariaDB, as the tests of backups do."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zstandard

from ledger.drivers.url import SecretSource
from ledger.engines.base import Backup
from ledger.engines.mysql.engine import MysqlEngine
from tests.engines.mysql_tenants import Tenant
from tests.engines.work import LEDGER
from tests.servers import query


async def back_up(engine: MysqlEngine, tenant: Tenant, folder: Path) -> Backup:
    async with engine.open(tenant.target) as session:
        await session.fence(epoch=1, ledger=LEDGER)
        return await session.backup(folder / "backup.sql.zst", deadline_seconds=60)


async def restore(engine: MysqlEngine, tenant: Tenant, backup: Backup, *, epoch: int = 2) -> str:
    async with engine.open(tenant.target) as session:
        mark = await session.restore(
            backup.path, sha256=backup.sha256, epoch=epoch, ledger=LEDGER, deadline_seconds=60
        )
    return mark.fingerprint or ""


def only_mariadbs_program() -> bool:
    said = subprocess.check_output(["mysqldump", "--version"])
    return b"MariaDB" in said


def sql_of(path: Path) -> bytes:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return reader.read()


@contextlib.contextmanager
def account(tenant: Tenant, privileges: str) -> Iterator[Tenant]:
    """The tenant as an account sees it that may do this on it, and nothing elsewhere."""
    account = f"u_{secrets.token_hex(6)}"
    query(tenant.server, f"CREATE USER '{account}'@'%' IDENTIFIED BY ''")
    query(tenant.server, f"GRANT {privileges} ON `{tenant.database}`.* TO '{account}'@'%'")
    seen = Tenant(tenant.server, tenant.database)
    url = msgspec.structs.replace(tenant.target.url, user=account)
    seen.target = msgspec.structs.replace(tenant.target, url=url, secret=SecretSource())
    try:
        yield seen
    finally:
        query(tenant.server, f"DROP USER '{account}'@'%'")
