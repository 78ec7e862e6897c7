"""A database schema as plain values, and its fingerprint.

Invariant: two schemas that a query could not tell apart have one fingerprint;
whitespace in DDL text, the order of creation, a tenant's table prefix and the
product's own marker table do not count.
"""

from __future__ import annotations

import hashlib

import msgspec


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`type` is as the engine reports it; `default` is SQL text; `extra` holds auto_increment, generated …"""

    name: str
    type: str
    nullable: bool
    default: str | None = None
    extra: str = ""


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`columns` in order, with direction and prefix length where they are not the default.

    `origin` is `primary`, `unique` or `index`; `where` is a partial index's condition.
    """

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    origin: str = "index"
    where: str = ""
    kind: str = ""


class ForeignKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`name` is empty where the engine keeps none; `deferred` means checked at COMMIT."""

    name: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    deferred: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`options` holds engine, charset, collation, STRICT, WITHOUT ROWID …; never AUTO_INCREMENT's counter."""

    name: str
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[str, ...] = ()
    options: str = ""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """An object that is its text: a view, trigger, routine or event. `kind` says which."""

    kind: str
    name: str
    text: str


class Schema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All tables, and all objects that are text, each sorted by name."""

    tables: tuple[Table, ...] = ()
    definitions: tuple[Definition, ...] = ()


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Schema)


def encode_schema(schema: Schema) -> bytes:
    """Canonical JSON: the content that the ledger keeps once, under its fingerprint."""
    return _ENCODER.encode(schema)


def decode_schema(content: bytes) -> Schema:
    """Read what `encode_schema` wrote."""
    return _DECODER.decode(content)


def fingerprint(schema: Schema) -> str:
    """SHA-256, in hex, over the canonical JSON."""
    return hashlib.sha256(encode_schema(schema)).hexdigest()
