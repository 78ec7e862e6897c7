"""Placeholders: `{prefix}`, `{charset_collate}` and the configured variables.

Invariant: a text is replaced in one pass, so that a value's own braces stay;
every `{word}` that is no variable is an error unless it is inside a string
literal or a comment (`{prefix}` in a literal too); what a migration does not use costs nothing to bind.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ledger.dialects import Dialect, DialectName, dialect_of
from ledger.dialects.steps import Check, Section, SkipIf, Step, sha256_hex
from ledger.errors import ConfigError, ScriptError
from ledger.scripts.model import Migration

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NOT_LINE_FEED: Final = re.compile(r"[^\n]")
_PREFIX: Final = "{prefix}"
_SAFE: Final = re.compile(r"[A-Za-z0-9_$]*")


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A placeholder without a value, and where it stands."""

    name: str
    file: str
    line: int


def placeholder_names(text: str) -> frozenset[str]:
    """All `{word}` of a text, wherever they stand."""
    return frozenset(_PLACEHOLDER.findall(text)) if "{" in text else frozenset()


def validate_identifier_value(name: str, value: str, *, source: str = "configuration") -> str:
    """The value, if it is safe as a part of an identifier: letters, digits, `_` and `$`.

    `source` says where it comes from. Raises ConfigError.
    """
    if not _SAFE.fullmatch(value):
        raise ConfigError(
            f"{source}: the value of {{{name}}} is {value!r}, and only letters, digits, _ and $ are allowed",
            hint="Give a value that can be part of a table's name.",
        )
    return value


def bind_text(text: str, variables: Mapping[str, str]) -> str:
    """Replace every `{name}` that a variable stands for; everything else stays as it is."""
    if "{" not in text:
        return text
    return _PLACEHOLDER.sub(lambda match: variables.get(match[1], match[0]), text)


def unknown_placeholders(migration: Migration, names: Iterable[str]) -> tuple[Unknown, ...]:
    """The `{word}` outside literals and comments that none of `names` is, in order."""
    known = frozenset(names)
    if migration.uses <= known:
        return ()
    found = []
    for text, file, line in _texts(migration):
        if placeholder_names(text) <= known:
            continue
        shielded = _shielded(text, dialect_of(migration.dialect))
        for match in _PLACEHOLDER.finditer(shielded):
            if match[1] not in known:
                at = line + shielded.count("\n", 0, match.start())
                found.append(Unknown(name=match[1], file=file, line=at))
    return tuple(found)


def _shielded(text: str, dialect: Dialect) -> str:
    """The text with literals and comments blanked, line by line.

    `{prefix}` stays in a literal ('{prefix}user_roles' is an option's name): no data means it.
    """

    def blank(match: re.Match[str]) -> str:
        if match["open"]:
            return match[0]
        if match[0][0] in "'\"":
            parts = match[0].split(_PREFIX)
            return _PREFIX.join(_NOT_LINE_FEED.sub(" ", part) for part in parts)
        return _NOT_LINE_FEED.sub(" ", match[0])

    return dialect.syntax.unbound.sub(blank, text)


def _texts(migration: Migration) -> Iterable[tuple[str, str, int]]:
    """Every text of the migration whose braces are placeholders, as it is read, with its file and line."""
    down = migration.down.steps if migration.down else ()
    for step in (*migration.up.steps, *migration.sync, *down):
        if step.placeholders:
            yield step.readable, step.file, step.line
            yield step.read_alike(step.verify_step or ""), step.file, step.line
            guard = step.skip_if.subject if step.skip_if else ""
            yield step.read_alike(guard), step.file, step.line
    for check in migration.checks:
        if check.placeholders:
            yield check.sql, check.file, check.line


def bind(migration: Migration, variables: Mapping[str, str]) -> Migration:
    """The migration with its placeholders replaced, in steps, guards, checks and names.

    The same object comes back where there is nothing to replace. Raises
    ScriptError with file, line and the nearest known name for an unknown
    placeholder, and for a version.json checksum that does not hold over the
    bound text; ConfigError for a prefix that is not safe in an identifier.
    """
    if not migration.uses:
        return migration
    if "prefix" in variables:
        validate_identifier_value("prefix", variables["prefix"], source=migration.path)
    if unknown := unknown_placeholders(migration, variables):
        raise _unknown_error(unknown[0], variables)
    _require_bound_checksum(migration, variables)
    if migration.uses.isdisjoint(variables):
        return migration
    dialect = dialect_of(migration.dialect)
    return msgspec.structs.replace(
        migration,
        up=_bind_section(migration.up, variables, dialect),
        down=_bind_section(migration.down, variables, dialect) if migration.down else None,
        sync=tuple(_bind_step(step, variables) for step in migration.sync),
        checks=tuple(_bind_check(check, variables) for check in migration.checks),
        uses=frozenset(),
    )


def bind_statement(
    text: str, variables: Mapping[str, str], *, dialect: DialectName, file: str, line: int
) -> str:
    """One statement with its placeholders replaced. Raises as `bind` does."""
    if "{" not in text:
        return text
    if "prefix" in variables:
        validate_identifier_value("prefix", variables["prefix"], source=file)
    shielded = _shielded(text, dialect_of(dialect))
    for match in _PLACEHOLDER.finditer(shielded):
        if match[1] not in variables:
            at = line + shielded.count("\n", 0, match.start())
            raise _unknown_error(Unknown(name=match[1], file=file, line=at), variables)
    return bind_text(text, variables)


def _unknown_error(unknown: Unknown, variables: Mapping[str, str]) -> ScriptError:
    if unknown.name == "prefix":
        return ScriptError(
            "the placeholder {prefix} has no value in a tenant that has no table prefix",
            file=unknown.file,
            line=unknown.line,
            hint='Give its [[tenants]] the prefix that its tables have (prefix = "wp_", or prefixes);'
            ' with prefix = "" its value is the empty text.',
        )
    near = difflib.get_close_matches(unknown.name, list(variables), n=1, cutoff=0.5)
    known = ", ".join(f"{{{name}}}" for name in sorted(variables)) or "none"
    return ScriptError(
        f"unknown placeholder {{{unknown.name}}}",
        file=unknown.file,
        line=unknown.line,
        hint=(f"Did you mean {{{near[0]}}}? " if near else "")
        + f"Known are: {known}. Add it to `variables`, or write -- placeholders: off"
        " at the top of the file if the braces are meant.",
    )


def _bind_section(section: Section, variables: Mapping[str, str], dialect: Dialect) -> Section:
    bound = msgspec.structs.replace(
        section, steps=tuple(_bind_step(step, variables) for step in section.steps)
    )
    return dialect.settle_bound(bound, section)


def _bind_step(step: Step, variables: Mapping[str, str]) -> Step:
    if not step.placeholders:
        return step
    sql = bind_text(step.sql, variables)
    return msgspec.structs.replace(
        step,
        sql=sql,
        name=bind_text(step.name, variables),
        sha256=step.sha256 if sql == step.sql else sha256_hex(sql),
        skip_if=_bind_guard(step.skip_if, variables) if step.skip_if else None,
        verify_step=bind_text(step.verify_step, variables) if step.verify_step else None,
    )


def _bind_guard(guard: SkipIf, variables: Mapping[str, str]) -> SkipIf:
    return SkipIf(
        kind=guard.kind,
        subject=bind_text(guard.subject, variables),
        text=bind_text(guard.text, variables),
        owner=bind_text(guard.owner, variables),
        name=bind_text(guard.name, variables),
    )


def _bind_check(check: Check, variables: Mapping[str, str]) -> Check:
    if not check.placeholders:
        return check
    return msgspec.structs.replace(
        check, sql=bind_text(check.sql, variables), name=bind_text(check.name, variables)
    )


def _require_bound_checksum(migration: Migration, variables: Mapping[str, str]) -> None:
    """Hold a checksum that was not the file's own to the text after its placeholders."""
    if migration.manifest.bound_checksum is None:
        return
    text = bind_text(migration.contents[migration.ref.checksum], variables)
    expected = migration.manifest.bound_checksum.lower().rpartition(":")[2]
    found = hashlib.new(
        "md5" if len(expected) == 32 else "sha256", text.encode(), usedforsecurity=False
    )
    if found.hexdigest() != expected:
        raise ScriptError(
            f"version.json says the checksum {expected}, but the file has "
            f"{migration.ref.checksum} (sha256), and {found.hexdigest()} after its placeholders",
            file=migration.path,
            hint="Restore the file, or put the right checksum into version.json.",
        )
