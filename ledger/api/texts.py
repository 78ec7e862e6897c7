"""The texts of the configured migration files, by their SHA-256."""

from __future__ import annotations

from ledger.api.lint import sets_wanted
from ledger.config import Config
from ledger.errors import UsageError
from ledger.folder import find_sets, load_set


async def texts_in_folders(config: Config, wanted: frozenset[str]) -> dict[str, str]:
    """Those of the `wanted` texts that a file of the configuration still has; sets that cannot be loaded have none."""
    found: dict[str, str] = {}
    for folder, dialect in sets_wanted(config):
        try:
            sets = await find_sets(folder)
        except UsageError:
            continue
        for name, path in sets.items():
            try:
                loaded = await load_set(path, dialect, name=name, allow_python=config.allow_python)
            except UsageError:
                continue
            for migration in loaded.migrations:
                found |= {key: text for key, text in migration.contents.items() if key in wanted}
    return found
