"""`blame` as text and rows."""

from __future__ import annotations

from typing import Any, Final, TextIO

import msgspec

from ledger.blame.find import Blamed
from ledger.blame.trace import Entry
from ledger.render.columns import Column
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import one_line, plain, shell_word, step_name, time_text

_ROWS: Final = (
    Column("what", "What"),
    Column("by", "By"),
    Column("migration", "Migration"),
    Column("name", "Step"),
    Column("at", "At"),
    Column("actor", "Actor"),
    Column("by_run", "Run"),
    Column("seq", "Seq", number=True),
)
_CSV: Final = tuple(Column(key, key) for key in ("role", *Entry.__struct_fields__))


def write_blame(found: Blamed, *, form: Format, out: TextIO) -> None:
    """What brought it and what changed it; json is one document, csv and jsonl have a row for each."""
    if form == "json":
        write_json(found, out=out)
        return
    entries = [("brought", found.brought)] if found.brought is not None else []
    entries += [("changed", one) for one in found.changes]
    if form != "table":
        rows = ({"role": role} | msgspec.to_builtins(one) for role, one in entries)
        write_rows(rows, _CSV, form=form, out=out)
        return
    name = f"{found.table}.{found.column}" if found.column else found.table
    out.write(f"{one_line(name)} on {one_line(found.tenant)}{_STATES[found.state]}\n")
    if entries:
        out.write("\n")
        write_rows((_row(one, out) for _, one in entries), _ROWS, form="table", out=out)
    if found.brought is not None and found.brought.sql:
        out.write("\n")
        for line in plain(found.brought.sql).splitlines():
            out.write(f"    {line}".rstrip() + "\n")
    hint = _hint(found)
    if hint:
        out.write(f"\n{hint}\n")


_STATES: Final = {"there": "", "dropped": ": dropped since", "unknown": ": no migration on record"}


def _row(one: Entry, out: TextIO) -> dict[str, Any]:
    name = step_name(one.step, one.step_name) if one.step is not None else None
    return {
        "what": f"{one.what}, was {one.was}" if one.was else one.what,
        "by": one.by,
        "migration": one.migration,
        "name": name,
        "at": time_text(one.at, out=out),
        "actor": one.actor,
        "by_run": one.run,
        "seq": one.seq,
    }


def _hint(found: Blamed) -> str:
    tenant = shell_word(found.tenant)
    brought = found.brought
    if brought is None:
        return (
            "What brought it is not on record: it was there before the first migration, somebody made it by"
            f" hand, or it is spelled otherwise. `ledger schema {tenant}` shows what is there,"
            f" `ledger validate --tenant {tenant}` what no migration explains."
        )
    if brought.by in ("baseline", "import"):
        return f"It was counted as applied ({brought.by}): the statement did not run here."
    if brought.by == "hand":
        return f"No migration brought it: `ledger show {brought.seq}` shows how it was noticed."
    if brought.what == "seen":
        return "It was there after this migration; what was there before it is not on record."
    if brought.what == "found":
        return "It was there before this migration, which found it (`skip-if`, IF NOT EXISTS) and left it as it was."
    return f"`ledger show {brought.seq}` shows the event, `ledger show {brought.migration}` the whole text."
