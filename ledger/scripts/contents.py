"""A migration rebuilt from the texts that the ledger keeps, so that undoing it needs no file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ledger.dialects.steps import DialectName, Section
from ledger.errors import ScriptError
from ledger.events import MigrationRef
from ledger.scripts.manifest import Said, decode_said
from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import SourceFile
from ledger.scripts.version import FileName, version_key

PYTHON_PART: Final = "python"
"""The part of `MigrationRef.sources` that is the text of a `.py` migration."""


def from_contents(
    ref: MigrationRef, contents: Mapping[str, str], dialect: DialectName
) -> Migration:
    """The migration as it was applied. `contents` maps a SHA-256 to a text.

    A `.py` migration comes back with a path that ends in `.py` and no steps: its
    functions are not taken from a database. Raises ScriptError if a text is missing.
    """
    texts = {part: _text(ref, part, sha256, contents) for part, sha256 in ref.sources}
    key = version_key(ref.version) or (0,)
    name = f"{ref.version}_{ref.name}"
    said = decode_said(texts["manifest"][1]) if "manifest" in texts else Said()
    if PYTHON_PART in texts:
        return Migration(
            ref=ref,
            key=key,
            path=f"{name}.py",
            up=Section(steps=()),
            depends=said.depends,
            manifest=said.manifest,
            contents=dict(texts.values()),
            dialect=dialect,
        )
    if "file" not in texts:
        raise ScriptError(
            "its text is not kept in the ledger",
            migration=ref.id,
            hint="Put the file back into the folder of its set.",
        )
    sources = {
        part: SourceFile(
            file=f"{name}.sql" if part == "file" else f"{name}.{part}.sql",
            text=text,
            checksum=sha256,
        )
        for part, (sha256, text) in texts.items()
        if part != "manifest"
    }
    migration = parse_migration(
        sources["file"],
        dialect,
        set_name=ref.set,
        down=sources.get("down"),
        verify=sources.get("verify"),
        manifest=said.manifest,
        depends=said.depends,
        identity=FileName(version=ref.version, name=ref.name, kind="sql", key=key),
        kept=True,
    )
    return msgspec.structs.replace(migration, ref=ref)


def _text(
    ref: MigrationRef, part: str, sha256: str, contents: Mapping[str, str]
) -> tuple[str, str]:
    text = contents.get(sha256)
    if text is None:
        raise ScriptError(
            f"the text of its part {part!r} ({sha256[:12]}…) is not kept in the ledger",
            migration=ref.id,
            hint="Put the file back into the folder of its set.",
        )
    return sha256, text
