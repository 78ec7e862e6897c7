"""The dump programs of MariaDB and MySQL: which one fits, and how it gets its password.

Invariant: the password is in no argument, no variable and no file on a disk (where
the system has anonymous files); no configuration of the user's own is read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import anyio
import msgspec

from ledger.drivers.mysql_handshake import ServerInfo
from ledger.drivers.url import MysqlUrl, Secret
from ledger.errors import BackupError

VERSION_SECONDS: Final = 10.0
PACKAGES: Final = {
    "mariadb": "mariadb-client (Debian and Ubuntu: apt-get install mariadb-client)",
    "mysql": "mysql-client (MySQL's own; Debian's default-mysql-client is MariaDB's)",
}


class DumpProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A dump program; `flavor` says which database it belongs to."""

    path: str
    flavor: Literal["mariadb", "mysql"]


async def dump_program(
    server: ServerInfo, found: dict[tuple[str, str], DumpProgram], *, tenant: str
) -> DumpProgram:
    """The server's own dump program if there is one, else the other's. Raises BackupError if none.

    `found` are those of one engine while it is open: each is asked once for its version.
    """
    search = os.environ.get("PATH", os.defpath)
    key = (server.flavor, search)
    if key not in found:
        programs: list[DumpProgram] = []
        refused: list[BackupError] = []
        for path in filter(None, map(shutil.which, _NAMES)):
            try:
                programs += await _asked(path)
            except OSError as error:
                refused.append(cannot_start(path, error, tenant=tenant))
        programs.sort(key=lambda client: client.flavor != server.flavor)
        if not programs and refused:
            raise refused[0]
        if not programs:
            raise BackupError(
                "neither mariadb-dump nor mysqldump is installed, so that no backup can be made",
                hint=f"Install {PACKAGES[server.flavor]}, or run with --no-backup.",
                tenant=tenant,
            )
        found[key] = programs[0]
    return found[key]


_NAMES: Final = ("mariadb-dump", "mysqldump")


def cannot_start(path: str, error: OSError, *, tenant: str) -> BackupError:
    """The error for a dump program that the system does not start."""
    return BackupError(
        f"the dump program {path} cannot be started: {(error.strerror or str(error)).lower()}",
        hint="Install it again, or put another one before it in PATH; or run with --no-backup.",
        tenant=tenant,
    )


async def _asked(path: str) -> list[DumpProgram]:
    """The program, if it gives its version. Raises OSError if it cannot be started."""
    with anyio.move_on_after(VERSION_SECONDS):
        done = await anyio.run_process(
            [path, "--no-defaults", "--version"],
            stdin=subprocess.DEVNULL,
            check=False,
            env=clean_environment(),
        )
        if done.returncode == 0:
            flavor: Literal["mariadb", "mysql"] = (
                "mariadb" if b"MariaDB" in done.stdout else "mysql"
            )
            return [DumpProgram(path=path, flavor=flavor)]
    return []


def clean_environment() -> dict[str, str]:
    """No MYSQL_PWD, no home folder with options in it; messages in English."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


@contextmanager
def defaults_file(url: MysqlUrl, password: Secret | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An option file for one client process: its path there, and the descriptors to pass on.

    It is an anonymous file in memory, so that nothing stays behind after a SIGKILL;
    where the system has none, a file of mode 0600 in a private folder.
    """
    content = _options(url, password).encode("utf-8", "surrogateescape")
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("ledger-options")
        try:
            # The clients ignore an option file that everybody may write.
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, content)
            yield f"/dev/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        path = Path(folder) / "options.cnf"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        yield str(path), ()


def _options(url: MysqlUrl, password: Secret | None) -> str:
    """The connection as the driver makes it, with its TLS or without any.

    Left to themselves, newer clients demand TLS (MariaDB 11.4) or try it (MySQL); then MySQL's asks for
    the key that encrypts a password, as the driver does. A program ignores a `loose-` option that it does not know.
    """
    lines = ["[client]"]
    if url.user:
        lines.append(f"user={_quoted(url.user)}")
    if password is not None:
        lines.append(f"password={_quoted(password.reveal())}")
    if url.unix_socket:
        lines.append(f"socket={_quoted(url.unix_socket)}")
    else:
        lines += [f"host={_quoted(url.host)}", f"port={url.port}", "protocol=tcp"]
    if url.ssl and not url.unix_socket:
        lines += ["loose-ssl-verify-server-cert", "loose-ssl-mode=VERIFY_IDENTITY", "loose-ssl"]
        if url.ssl_ca:
            lines.append(f"ssl-ca={_quoted(url.ssl_ca)}")
        if url.ssl_cert:
            lines.append(f"ssl-cert={_quoted(url.ssl_cert)}")
            lines.append(f"ssl-key={_quoted(url.ssl_key or url.ssl_cert)}")
    else:
        lines += ["loose-ssl-verify-server-cert=0", "loose-ssl-mode=DISABLED", "loose-ssl=0"]
        lines.append("loose-get-server-public-key")
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
