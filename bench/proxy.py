"""A TCP proxy before a MySQL server that counts the commands of whoever connects through it.

The server's own counters would count everybody's; on the wire a command is a
client packet with sequence number 0. Plain connections only: inside TLS there
is nothing to see.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

from ledger.drivers.url import MysqlUrl

COM_QUERY = 3
_NAMES = {1: "(quit)", 2: "(use a database)", 14: "(ping)", 27: "(set option)", 31: "(reset)"}


class CountingProxy:
    """Listens on a free port of 127.0.0.1 while it is entered."""

    def __init__(self, url: MysqlUrl) -> None:
        self._url = url
        self._seen: list[str] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # shutdown wakes the thread that waits in accept; close alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            one.close()

    def forget(self) -> None:
        """Start counting anew."""
        self._seen.clear()

    def commands(self) -> list[str]:
        """SQL texts, and other commands in brackets; quits do not count."""
        return [one for one in self._seen if one != "(quit)"]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            self._sockets += [client, server]
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()

    def _connect(self) -> socket.socket:
        if self._url.unix_socket:
            made = socket.socket(socket.AF_UNIX)
            made.connect(self._url.unix_socket)
            return made
        return socket.create_connection((self._url.host, self._url.port))

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """Pass packets on to the server and note the commands among them."""
        waiting = b""
        try:
            while data := client.recv(65536):
                server.sendall(data)
                waiting = self._note(waiting + data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            # Either end hung up; the other thread sees it too.
            return

    def _note(self, data: bytes) -> bytes:
        """Note whole packets; what is left belongs to the next one."""
        while len(data) >= 4:
            size = int.from_bytes(data[:3], "little")
            if len(data) < 4 + size:
                break
            packet, number = data[4 : 4 + size], data[3]
            data = data[4 + size :]
            if number == 0 and packet:
                text = packet[1:].decode(errors="replace") if packet[0] == COM_QUERY else ""
                self._seen.append(text or _NAMES.get(packet[0], f"(command {packet[0]})"))
        return data


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # Either end hung up; the other thread sees it too.
        return
