"""A migration from its file and its sidecars.

Invariant: what comes out is complete and checked: nothing of it is looked up in
a file again, and a file that cannot be used is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath

import msgspec

from ledger.dialects import Dialect, DialectName, dialect_of
from ledger.dialects.base import Settled
from ledger.dialects.steps import Section, sha256_hex
from ledger.errors import ScriptError
from ledger.events import MigrationRef
from ledger.scripts.directives import SECTIONS, SectionName
from ledger.scripts.manifest import encode_said
from ledger.scripts.model import Manifest, Migration
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
    sections: dict[SectionName, SourceFile | None] = {"up": source, "down": down, "verify": verify}
    parsed = {
        section: parse_file(
            file, dialect_of(dialect), set_name=set_name, section=section, kept=kept
        )
        for section, file in sections.items()
        if file is not None
    }
    main = parsed["up"]
    _require_sidecars_alone(parsed)
    up = settle(main, "up")
    no_steps = _no_steps(main, up.section)
    undo = parsed.get("down", main)
    has_down = "down" in parsed or "down" in main.opened
    back = _effective(settle(undo, "down"), main.dialect) if has_down or no_steps else None
    files = {"file": source, "down": down, "verify": verify}
    ref, contents = kept_texts(
        {part: file for part, file in files.items() if file is not None},
        file_name,
        set_name=set_name,
        manifest=manifest,
        depends=depends,
    )
    return Migration(
        ref=ref,
        key=file_name.key,
        path=source.file,
        up=up.section,
        down=back.section if back else None,
        sync=main.dialect.in_order(main.steps.get("sync", ())),
        checks=tuple(parsed.get("verify", main).checks),
        depends=tuple(dict.fromkeys((*main.depends, *depends))),
        manifest=manifest,
        contents=contents,
        dialect=dialect,
        uses=frozenset().union(
            *(placeholder_names(each.text) for each in parsed.values() if each.placeholders)
        ),
        warnings=tuple(_warnings(parsed.values(), up, back)),
        no_steps=no_steps,
    )


def kept_texts(
    files: Mapping[str, SourceFile],
    name: FileName,
    *,
    set_name: str,
    manifest: Manifest,
    depends: tuple[tuple[str, str], ...],
) -> tuple[MigrationRef, dict[str, str]]:
    """What names a migration, and the texts that the ledger keeps of it, by their hashes.

    `files` are its parts, the migration's own first.
    """
    texts = {part: (file.checksum, file.text) for part, file in files.items()}
    checksum = next(iter(texts.values()))[0]
    if said := encode_said(manifest, depends):
        texts["manifest"] = (sha256_hex(said), said)
    ref = MigrationRef(
        set=set_name,
        version=name.version,
        name=name.name,
        checksum=checksum,
        algorithm=ALGORITHM,
        sources=tuple((part, sha256) for part, (sha256, _) in texts.items()),
    )
    return ref, dict(texts.values())


def _warnings(parsed: Collection[Parsed], up: Settled, back: Settled | None) -> Iterator[str]:
    main = next(iter(parsed))
    if not (up.section.steps or main.steps.get("sync") or main.no_steps):
        yield f"{main.file}: the migration has no step"
    for file in parsed:
        if file.left_out:
            yield (
                f"{file.file}: left out of the dump: {file.left_out} statements on locks, keys and"
                " the state of replication"
            )
    yield from up.warnings
    yield from back.warnings if back else ()


def _effective(down: Settled, dialect: Dialect) -> Settled:
    """The down part, empty if all that it holds ends with its transaction or its connection."""
    if all(dialect.is_idle(step.readable) for step in down.section.steps):
        return down._replace(section=msgspec.structs.replace(down.section, steps=()))
    return down


def _no_steps(main: Parsed, up: Section) -> str:
    """Why the migration is meant to have no step, or nothing. Raises ScriptError where it has one."""
    if main.no_steps is None:
        return ""
    steps = [*up.steps, *main.steps.get("sync", ())]
    if steps:
        raise main.no_steps.error(
            f"-- no-steps: stands in a migration with a step in line {steps[0].line}",
            "Remove the directive or the statements.",
        )
    return main.no_steps.value


def _require_sidecars_alone(parsed: Mapping[SectionName, Parsed]) -> None:
    """A sidecar holds its own section only, and the main file does not have that section too."""
    main = parsed["up"]
    for section, sidecar in parsed.items():
        if sidecar is main:
            continue
        if section in main.opened:
            raise ScriptError(
                f"the section -- migrate:{section} is in {main.file} too",
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
