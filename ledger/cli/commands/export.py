"""`ledger export`."""

from __future__ import annotations

import fnmatch
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ledger.cli.options import Work, chosen_or_all, ledger_command, tenant_options
from ledger.cli.settings import Settings
from ledger.render.text import plain_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.api import Ledger
    from ledger.events import Recorded


@ledger_command("export")
@click.option("--version-json", is_flag=True, help="Each tenant's state, shaped as a version.json.")
@click.option("--head", is_flag=True, help="The ledger's end, `SEQ HASH`: keep it elsewhere.")
@click.option("--events", is_flag=True, help="All events as JSON Lines.")
@click.option(
    "--after", type=click.IntRange(min=0), metavar="SEQ", help="Events after this one only."
)
@click.option("--follow", is_flag=True, help="Go on with new events as they come; Ctrl-C ends it.")
@tenant_options
def command(
    settings: Settings,
    *,
    version_json: bool,
    head: bool,
    events: bool,
    after: int | None,
    follow: bool,
    all_tenants: bool,
    tenants: tuple[str, ...],
) -> Work:
    """Print what other tools and other places can keep. Nothing is changed.

    `ledger verify --anchor 'SEQ HASH'` compares the ledger with what --head printed.
    """
    if version_json + head + events != 1:
        raise click.UsageError("write one of --version-json, --head and --events.")
    if head and (all_tenants or tenants):
        raise click.UsageError("--head is the whole ledger's; it takes no tenants.")
    if (follow or after is not None) and not events:
        raise click.UsageError("--after and --follow are of --events.")
    selection = chosen_or_all(all_tenants=all_tenants, tenants=tenants)
    from ledger.cli import shown

    async def work(ledger: Ledger) -> int:
        if head:
            end = await ledger.head()
            sys.stdout.write(f"{end.seq} {end.hash}\n")
        elif version_json:
            _documents(settings, await ledger.version_documents(selection))
        else:
            await _events(ledger, tenants, after=after or 0, follow=follow)
        return shown.unanswered(settings, ledger)

    return work


def _documents(settings: Settings, documents: Sequence[dict[str, Any]]) -> None:
    """One document as it is, several as a JSON array; with --format jsonl a line each."""
    if settings.format == "jsonl":
        for document in documents:
            sys.stdout.write(plain_json(json.dumps(document, ensure_ascii=False)) + "\n")
        return
    whole = documents[0] if len(documents) == 1 else documents
    sys.stdout.write(plain_json(json.dumps(whole, indent=2, ensure_ascii=False)) + "\n")


async def _events(ledger: Ledger, patterns: Sequence[str], *, after: int, follow: bool) -> None:
    """Envelopes, a line each, of the tenants alone if there are patterns."""

    def wanted(row: Recorded) -> bool:
        name = row.tenant or ""
        return not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)

    def write(row: Recorded) -> None:
        if wanted(row):
            sys.stdout.write(row.envelope().decode() + "\n")

    rows = ledger.history(after=after, follow=follow)
    if follow:
        from ledger.cli.events import following

        await following(ledger, rows, write, after=after)
        return
    async for row in rows:
        write(row)
