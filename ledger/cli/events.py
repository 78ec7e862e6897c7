"""Events as they are printed: those that are there, and with `follow` those that come.

Invariant: what follows is written out as soon as it is there; a signal, or a reader that goes away,
ends it in order.
"""

from __future__ import annotations

import select
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import click
import msgspec

from ledger.cli.settings import Settings
from ledger.events import Recorded
from ledger.render.columns import Column
from ledger.render.events import what_of
from ledger.render.rows import RowWriter
from ledger.render.text import cell, time_text

if TYPE_CHECKING:
    from ledger.api import Ledger

ON_A_TERMINAL: Final = 100
"""So many of the newest events, unless a number, or all, are asked for."""

_COLUMNS: Final = (
    Column("seq", "Seq", number=True),
    Column("at", "At"),
    Column("type", "Type"),
    Column("tenant", "Tenant"),
    Column("what", "What"),
    Column("by_run", "Run"),
    Column("actor", "Actor"),
)
_VERBOSE: Final = tuple(
    column._replace(key="run") if column.key == "by_run" else column for column in _COLUMNS
)
"""With -v no terminal is too narrow for the run."""
_ENVELOPE: Final = tuple(
    Column(key, key)
    for key in ("seq", "stream", "version", "type", "at", "run", "actor", "tenant", "body")
)
_WIDTHS: Final = (8, 25, 15, 16, 40, 26, 0)
"""Of what follows a table, whose widths nobody knows yet."""

_WATCH_SECONDS: Final = 0.5


async def history(settings: Settings, ledger: Ledger, *, everything: bool, **request: Any) -> int:
    """Print events; in a table on a terminal only the newest, which it says."""
    follow = request.pop("follow")
    if follow:
        require_lines(settings)
    head = (await ledger.head()).seq
    table = settings.format == "table"
    if table and sys.stdout.isatty() and request["limit"] is None and not everything:
        last = await _newest(settings, ledger, head, request)
    else:
        last = await _print(settings, ledger.history(**request))
    if follow:
        request |= {"limit": None, "after": max(head, request["after"] or 0), "follow": True}
        coming = ledger.history(**request)
        await following(ledger, coming, lambda row: _line(settings, row), after=last)
    return 0


def require_lines(settings: Settings) -> None:
    """Raises click.UsageError for a document that would have no end."""
    if settings.format == "json":
        raise click.UsageError(
            "--format json is one document, and what follows has no end: write --format jsonl."
        )


async def _print(settings: Settings, events: AsyncIterator[Recorded]) -> int:
    """All of them; the seq of the last one. jsonl and json hold the envelopes exactly as they are stored."""
    last = 0
    columns = _columns(settings) if settings.format == "table" else _ENVELOPE
    writer = RowWriter(columns, form=settings.format, out=sys.stdout, empty="No such events.")
    # Closed here and now: a reader that goes away leaves the iterator half-way.
    async with aclosing(cast("AsyncGenerator[Recorded, None]", events)):
        with writer:
            async for row in events:
                _write(settings, writer, row)
                last = row.seq
    return last


def _columns(settings: Settings) -> tuple[Column, ...]:
    return _VERBOSE if settings.verbose else _COLUMNS


def _write(settings: Settings, writer: RowWriter, row: Recorded) -> None:
    if settings.format in ("json", "jsonl"):
        writer.row({}, encoded=row.envelope())
    elif settings.format == "csv":
        writer.row(msgspec.json.decode(row.envelope()))
    else:
        writer.row(_row(row))


def _row(row: Recorded) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "at": time_text(row.at, out=sys.stdout),
        "type": row.type,
        "tenant": row.tenant,
        "what": what_of(row),
        "by_run": row.run,
        "run": row.run,
        "actor": row.actor,
    }


async def _newest(settings: Settings, ledger: Ledger, head: int, request: dict[str, Any]) -> int:
    """The newest, and how many there are where that is known without a count."""
    # One more than is shown, to know whether there are more.
    events = ledger.history(**{**request, "limit": ON_A_TERMINAL + 1})
    rows = [row async for row in events]
    columns = _columns(settings)
    with RowWriter(columns, form="table", out=sys.stdout, empty="No such events.") as writer:
        for row in rows[-ON_A_TERMINAL:]:
            writer.row(_row(row))
    if len(rows) > ON_A_TERMINAL:
        asked = {key for key, value in request.items() if value is not None}
        whole = f" of {head:,}" if not asked else ""
        if asked == {"tenant"} and rows[-1].stream == f"tenant/{request['tenant']}":
            whole = f" of {rows[-1].version:,}"
        sys.stdout.write(f"Newest {ON_A_TERMINAL:,}{whole}; --all for all.\n")
    return rows[-1].seq if rows else 0


def _line(settings: Settings, row: Recorded) -> None:
    """One more, as those before it."""
    if settings.format != "table":
        columns = _ENVELOPE
        with RowWriter(columns, form=settings.format, out=sys.stdout, header=False) as writer:
            _write(settings, writer, row)
        return
    cells = [cell(value) for value in _row(row).values()]
    parts = [text.ljust(width) for text, width in zip(cells, _WIDTHS, strict=True)]
    sys.stdout.write("  ".join([cells[0].rjust(_WIDTHS[0]), *parts[1:]]).rstrip() + "\n")


async def following(
    ledger: Ledger,
    coming: AsyncIterator[Recorded],
    write: Callable[[Recorded], None],
    *,
    after: int,
) -> None:
    """Write what comes `after` a seq, until a signal, or until nobody reads it any more.

    Raises BrokenPipeError in that case.
    """
    events = cast("AsyncGenerator[Recorded, None]", coming)
    sys.stdout.flush()
    with anyio.CancelScope() as scope, ExitStack() as stack:
        if ledger.signals is not None:
            stack.enter_context(ledger.signals.heard_by(lambda _: scope.cancel()))
        async with anyio.create_task_group() as group, aclosing(events):
            group.start_soon(_watch)
            async for row in events:
                if row.seq > after:
                    write(row)
                    sys.stdout.flush()


async def _watch() -> None:
    """Raises BrokenPipeError once the reader of a pipe has gone: nothing else would say so before the next event."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # Output that is no file of the system.
        return
    while True:
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            raise BrokenPipeError
        await anyio.sleep(_WATCH_SECONDS)
