"""A private MySQL server in a folder of its own: made, started, killed, started again.

The programs are those that `.ci/mysql-server` fetched; that script also starts and
stops it. Invariant: it is signalled by the process id in its own pid file only.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_END_SECONDS: Final = 60.0


class PrivateMysql:
    """One server process over `folder`, which holds its data, port, pid and log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0

    @classmethod
    def create(cls, folder: Path) -> PrivateMysql:
        """A new server that is not started yet."""
        programs = Path(_run("bin")).parent / "root"
        folder.mkdir(parents=True)
        (folder / "root").symlink_to(programs)
        return cls(folder)

    def start(self) -> None:
        """Start it, on the same port each time, and wait until it answers."""
        known = [str(self.port)] if self.port else []
        url, state = _run("up", *known, folder=self.folder).split()
        assert state == "started", state
        self.port = int(url.rpartition(":")[2])

    def stop(self) -> None:
        """Shut it down in order (SIGTERM) and wait for its end."""
        _run("down", folder=self.folder)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would, and wait for its end."""
        pid = int((self.folder / "pid").read_text())
        datadir = f"--datadir={self.folder / 'data'}"
        assert datadir.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            ended, _, _ = select.select([process], [], [], _END_SECONDS)
        finally:
            os.close(process)
        assert ended, f"mysqld (process {pid}) did not end"
        # Until it is reaped, a new server takes the lock of its socket for that of a living one.
        deadline = time.monotonic() + _END_SECONDS
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def remove(self) -> None:
        """Stop it if it still runs, and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder)


def _run(*arguments: str, folder: Path | None = None) -> str:
    """`.ci/mysql-server`. Its last line."""
    environment = dict(os.environ)
    if folder is not None:
        environment["LEDGER_MYSQL_FOLDER"] = str(folder)
    done = subprocess.run(
        [ROOT / ".ci" / "mysql-server", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
