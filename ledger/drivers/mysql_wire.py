"""The part of aiomysql that speaks the handshake, held to what is safe.

Invariants: MULTI_STATEMENTS is not negotiated; TLS that was asked for is had or the
connection is refused; a password goes out in clear only over a socket or TLS whose
certificate was verified; the pre-4.1 hash is never sent.
"""

# The library has no types: what it returns is checked here.
# mypy: allow-untyped-calls

from __future__ import annotations

import functools
import os
import socket
import ssl
from typing import Any, Final

import aiomysql
from pymysql.constants import CLIENT

PLUGINS: Final = frozenset(
    {"mysql_native_password", "caching_sha2_password", "sha256_password", "mysql_clear_password"}
)

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""Seconds of silence, seconds between probes, and how many may stay unanswered: a minute in all.
A long ALTER is silent too, so that no deadline of our own can tell the two apart."""


class RefusedAuthError(Exception):
    """The server asked for what this client does not give; the connection must be closed."""


class CertificateError(Exception):
    """A file that TLS needs cannot be used; the message names it and its option."""


def tls_context(
    ca_file: str | None, cert_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """A context that verifies chain and host name; kept, since making one costs 50 ms.

    With `cert_file` the client shows that certificate. A file that was replaced since makes another
    one: a process may outlive its authorities. Raises CertificateError.
    """
    files = {"ssl_ca": ca_file, "ssl_cert": cert_file, "ssl_key": key_file}
    stamps: list[int] = []
    for option, file in files.items():
        if file is None:
            continue
        try:
            found = os.stat(file)  # noqa: PTH116 - a path as the URL has it
        except OSError as error:
            raise CertificateError(
                f"the certificate file {file} ({option}) cannot be read: {error.strerror}"
            ) from error
        stamps += [found.st_ino, found.st_mtime_ns, found.st_size]
    return _tls_context(ca_file, cert_file, key_file, *stamps)


@functools.lru_cache(maxsize=8)
def _tls_context(
    ca_file: str | None, cert_file: str | None, key_file: str | None, *_: int
) -> ssl.SSLContext:
    file, option = ca_file, "ssl_ca"
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            file, option = key_file or cert_file, "ssl_key" if key_file else "ssl_cert"
            # A key with a passphrase must not stop and ask for it on the terminal.
            context.load_cert_chain(cert_file, key_file, password=lambda: b"")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or "it is not PEM"
        raise CertificateError(
            f"the certificate file {file} ({option}) cannot be used: {reason}"
        ) from error
    return context


_RESET: Final = 31
"""COM_RESET_CONNECTION, since MariaDB 10.2.4 and MySQL 5.7.3."""


class GuardedConnection(aiomysql.Connection):
    """aiomysql's connection with the doors closed that a server could pull open."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.client_flag &= ~CLIENT.MULTI_STATEMENTS

    def _set_keep_alive(self) -> None:
        """Notice a peer that is gone without a word: after a minute, and not after two hours."""
        super()._set_keep_alive()
        writer: Any = self._writer
        raw = writer.transport.get_extra_info("socket")
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def escape(self, value: object) -> str:
        """As the library does, but bytes as hex: its `_binary'…'` breaks under NO_BACKSLASH_ESCAPES."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"x'{bytes(value).hex()}'"
        escaped: str = super().escape(value)
        return escaped

    literal = escape

    async def reset_session(self) -> None:
        """The server forgets all that the session had but its account. The library has no call for it."""
        await self._execute_command(_RESET, b"")
        await self._read_ok_packet()

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise RefusedAuthError("TLS was asked for, and the server does not offer it")
        will_be_secure = self._secure or self._ssl_context is not None
        self._allow(self._server_auth_plugin, secure=will_be_secure)
        # For the handshake only: every answer of a session would pay for it.
        self.__dict__["_read_packet"] = self._read_handshake_packet
        try:
            await super()._request_authentication()
        finally:
            del self.__dict__["_read_packet"]

    async def _process_auth(self, plugin_name: bytes, packet: Any) -> Any:
        self._allow(plugin_name.decode("ascii", "replace"), secure=self._secure)
        return await super()._process_auth(plugin_name, packet)

    async def _read_handshake_packet(self, *arguments: Any, **named: Any) -> Any:
        packet = await super()._read_packet(*arguments, **named)
        if packet.is_auth_switch_request() and b"\0" not in packet.get_all_data():
            raise RefusedAuthError("the server asked for the password hash of MySQL 4.0")
        return packet

    def _allow(self, plugin: str, *, secure: bool) -> None:
        if plugin == "mysql_clear_password" and not secure:
            raise RefusedAuthError(
                "the server asked for the password in clear over a connection without TLS"
            )
        if plugin and plugin not in PLUGINS:
            raise RefusedAuthError(
                f"the server asks for the authentication plugin {plugin[:64]!r}, "
                "which is not supported"
            )
