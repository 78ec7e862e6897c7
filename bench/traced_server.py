"""A MariaDB server in a folder of its own, under strace, that lives for one measurement."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.server import PASSWORD_ENV, Server
from ledger.drivers.url import MysqlUrl

START_SECONDS = 60.0
STOP_SECONDS = 60.0
INSTALL = "mariadbd is not installed: apt-get install mariadb-server"


class NoServerError(Exception):
    """No private server can be had; the message says what to install."""


class TracedServer:
    """Started when entered, stopped by its own process id when left. `server` is its address."""

    def __init__(self, folder: Path, calls: str) -> None:
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/usr/libexec"
        self._programs = [
            shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd", "strace")
        ]
        self._folder = folder / "server"
        self._calls = calls
        self._log = folder / "server-trace.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.server = Server(url=MysqlUrl(host="127.0.0.1", port=self._port, user="root"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        install, program, strace = self._programs
        if install is None or program is None or strace is None:
            raise NoServerError(INSTALL)
        # Its root has no password, whatever the other server's account has.
        self._password = os.environ.pop(PASSWORD_ENV, None)
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            [install, "--no-defaults", f"--datadir={self._folder}", "--skip-test-db",
             "--auth-root-authentication-method=normal", *as_root],
            check=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._process = subprocess.Popen(
            [strace, "-f", "-qq", "-e", f"trace={self._calls}", "-o", str(self._log), program,
             "--no-defaults", f"--datadir={self._folder}", f"--port={self._port}",
             "--bind-address=127.0.0.1", f"--socket={self._folder}/s.sock",
             f"--pid-file={self._folder}/pid", "--skip-name-resolve",
             "--character-set-server=utf8mb4", *as_root],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while self.server.version() is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise NoServerError("the private mariadbd did not start")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if self._password is not None:
            os.environ[PASSWORD_ENV] = self._password

    def syncs(self) -> int:
        """Syncs so far. Those of the background threads are among them."""
        return sum(not line.rstrip().endswith("...>") for line in self._log.open())

    def _stop(self) -> None:
        """SIGTERM to the server itself; strace ends with it."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        pid = self._folder / "pid"
        os.kill(int(pid.read_text()) if pid.exists() else process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)
