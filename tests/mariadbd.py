"""A private MariaDB server in a folder of its own: made, started, killed, started again.

Invariant: it listens on 127.0.0.1 and on a socket, and it is
signalled by the process id in its own pid file only, after a look at whether
that process is still this server.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pymysql

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


class PrivateMariadb:
    """One server process over `folder`, which holds its data, port, socket, pid and log.

    The folder is all there is to know, so that another process can stop it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = int((folder / "port").read_text())

    @staticmethod
    def initialise(data: Path) -> None:
        """Make an empty data folder in which root has no password. Takes some seconds."""
        unfinished = data.with_name(f"{data.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="ledger-") as temporary:
            subprocess.run(
                [
                    _program("mariadb-install-db"),
                    "--no-defaults",
                    f"--datadir={unfinished}",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--force",  # also where this host's name has no address, as in a bare container
                    "--innodb-log-file-size=8M",
                    *_as_root(),
                ],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": temporary},
            )
        unfinished.rename(data)

    @classmethod
    def create(cls, folder: Path, template: Path) -> PrivateMariadb:
        """A new server that is not started yet, on a port that is free now."""
        folder.mkdir(parents=True)
        shutil.copytree(template, folder / "data")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        (folder / "port").write_text(str(port))
        return cls(folder)

    @property
    def socket(self) -> Path:
        """Its socket; not in its folder, since a socket's path may have 107 bytes at most."""
        folder = tempfile.gettempdir()
        return Path(folder if len(folder) <= 80 else "/tmp") / f"ledger-mariadb-{self.port}.sock"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        try:
            pid = int((self.folder / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if _runs(pid, self.folder) else None

    def start(self, *options: str) -> None:
        """Start it and wait until it answers. `options` are further mariadbd options.

        Its temporary files are its own: a server that starts removes all `#sql*` files in its
        tmpdir, and one that loses them so crashes (seen on 10.11.19, in ha_maria::drop_table).
        """
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = [
            _program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder / 'tmp'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--socket={self.socket}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-log-file-size=8M",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=200",
            "--character-set-server=utf8mb4",
            *_as_root(),
            *options,
        ]
        with (self.folder / "log").open("ab") as log:
            # The shell ends at once, so that the server is nobody's child and outlives the worker
            # that started it; a session of its own keeps Ctrl-C in the terminal from it.
            shell = subprocess.run(
                ["sh", "-c", '"$@" >&2 & echo $!', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                check=True,
            )
        started = int(shell.stdout)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            # Not by its command line, which is empty for the instant in which it is executed.
            if not Path(f"/proc/{started}").exists() or time.monotonic() > deadline:
                raise RuntimeError(f"mariadbd did not start:\n{self._log_tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down in order (SIGTERM) and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would, and wait for its end."""
        self._end(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal (SIGSTOP, SIGCONT), to this server only, and do not wait."""
        if (pid := self.pid) is not None:
            os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        if (pid := self.pid) is None:
            return
        # A pidfd becomes readable when all threads are gone, and so all sockets and locks.
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, number)
            ended, _, _ = select.select([process], [], [], _STOP_SECONDS)
        finally:
            os.close(process)
        if not ended:
            raise RuntimeError(f"mariadbd (process {pid}) did not end:\n{self._log_tail()}")

    def remove(self) -> None:
        """Kill it if it still runs, and delete its folder and socket."""
        if self.pid is not None:
            self.kill()
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(self.folder)

    def _answers(self) -> bool:
        try:
            pymysql.connect(
                host="127.0.0.1", port=self.port, user="root", connect_timeout=2
            ).close()
        except pymysql.err.OperationalError:
            return False
        return True

    def _log_tail(self) -> str:
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-20:])


def find_mariadbd() -> str | None:
    """The path of mariadbd, also where only root has it on the PATH."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/usr/libexec"
    return shutil.which("mariadbd", path=path)


def _program(name: str) -> str:
    found = find_mariadbd() if name == "mariadbd" else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: apt-get install mariadb-server")
    return found


def _runs(pid: int, folder: Path) -> bool:
    """Whether process `pid` is alive and the server of this folder, not a later process."""
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
