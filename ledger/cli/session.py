"""One command's life with an open ledger: configuration, logs, progress, exit code."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import click

from ledger.cli.logs import logging_to
from ledger.cli.settings import Settings
from ledger.config import Config, load_config
from ledger.fleet.signals import receiving
from ledger.render.errors import redact, write_log
from ledger.render.progress import View, make_view

if TYPE_CHECKING:
    from ledger.api import Ledger


def run(settings: Settings, work: Callable[[Ledger], Awaitable[int | None]]) -> None:
    """Read the configuration, do `work` with the open ledger, and end the command with its code."""
    config = load_config(settings.config, env=settings.env)
    raise click.exceptions.Exit(open_and_work(settings, config, work))


def open_and_work(
    settings: Settings, config: Config, work: Callable[[Ledger], Awaitable[int | None]]
) -> int:
    """Open the configuration's ledger, do `work` with it, close it; returns the exit code."""
    with logging_to(settings):
        return _work(settings, config, work)


def _work(
    settings: Settings, config: Config, work: Callable[[Ledger], Awaitable[int | None]]
) -> int:
    if not settings.quiet:
        for warning in config.warnings:
            write_log("warning", warning, log_format=settings.log_format, out=sys.stderr)
    view = make_view(
        stderr=sys.stderr,
        quiet=settings.quiet,
        verbose=settings.verbose,
        log_format=settings.log_format,
        colour=not os.environ.get("NO_COLOR"),
    )
    return anyio.run(_with_ledger, config, view, work, backend_options=_fast_loop())


async def _with_ledger(
    config: Config, view: View, work: Callable[[Ledger], Awaitable[int | None]]
) -> int:
    from ledger.api import Ledger

    try:
        async with receiving() as signals, Ledger.open(config, progress=view) as ledger:
            ledger.signals = signals
            signals.before_exit = view.restore
            return await work(ledger) or 0
    finally:
        view.close()


def _fast_loop() -> dict[str, bool]:
    """uvloop where it is installed (`pip install migration-ledger[speed]`)."""
    return {"use_uvloop": importlib.util.find_spec("uvloop") is not None}


def same_command(settings: Settings) -> str:
    """The command line that was typed, for a person to type again; no password of a URL is in it."""
    return redact(shlex.join(["ledger", *settings.arguments]))
