"""A schema that tenants are compared with, from a file: a snapshot in JSON, or SQL that makes it.

Invariant: the file is read once and whole, within a bound; SQL is bound to each
tenant's own prefix and variables before it runs in that tenant's scratch database.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec

from ledger.dialects.steps import DialectName, Step
from ledger.errors import ConfigError, ScriptError, UsageError
from ledger.folder.files import read_bounded
from ledger.schema import Schema, decode_schema
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.placeholders import bind
from ledger.scripts.source import read_source
from ledger.scripts.version import FileName

MAX_BYTES: Final = 64 * 1024 * 1024
_NO_VERSION: Final = FileName(version="0", name="schema", kind="sql", key=(0,))


class WantedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """`schema` of a snapshot, or else `scripts`: the file's statements for each dialect asked for."""

    file: str
    schema: Schema | None = None
    scripts: Mapping[DialectName, Migration] = {}

    def steps(self, dialect: DialectName, variables: Mapping[str, str]) -> tuple[Step, ...]:
        """The statements with a tenant's placeholders replaced. Raises ScriptError for an unknown one."""
        bound = bind(self.scripts[dialect], variables)
        return (*bound.up.steps, *bound.sync)


async def read_wanted_schema(path: Path, dialects: frozenset[DialectName]) -> WantedSchema:
    """Read the file. Raises UsageError if it is neither, ScriptError with the line of a mistake."""

    def read() -> WantedSchema:
        try:
            data = read_bounded(path, path.parent, limit_bytes=MAX_BYTES)
        except ScriptError as error:
            raise UsageError(f"{path} {error.message}", hint="Name a readable file.") from error
        if data.lstrip()[:1] == b"{":
            return WantedSchema(file=str(path), schema=_snapshot(data, path))
        source = read_source(data, file=str(path))
        scripts = {
            dialect: parse_migration(source, dialect, set_name="schema", identity=_NO_VERSION)
            for dialect in sorted(dialects)
        }
        if not all(script.up.steps or script.sync for script in scripts.values()):
            raise UsageError(
                f"{path} holds no statement", hint="Name a snapshot in JSON, or SQL that makes it."
            )
        return WantedSchema(file=str(path), scripts=scripts)

    return await anyio.to_thread.run_sync(read)


def _snapshot(data: bytes, path: Path) -> Schema:
    try:
        return decode_schema(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a schema snapshot: {error}",
            hint="Make one with `ledger schema TENANT --format json`.",
        ) from error
