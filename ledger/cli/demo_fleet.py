"""The demo's fleet: real SQLite files as an application would have left them before the migration.

Invariant: what is there is left as it is; a file appears under its name only
when it is complete, so that a demo that was stopped can simply be made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import ledger
from ledger.dialects.steps import DialectName
from ledger.drivers.sqlite import write_file
from ledger.drivers.url import DEFAULT_LEDGER
from ledger.errors import UsageError

ROWS: Final = 100
"""Assistants in each tenant."""
KIND: Final[DialectName] = "sqlite"
"""What the demo's tenants are."""
SET: Final = "preset_assistants"
_MARK: Final = "# Made by `ledger demo`.\n"
_CONFIG: Final = f"""\
{_MARK}
url = "{DEFAULT_LEDGER}"           # the ledger itself
migrations = "migrations"
backups = "backups"
backup = "always"
parallel = 8

[[tenants]]
{KIND} = "tenants/*.db"               # one file per tenant; its name is the file's
"""
_INSERT: Final = """
INSERT INTO assistants (id, title, prompt, status, created_at, updated_at)
VALUES (?, ?, ?, 'published', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')
"""
_TOPICS: Final = ("Writing", "Planning", "Translating", "Explaining", "Reviewing")


def shipped_sets() -> Path:
    """The migration sets that come with the product: in the package, or at the top of a source tree."""
    package = Path(ledger.__file__).parent
    installed = package / "_sets"
    return installed if installed.is_dir() else package.parent / "migrations"


def write_demo(folder: Path) -> Path:
    """Write configuration, migrations and folders where they are missing; returns the configuration.

    Raises UsageError if the folder has a configuration that is not a demo's, or cannot be written.
    """
    config = folder / "ledger.toml"
    try:
        if config.exists():
            if not config.read_text(encoding="utf-8").startswith(_MARK):
                raise UsageError(
                    "is there already, and no demo made it; nothing was written",
                    hint="Name another folder: ledger demo DIR.",
                    file=str(config),
                )
            return config
        (folder / "tenants").mkdir(parents=True, exist_ok=True)
        (folder / "backups").mkdir(mode=0o700, exist_ok=True)
        target = folder / "migrations" / SET
        shutil.copytree(shipped_sets() / SET, target, dirs_exist_ok=True)
        config.write_text(_CONFIG, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot be written: {(error.strerror or str(error)).lower()}",
            file=str(error.filename or folder),
        ) from error
    return config


def write_tenants(folder: Path, count: int, schema: Sequence[str]) -> int:
    """Make `tenant_001.db` … where they are missing, each with `schema` and ROWS rows; returns how many."""
    made = 0
    width = max(3, len(str(count)))
    for number in range(1, count + 1):
        path = folder / "tenants" / f"tenant_{number:0{width}}.db"
        if not path.exists():
            rows = (
                (f"{path.stem}-{row:03}", f"{_TOPICS[row % 5]} assistant {row}", "You help.")
                for row in range(1, ROWS + 1)
            )
            write_file(path, schema, _INSERT, rows)
            made += 1
    return made
