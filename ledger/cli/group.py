"""The root command, whose commands are imported when they are typed."""

from __future__ import annotations

import difflib
import importlib
import keyword
from typing import Final

import click

from ledger import __version__
from ledger.cli.options import shared_options

SECTIONS: Final[dict[str, dict[str, str]]] = {
    "Start": {
        "init": "Write a configuration and create the ledger.",
        "demo": "Make a fleet of SQLite tenants and migrate it.",
        "new": "Write the next migration file.",
    },
    "Change tenants": {
        "migrate": "Apply pending migrations.",
        "rollback": "Undo migrations by their down steps, or by backup.",
        "restore": "Put tenants back to a backup.",
        "baseline": "Count migrations as applied without running them.",
        "reset": "Go back to a version, or drop what migrations created.",
        "import": "Take over from another migration tool.",
        "maintain": "Optimise tables, clean orphans, archive old rows.",
        "unlock": "Release a stale lock.",
        "resolve": "Settle a step whose outcome is in doubt.",
    },
    "Look": {
        "tenants": "List the tenants that the configuration finds.",
        "plan": "Show what migrate would do.",
        "status": "Show every tenant's version and state.",
        "history": "Show the recorded events.",
        "show": "Show an event, or a migration as it ran.",
        "diff": "Show what changed between two times.",
        "blame": "Show what brought a table or a column.",
        "runs": "Show the runs.",
        "schema": "Show a tenant's schema.",
        "stats": "Show sizes, growth and slow steps.",
        "backups": "Show, verify and prune the backups.",
        "export": "Print state as version.json, the ledger's end, or all events.",
    },
    "Check": {
        "rehearse": "Try what is pending, forward and back, on copies.",
        "validate": "Run all checks and look for drift.",
        "verify": "Check the ledger's hash chain, texts and projections.",
        "doctor": "Check that everything a run needs is in place.",
        "lint": "Check the migration files.",
    },
}


class LazyGroup(click.Group):
    """Knows its commands by name; a module is imported for the one that is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"ledger.cli.commands.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A mistyped name is answered with the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"Did you mean `ledger {near[0]}`?" if near else "See `ledger --help`."
            raise click.UsageError(f"no command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, from the table above."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()), col_spacing=4)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ledger", message="%(prog)s %(version)s")
def ledger() -> None:
    """SQL migrations for whole fleets of tenant databases, recorded as append-only events.

    Exit codes: 0 done, 1 failed as a whole, 2 wrong usage or configuration,
    3 some tenants failed, 4 a check found something.
    """


ledger.params.extend(shared_options())
