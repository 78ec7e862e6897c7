"""A schema: for a person one row an object, or the canonical snapshot in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TextIO

import msgspec

from ledger.render.columns import Column
from ledger.render.rows import Format, write_rows
from ledger.render.text import plain_json
from ledger.schema import Schema, Table, encode_schema

_COLUMNS: Final = (
    Column("kind", "Kind"),
    Column("name", "Name"),
    Column("definition", "Definition"),
)


def write_schema(schema: Schema, *, form: Format, out: TextIO) -> None:
    """JSON is what `validate --schema` reads; the other forms are rows."""
    if form == "json":
        text = msgspec.json.format(encode_schema(schema), indent=2).decode()
        out.write(plain_json(text) + "\n")
        return
    write_rows(_rows(schema), _COLUMNS, form=form, out=out, empty="Nothing is in it.")


def _rows(schema: Schema) -> Iterator[dict[str, Any]]:
    for table in schema.tables:
        yield {"kind": "table", "name": table.name, "definition": table.options}
        yield from _parts(table)
    for definition in schema.definitions:
        yield {"kind": definition.kind, "name": definition.name, "definition": definition.text}


def _parts(table: Table) -> Iterator[dict[str, Any]]:
    for column in table.columns:
        words = [column.type, "" if column.nullable else "NOT NULL", column.extra]
        if column.default is not None:
            words.insert(2, f"DEFAULT {column.default}")
        yield _row("column", f"{table.name}.{column.name}", words)
    for index in table.indexes:
        words = [index.origin, index.kind, f"({', '.join(index.columns)})"]
        if index.where:
            words.append(f"WHERE {index.where}")
        yield _row("index", f"{table.name}.{index.name}".rstrip("."), words)
    for key in table.foreign_keys:
        words = [
            f"({', '.join(key.columns)}) REFERENCES {key.parent} ({', '.join(key.parent_columns)})",
            f"ON DELETE {key.on_delete} ON UPDATE {key.on_update}",
        ]
        yield _row("foreign key", f"{table.name}.{key.name}".rstrip("."), words)
    for check in table.checks:
        yield _row("check", table.name, [check])


def _row(kind: str, name: str, words: list[str]) -> dict[str, Any]:
    return {"kind": kind, "name": name, "definition": " ".join(word for word in words if word)}
