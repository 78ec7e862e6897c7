"""`show` as text, as one JSON document, and its rows as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, TextIO

import msgspec

from ledger.calls.texts import KeptMigration
from ledger.events import Direction, Recorded
from ledger.render.columns import Column
from ledger.render.events import what_of
from ledger.render.rows import Format, write_json, write_rows
from ledger.render.text import (
    bare_step_name,
    count_text,
    one_line,
    plain,
    seconds_text,
    time_text,
    write_lines,
)
from ledger.show.event import ShownEvent
from ledger.show.migration import Ran, ShownMigration

TENANTS_SHOWN: Final = 20

_EVENTS: Final = (
    Column("here", " "),
    Column("seq", "Seq", number=True),
    Column("at", "At"),
    Column("type", "Type"),
    Column("what", "What"),
)
_STEPS: Final = (
    Column("direction", "Direction"),
    Column("step", "Step", number=True),
    Column("name", "Name"),
    Column("line", "Line", number=True),
    Column("statement", "SHA-256"),
)
_RAN: Final = (
    Column("tenant", "Tenant"),
    Column("how", "How"),
    Column("at", "At"),
    Column("seq", "Seq", number=True),
    Column("took", "Took", number=True),
    Column("undone", "Undone"),
    Column("by_run", "Run"),
    Column("actor", "Actor"),
)
_RAN_CSV: Final = tuple(
    Column(key, key)
    for key in ("tenant", "how", "checksum", "seq", "at", "run", "actor", "duration_us", "step", "undone")
)  # fmt: skip
_ENVELOPE: Final = tuple(
    Column(key, key)
    for key in ("seq", "stream", "version", "type", "at", "run", "actor", "tenant", "body")
)


def write_show(found: ShownEvent | ShownMigration, *, form: Format, out: TextIO) -> None:
    """As text for a person; json and jsonl hold all of it; csv an event with its neighbours, or where it ran."""
    if isinstance(found, ShownEvent):
        _event(found, form, out)
    elif form == "table":
        _write_migration(found, out)
    elif form == "csv":
        write_rows(map(msgspec.to_builtins, found.ran), _RAN_CSV, form=form, out=out)
    else:
        write_json(_document(found), out=out)


def _event(found: ShownEvent, form: Format, out: TextIO) -> None:
    rows = (*found.before, found.event, *found.after)
    if form == "table":
        _write_event(found, out)
    elif form == "csv":
        write_rows(map(_envelope, rows), _ENVELOPE, form=form, out=out)
    else:
        write_json(_event_document(found), out=out)


def _envelope(row: Recorded) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(row.envelope())
    return found


def _event_document(found: ShownEvent) -> dict[str, Any]:
    return {
        "event": _envelope(found.event),
        "before": [*map(_envelope, found.before)],
        "after": [*map(_envelope, found.after)],
        "run": msgspec.to_builtins(found.run),
        "migration": _edition(found.migration) if found.migration is not None else None,
        "statement": msgspec.to_builtins(found.statement),
    }


def _edition(kept: KeptMigration) -> dict[str, Any]:
    ref = kept.ref
    return {
        "id": ref.id,
        "set": ref.set,
        "version": ref.version,
        "name": ref.name,
        "checksum": ref.checksum,
        "algorithm": ref.algorithm,
        "texts": msgspec.to_builtins(kept.texts),
        "steps": list(_steps(kept)),
    }


def _steps(kept: KeptMigration) -> Iterator[dict[str, Any]]:
    directions: tuple[Direction, ...] = ("up", "down")
    for direction in directions:
        for step in kept.steps(direction):
            yield {
                "direction": direction,
                "step": step.number,
                "name": bare_step_name(step.name),
                "line": step.line,
                "statement": step.sha256,
            }


def _document(found: ShownMigration) -> dict[str, Any]:
    return {
        "id": found.id,
        "editions": [_edition(one) for one in found.editions],
        "summary": found.counts,
        "ran": msgspec.to_builtins(found.ran),
    }


def _write_event(found: ShownEvent, out: TextIO) -> None:
    event = found.event
    write_lines(_head_lines(found, out), out=out)
    out.write("\n")
    body = json.dumps(event.document(), indent=2, ensure_ascii=False)
    write_lines(body.splitlines(), out=out)
    out.write(f"\nOn {one_line(event.stream)}:\n")
    rows = [
        {
            "here": ">" if row is event else "",
            "seq": row.seq,
            "at": time_text(row.at, out=out),
            "type": row.type,
            "what": what_of(row),
        }
        for row in (*found.before, event, *found.after)
    ]
    write_rows(rows, _EVENTS, form="table", out=out)
    if found.statement is not None:
        out.write(f"\nIts statement, as the text has it in line {found.statement.line}:\n")
        write_lines(_indented(found.statement.sql), out=out)
    elif found.migration is not None:
        out.write("\n")
        write_lines(_text_lines(found.migration), out=out)
    if found.statement is not None and found.migration is not None:
        out.write(f"\n`ledger show {found.migration.ref.id}` shows the whole text.\n")


def _head_lines(found: ShownEvent, out: TextIO) -> Iterator[str]:
    event = found.event
    what = what_of(event)
    yield f"Event {event.seq}: {event.type}{f', {what}' if what else ''}"
    yield f"  at      {time_text(event.at, out=out)} ({event.at})"
    yield f"  stream  {event.stream}, version {event.version}"
    yield f"  actor   {event.actor}"
    run = found.run
    if run is None:
        yield f"  run     {event.run}"
        return
    reason = f"; {one_line(run.reason)}" if run.reason else ""
    tenants = count_text(run.tenants, "tenant")
    yield f"  run     {event.run}: {run.command} of {tenants}, {run.state}{reason}"


def _indented(text: str) -> Iterator[str]:
    for line in plain(text).splitlines():
        yield f"    {line}".rstrip()


def _text_lines(kept: KeptMigration) -> Iterator[str]:
    if not kept.texts:
        yield f"The ledger keeps no text of {kept.ref.id}: it was only counted as applied."
    for one in kept.texts:
        yield f"{kept.ref.id} {one.part} (sha256 {one.sha256}):"
        if one.text is None:
            yield f"    {one.state}: `ledger verify` names every text that is not as it was"
        else:
            yield from _indented(one.text)


def _write_migration(found: ShownMigration, out: TextIO) -> None:
    counts = ", ".join(
        f"{count:,} {word.replace('_', ' ')}" for word, count in found.counts.items()
    )
    out.write(f"{one_line(found.id)}: {counts or 'begun, and never ended'}\n")
    for kept in found.editions:
        ref = kept.ref
        write_lines(
            ["", f"{ref.name}, checksum {ref.algorithm} {ref.checksum}", *_text_lines(kept)],
            out=out,
        )
        steps = list(_steps(kept))
        if steps:
            out.write("\n")
            write_rows(steps, _STEPS, form="table", out=out)
    out.write("\n")
    shown = found.ran[:TENANTS_SHOWN]
    write_rows((_ran(one, out) for one in shown), _RAN, form="table", out=out)
    if len(found.ran) > len(shown):
        out.write(
            f"… and {len(found.ran) - len(shown):,} more (--format json has all; --tenant NAME one)\n"
        )


def _ran(one: Ran, out: TextIO) -> dict[str, Any]:
    undone = one.undone
    return {
        "tenant": one.tenant,
        "how": f"failed at step {one.step}" if one.step else one.how,
        "at": time_text(one.at, out=out),
        "seq": one.seq,
        "took": seconds_text(one.duration_us / 1e6) if one.duration_us is not None else None,
        "undone": f"{undone.how.replace('_', ' ')} {time_text(undone.at, out=out)} (seq {undone.seq})"
        if undone is not None
        else None,
        "by_run": one.run,
        "actor": one.actor,
    }
