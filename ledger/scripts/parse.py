"""A migration from its file and its sidecars.

Invariant: what comes out is complete and checked: nothing of it is looked up in
a file again, and a file that cannot be used is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath

import msgspec

from ledger.dialects import Dialect, DialectName, dialect_of
from ledger.dialects.base import Settled
from ledger.errors import ScriptError
from ledger.events import MigrationRef
from ledger.scripts.directives import SECTIONS, SectionName
from ledger.scripts.manifest import encode_said
from ledger.scripts.model import Manifest, Migration, Section, sha256_hex
from ledger.scripts.placeholders import placeholder_names
from ledger.scripts.sections import Parsed, parse_file
from ledger.scripts.source import ALGORITHM, SourceFile
from ledger.scripts.version import FileName, parse_file_name


def settle(parsed: Parsed, section: SectionName) -> Settled:
    """The section as an engine runs it, with what its author should know. Raises ScriptError."""
    steps = parsed.steps.get(section, [])
    if parsed.opened.get(section, True):
        found = parsed.dialect.settle(steps)
    else:
        found = Settled(Section(steps=tuple(steps), transaction=False))
    if parsed.foreign_key_check:
        return found
    return found._replace(section=msgspec.structs.replace(found.section, foreign_key_check=False))


def parse_migration(
    source: SourceFile,
    dialect: DialectName,
    *,
    set_name: str,
    down: SourceFile | None = None,
    verify: SourceFile | None = None,
    manifest: Manifest = Manifest(),  # noqa: B008  a frozen value
    depends: tuple[tuple[str, str], ...] = (),
    identity: FileName | None = None,
    kept: bool = False,
) -> Migration:
    """A migration from its file and its sidecars.

    `manifest` and `depends` are version.json's; the file's own `depends` come
    first. `identity` is read from the file's name where it is not given. `kept` texts
    ran once, and are not held to what is asked of new ones. Raises ScriptError with
    file and line.
    """
    file_name = identity or parse_file_name(PurePath(source.file).name, file=source.file)
    files = {"file": source, "down": down, "verify": verify}
    sections: dict[str, SectionName] = {"file": "up", "down": "down", "verify": "verify"}
    parsed = {
        part: parse_file(
            one,
            dialect_of(dialect),
            set_name=set_name,
            section=sections[part],
            kept=kept,
        )
        for part, one in files.items()
        if one is not None
    }
    main = parsed["file"]
    _require_sidecars_alone(parsed)
    up = settle(main, "up")
    no_steps = _no_steps(main, up.section)
    undo = parsed.get("down", main)
    has_down = "down" in parsed or "down" in main.opened
    back = _effective(settle(undo, "down"), main.dialect) if has_down or no_steps else None
    texts = {part: (one.checksum, one.text) for part, one in files.items() if one is not None}
    if said := encode_said(manifest, depends):
        texts["manifest"] = (sha256_hex(said), said)
    return Migration(
        ref=MigrationRef(
            set=set_name,
            version=file_name.version,
            name=file_name.name,
            checksum=source.checksum,
            algorithm=ALGORITHM,
            sources=tuple((part, sha256) for part, (sha256, _) in texts.items()),
        ),
        key=file_name.key,
        path=source.file,
        up=up.section,
        down=back.section if back else None,
        sync=main.dialect.in_order(main.steps.get("sync", ())),
        checks=tuple(parsed.get("verify", main).checks),
        depends=tuple(dict.fromkeys((*main.depends, *depends))),
        manifest=manifest,
        contents=dict(texts.values()),
        dialect=dialect,
        uses=frozenset().union(
            *(placeholder_names(files[part].text) for part in parsed if parsed[part].placeholders)  # type: ignore[union-attr]
        ),
        warnings=(
            *(
                ()
                if up.section.steps or main.steps.get("sync") or no_steps
                else (f"{source.file}: the migration has no step",)
            ),
            *_left_out(parsed.values()),
            *up.warnings,
            *(back.warnings if back else ()),
        ),
        no_steps=no_steps,
    )


def _left_out(parsed: Iterable[Parsed]) -> Iterator[str]:
    for one in parsed:
        if one.left_out:
            yield (
                f"{one.file}: left out of the dump: {one.left_out} statements on locks, keys and"
                " the state of replication"
            )


def _effective(down: Settled, dialect: Dialect) -> Settled:
    """The down part, empty if all that it holds ends with its transaction or its connection."""
    if all(dialect.is_idle(step.sql) for step in down.section.steps):
        return down._replace(section=msgspec.structs.replace(down.section, steps=()))
    return down


def _no_steps(main: Parsed, up: Section) -> str:
    """Why the migration is meant to have no step, or nothing. Raises ScriptError where it has one."""
    if main.no_steps is None:
        return ""
    steps = [*up.steps, *main.steps.get("sync", ())]
    if steps:
        raise ScriptError(
            f"-- no-steps: stands in a migration with a step in line {steps[0].line}",
            file=main.file,
            line=main.no_steps.line,
            hint="Remove the directive or the statements.",
        )
    return main.no_steps.value


def _require_sidecars_alone(parsed: dict[str, Parsed]) -> None:
    """A sidecar holds its own section only, and the main file does not have that section too."""
    for part, section in (("down", "down"), ("verify", "verify")):
        sidecar = parsed.get(part)
        if sidecar is None:
            continue
        if section in parsed["file"].opened:
            raise ScriptError(
                f"the section -- migrate:{section} is in {parsed['file'].file} too",
                file=sidecar.file,
                hint="Keep one of the two.",
            )
        others = [name for name in SECTIONS if name != section]
        if sidecar.depends or any(name in sidecar.opened for name in others):
            raise ScriptError(
                f"a {section} file holds the section {section} only, and no -- depends:",
                file=sidecar.file,
                hint="Move the rest into the migration itself.",
            )
