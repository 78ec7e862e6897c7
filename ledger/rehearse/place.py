"""Where a rehearsal happens: a private folder for copies, and a ledger in memory."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from ledger.config import Config
from ledger.drivers.url import IN_MEMORY
from ledger.fleet.progress import Progress
from ledger.projections import FleetState
from ledger.runner.context import RunContext, Settings
from ledger.runner.holder import new_run_id
from ledger.stores import open_store

FOLDER: Final = "ledger-rehearse-"
LEASE_SECONDS: Final = 7 * 86400.0
"""Nobody else knows the scratch ledger: its claims need not be renewed."""


@asynccontextmanager
async def scratch_ledger(config: Config, folder: Path) -> AsyncIterator[RunContext]:
    """A ledger in memory for one tenant: nothing of a rehearsal is in the real one."""
    async with open_store(IN_MEMORY, create=True) as store:
        yield RunContext(
            store=store,
            ledger_id=store.ledger_id,
            fleet=FleetState(),
            settings=Settings(
                backups=folder,
                backup="never",
                lease_seconds=LEASE_SECONDS,
                backup_seconds=config.timeouts.backup_seconds,
                statement_seconds=config.timeouts.statement_seconds,
                strict=config.strict,
            ),
            command="migrate",
            run=new_run_id(),
            actor="rehearsal",
            watcher=Progress(),
        )


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder (0700) for copies, gone afterwards; what a killed rehearsal of ours left is removed."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))
    (folder / "tenants").mkdir(mode=0o700)
    with (folder / "new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only now others can see that there is a lock, and that it is held.
        (folder / "new").rename(folder / "lock")
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _sweep(temporary: Path) -> None:
    """Folders of ours whose lock nobody holds any more."""
    for folder in temporary.glob(f"{FOLDER}*"):
        info = folder.lstat()
        lock = folder / "lock"
        if info.st_uid != os.geteuid() or folder.is_symlink() or not lock.is_file():
            continue
        with lock.open() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)
