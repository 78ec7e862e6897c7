"""`ledger demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.options import ledger_command
from ledger.cli.settings import Settings

if TYPE_CHECKING:
    from ledger.api import Ledger

SHOWN = 5


@ledger_command("demo")
@click.argument("folder", default="demo", metavar="[DIR]")
@click.option(
    "--tenants", type=click.IntRange(1, 100_000), default=100, show_default=True, metavar="N"
)
def command(settings: Settings, *, folder: str, tenants: int) -> None:
    """Make N SQLite tenants with 100 rows each in DIR, and migrate them all.

    Nothing else is touched. Typed again, it goes on with what is there.
    """
    import anyio

    from ledger.cli import lists, shown
    from ledger.cli.demo_fleet import KIND, SET, write_demo, write_tenants
    from ledger.cli.session import open_and_work
    from ledger.config import in_working_folder, load_config
    from ledger.folder import load_set
    from ledger.render.text import one_line, plain

    root = Path(folder)
    in_working_folder(root)
    config = load_config(write_demo(root))
    base = anyio.run(load_set, root / "migrations" / SET, KIND).migrations[0]
    made = write_tenants(root, tenants, [step.sql for step in base.up.steps if step.skip_if])
    if not settings.quiet:
        sys.stderr.write(
            f"{one_line(str(root))}: {made} tenants made, with 100 rows each. Migrating all …\n"
        )

    async def work(ledger: Ledger) -> int:
        report = await ledger.migrate(reason="ledger demo")
        code = await shown.report(settings, ledger, report)
        if settings.format == "table" and not settings.quiet:
            sys.stdout.write("\n")
            lists.status(settings, await ledger.status(), limit=SHOWN)
            sys.stdout.write(plain(_next(root)))
        return code

    raise click.exceptions.Exit(open_and_work(settings, config, work))


def _next(root: Path) -> str:
    from ledger.render.text import shell_word

    return f"""
Try:
  cd {shell_word(str(root))}
  ledger history tenant_001                 every step, as it was recorded
  ledger rollback --all-tenants --yes       undo the newest migration everywhere
  ledger migrate --all-tenants              and apply it again
"""
