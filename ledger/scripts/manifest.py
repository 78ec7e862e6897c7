"""version.json: what a file beside the migrations says of them.

Invariant: it is only read. State that other tools keep in it (applied, locked,
current version …) is not believed: the ledger's events say what is applied.
"""

from __future__ import annotations

import difflib
import json
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import msgspec

from ledger.errors import ScriptError
from ledger.scripts.directives import parse_dependency
from ledger.scripts.model import Manifest
from ledger.scripts.version import version_key

_T = TypeVar("_T")

MAX_MANIFEST_BYTES: Final = 1024 * 1024
FILE_NAME: Final = "version.json"
YEAR_SECONDS: Final = 31_536_000.0

Estimate = Annotated[float, msgspec.Meta(ge=0, le=YEAR_SECONDS)]
Limit = Annotated[float, msgspec.Meta(gt=0, le=YEAR_SECONDS)]
"""More than 0, as those of the configuration's [timeouts]: nobody can tell whether 0 means none."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What version.json says of one migration."""

    version: str | int | float = ""
    name: str = ""
    description: str = ""
    file: str = ""
    dependencies: tuple[str | int | float, ...] = ()
    checksum: str | None = None
    rollback_file: str | None = None
    estimated_time_seconds: Estimate | None = None
    requires_backup: bool | None = None
    tables_created: tuple[str, ...] = ()
    views_created: tuple[str, ...] = ()
    migration_timeout_seconds: Limit | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What version.json says of the whole set."""

    target_version: str | int | float | None = None
    auto_migrate_on_activation: bool | None = None
    backup_before_migration: bool | None = None
    migration_timeout_seconds: Limit | None = None


class VersionFile(msgspec.Struct, frozen=True, kw_only=True):
    """A version.json, read. `entries` maps a version's key to its entry."""

    file: str
    settings: Settings
    entries: dict[tuple[int, ...], Entry]
    warnings: tuple[str, ...] = ()


_SETTING_KEYS: Final = frozenset(Settings.__struct_fields__)
_ENTRY_KEYS: Final = frozenset(Entry.__struct_fields__)
# State, and notes for people: known, and of no consequence.
_STATE_KEYS: Final = frozenset(
    {
        "applied", "applied_at", "applied_by", "status", "current_version", "database_version",
        "previous_version", "last_migration", "last_migration_at", "last_migration_date", "last_updated",
        "last_check", "locked", "lock", "lock_time", "migration_lock", "applied_migrations",
        "migration_history", "rollback_history", "rolled_back_at", "execution_time", "history",
    }
)  # fmt: skip
_NOTE_KEYS: Final = frozenset(
    {"author", "created_at", "created", "date", "notes", "comment", "$schema", "schema_version", "type",
     "plugin_version", "min_plugin_version", "indexes_created", "sha256", "md5", "reversible", "tenant", "set"}
)  # fmt: skip
_VERSION_KEYS: Final = frozenset({"version", "target_version", "dependencies"})
_NESTED_KEYS: Final = ("settings", "config", "options", "migration_settings")


def read_version_file(data: bytes, *, file: str) -> VersionFile:
    """Decode a version.json in either shape: versions at the top, or under `migrations`.

    Values are decoded strictly; an unknown key is a warning with the nearest
    known one. Raises ScriptError for what cannot be read or has the wrong type.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ScriptError(
            f"the file has {len(data)} bytes, and {MAX_MANIFEST_BYTES} are allowed",
            file=file,
            hint="It describes migrations; keep data and state elsewhere.",
        )
    top = _decode(data, file)
    warnings: list[str] = []
    settings: dict[str, Any] = {}
    entries: dict[tuple[int, ...], Entry] = {}
    for key, value in _flattened(top):
        if key in _SETTING_KEYS:
            if key in settings:
                raise _repeated(key, file)
            settings[key] = value
        elif key == "migrations":
            for version, entry in _listed(value, file):
                _add(entries, version, entry, file, warnings)
        elif version_key(key) is not None and isinstance(value, dict):
            _add(entries, key, value, file, warnings)
        else:
            _warn(key, _SETTING_KEYS | {"migrations"}, file, warnings)
    return VersionFile(
        file=file,
        settings=_convert(settings, Settings, file, "the file"),
        entries=entries,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _decode(data: bytes, file: str) -> dict[str, Any]:
    text = data.removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        raise ScriptError(
            "the file is empty",
            file=file,
            hint="Delete it. A shell empties the file of `>` before the command runs: "
            "`ledger export --version-json` goes to another one first.",
        )
    try:
        top = msgspec.json.decode(text)
        json.loads(text, parse_float=_Decimal, object_pairs_hook=partial(_refuse_guesses, file))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScriptError(
            f"the file is not JSON: {error}", file=file, hint="Correct or delete it."
        ) from error
    if not isinstance(top, dict):
        raise ScriptError(
            "the file is not a JSON object",
            file=file,
            hint='Write {"001": {"description": …}}.',
        )
    return top


class _Decimal(str):
    """A number with a point, as it is written."""


def _refuse_guesses(file: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One JSON object, of which a decoder would have to guess nothing.

    It keeps the last of two equal keys, and takes the version 2.10 for 2.1.
    """
    keys: set[str] = set()
    for key, value in pairs:
        if key in keys:
            raise _repeated(key, file)
        keys.add(key)
        for item in value if isinstance(value, list) else (value,):
            if key in _VERSION_KEYS and isinstance(item, _Decimal) and str(float(item)) != item:
                raise ScriptError(
                    f"the {key} {item} is a number, and would be read as {float(item)}",
                    file=file,
                    hint=f'Write it as text: "{item}".',
                )
    return dict(pairs)


def _repeated(key: str, file: str) -> ScriptError:
    return ScriptError(f"the key {key!r} is there twice", file=file, hint="Keep one of the two.")


def _flattened(top: dict[str, Any]) -> list[tuple[str, Any]]:
    """The top's items, those of a nested settings object among them."""
    items: list[tuple[str, Any]] = []
    for key, value in top.items():
        nested = (
            value.items() if key in _NESTED_KEYS and isinstance(value, dict) else [(key, value)]
        )
        items += nested
    return items


def _listed(value: Any, file: str) -> list[tuple[str, Any]]:
    """`migrations` as pairs: it is an object by version, or a list of objects with a version."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list) and all(
        isinstance(item, dict) and "version" in item for item in value
    ):
        return [(str(item["version"]), item) for item in value]
    raise ScriptError(
        "`migrations` is neither an object by version nor a list of objects with a version",
        file=file,
        hint='Write {"migrations": {"001": {"description": …}}}.',
    )


def _add(
    entries: dict[tuple[int, ...], Entry], version: str, value: Any, file: str, warnings: list[str]
) -> None:
    key = version_key(version)
    if key is None or not isinstance(value, dict):
        raise ScriptError(
            f"{version!r} is not a version with an object", file=file, hint='Write "001": {…}.'
        )
    for name in value:
        if name not in _ENTRY_KEYS:
            _warn(name, _ENTRY_KEYS, file, warnings)
    known = {name: item for name, item in value.items() if name in _ENTRY_KEYS and item is not None}
    entry = _convert(known, Entry, file, version)
    own = str(entry.version)
    if own and version_key(own) != key:
        raise ScriptError(
            f"the entry {version!r} says that its version is {own!r}",
            file=file,
            hint="Make the two one version.",
        )
    if key in entries:
        raise ScriptError(f"two entries for the version {version}", file=file, hint="Keep one.")
    entries[key] = entry


def _warn(key: str, known: frozenset[str], file: str, warnings: list[str]) -> None:
    if key in _STATE_KEYS:
        warnings.append(f"{file}: {key!r} is ignored: the ledger's events say what is applied")
    elif key not in _NOTE_KEYS:
        near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        warnings.append(f"{file}: unknown key {key!r} is ignored{hint}")


def _convert(value: dict[str, Any], kind: type[_T], file: str, where: str) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ScriptError(f"{where}: {error}", file=file, hint="Correct the value.") from error


def manifest_of(entry: Entry, settings: Settings, *, bound_checksum: str | None) -> Manifest:
    """What a migration gets from its entry, and where that is silent from the set's settings."""
    timeout = entry.migration_timeout_seconds
    backup = entry.requires_backup
    return Manifest(
        description=entry.description,
        estimated_time_seconds=entry.estimated_time_seconds,
        requires_backup=settings.backup_before_migration if backup is None else backup,
        tables_created=entry.tables_created,
        views_created=entry.views_created,
        timeout_seconds=settings.migration_timeout_seconds if timeout is None else timeout,
        bound_checksum=bound_checksum,
    )


def depends_of(entry: Entry, *, set_name: str, file: str) -> tuple[tuple[str, str], ...]:
    """The entry's dependencies as (set, version) pairs. Raises ScriptError."""
    return tuple(
        parse_dependency(str(item), set_name=set_name, file=file) for item in entry.dependencies
    )


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the ledger keeps of version.json for a migration that ran, beside its texts."""

    manifest: Manifest = Manifest()
    depends: tuple[tuple[str, str], ...] = ()


def encode_said(manifest: Manifest, depends: tuple[tuple[str, str], ...]) -> str:
    """Canonical JSON of what version.json said, or nothing if it said nothing."""
    said = Said(manifest=manifest, depends=depends)
    return "" if said == Said() else msgspec.json.encode(said).decode()


def decode_said(text: str) -> Said:
    """Read what `encode_said` wrote."""
    return msgspec.json.decode(text, type=Said)
