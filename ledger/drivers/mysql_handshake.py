"""The way to a connection: TCP, TLS and authentication, and what is said when one of them fails.

Invariant: no password is in an exception.
"""

# The library has no types: what it returns is checked here.
# mypy: allow-untyped-calls

from __future__ import annotations

import os
import ssl
from typing import Any, Literal

import anyio
import msgspec
import pymysql

from ledger.drivers.mysql_errors import ConnectRefusedError, code_and_message
from ledger.drivers.mysql_wire import (
    CertificateError,
    GuardedConnection,
    RefusedAuthError,
    tls_context,
)
from ledger.drivers.url import MysqlUrl, Secret


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The server as its handshake named it; `version` compares as a tuple of numbers."""

    flavor: Literal["mariadb", "mysql"]
    version: tuple[int, ...]
    text: str


async def handshake(
    url: MysqlUrl,
    password: Secret | None,
    database: str | None,
    *,
    deadline: float,
    program: str,
) -> Any:
    """TCP, TLS and authentication under one deadline."""
    # The library encodes passwords as latin-1; so handed over, UTF-8 bytes arrive as they are,
    # and no UnicodeEncodeError can carry the password.
    text = password.reveal() if password else ""
    raw: Any = GuardedConnection(
        host=url.host,
        port=url.port,
        user=url.user or None,
        password=text.encode("utf-8", "surrogateescape").decode("latin-1"),
        db=database,
        unix_socket=url.unix_socket,
        charset="utf8mb4",
        autocommit=True,
        local_infile=False,
        ssl=_tls(url),
        program_name=program,
    )
    seconds = deadline - anyio.current_time()
    try:
        with anyio.fail_after(max(seconds, 0.001)):
            await raw._connect()
    except TimeoutError:
        raw.close()
        raise ConnectRefusedError(
            2003, f"{url.server} did not finish the handshake in time"
        ) from None
    except RefusedAuthError as error:
        raw.close()
        raise ConnectRefusedError(2059, str(error)) from None
    except pymysql.Error as error:
        raw.close()
        raise _refused(url, error) from error.__cause__
    except (OSError, RuntimeError, ValueError, IndexError, AttributeError, TypeError) as error:
        # What answers there does not speak the protocol; the words of such an error say nothing.
        raw.close()
        raise ConnectRefusedError(
            2012, f"{url.server} does not answer like a MySQL server ({type(error).__name__})"
        ) from None
    except BaseException:
        raw.close()
        raise
    return raw


def _refused(url: MysqlUrl, error: pymysql.Error) -> ConnectRefusedError:
    code, message = code_and_message(error)
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        why = getattr(cause, "verify_message", "") or ""
        return ConnectRefusedError(
            2026, f"TLS with {url.server} failed: {cause.reason or cause.strerror} {why}".rstrip()
        )
    if isinstance(cause, OSError):
        number = cause.errno or 0
        reason = os.strerror(number) if number > 0 else cause.strerror
        message = f"cannot connect to {url.server}: {reason or type(cause).__name__}"
    return ConnectRefusedError(code, message)


def _tls(url: MysqlUrl) -> Any:
    if not url.ssl or url.unix_socket:
        return None
    try:
        return tls_context(url.ssl_ca, url.ssl_cert, url.ssl_key)
    except CertificateError as error:
        raise ConnectRefusedError(2026, str(error)) from error


def server_info(text: str) -> ServerInfo:
    """MariaDB puts `5.5.5-` before its own version, so that old replicas accept it."""
    mariadb = "mariadb" in text.lower()
    numbers = text.removeprefix("5.5.5-") if mariadb else text
    version: list[int] = []
    for part in numbers.split("-")[0].split("."):
        if not part.isdigit():
            break
        version.append(int(part))
    return ServerInfo(flavor="mariadb" if mariadb else "mysql", version=tuple(version), text=text)
