"""`ledger new`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ledger.cli.options import ledger_command
from ledger.cli.settings import Settings


@ledger_command("new")
@click.argument("name")
@click.option("--set", "set_name", metavar="SET", help="Into this set, where there are several.")
def command(settings: Settings, *, name: str, set_name: str | None) -> None:
    """Write the next migration file, NAME, with all its sections."""
    import anyio

    from ledger.cli.files import new_migration
    from ledger.config import load_config
    from ledger.render.text import write_lines

    config = load_config(settings.config, env=settings.env)
    path = anyio.run(new_migration, config, name, set_name)
    write_lines([str(_from_here(path))], out=sys.stdout)


def _from_here(path: Path) -> Path:
    """The path as one would type it: relative below the working folder, else whole."""
    try:
        return path.relative_to(Path.cwd())
    except (OSError, ValueError):  # of a working folder that is gone, and of a path elsewhere
        return path
