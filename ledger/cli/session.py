"""One command's life with an open ledger: configuration, logs, progress, exit code."""

from __future__ import annotations

import importlib.util
import logging
import os
import shlex
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
import click

from ledger.cli.options import Settings
from ledger.config import Config, load_config
from ledger.fleet.progress import Progress
from ledger.render.errors import redact, write_log
from ledger.render.progress import make_view

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
    _set_up_logging(settings)
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
    config: Config, view: Progress, work: Callable[[Ledger], Awaitable[int | None]]
) -> int:
    from ledger.api import Ledger

    try:
        async with Ledger.open(config, progress=view) as ledger:
            ledger.signals = True
            return await work(ledger) or 0
    finally:
        view.close()


def _fast_loop() -> dict[str, bool]:
    """uvloop where it is installed (`pip install migration-ledger[speed]`)."""
    return {"use_uvloop": importlib.util.find_spec("uvloop") is not None}


def same_command(settings: Settings) -> str:
    """The command line that was typed, for a person to type again; no password of a URL is in it."""
    return redact(shlex.join(["ledger", *settings.arguments]))


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment: a progress bar may have taken it over."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._log_format = log_format

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and os.environ.get("LEDGER_DEBUG") == "1":
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        try:
            write_log(
                record.levelname.lower(),
                text if self._log_format == "json" else f"{record.name}: {text}",
                log_format=self._log_format,
                out=sys.stderr,
                **({"logger": record.name} if self._log_format == "json" else {}),
            )
        except (OSError, ValueError):
            self.handleError(record)


def _set_up_logging(settings: Settings) -> None:
    """Warnings always, information with -v, everything with -vv; our own loggers only."""
    log = logging.getLogger("ledger")
    for handler in [one for one in log.handlers if isinstance(one, _StderrHandler)]:
        log.removeHandler(handler)
    log.addHandler(_StderrHandler(settings.log_format))
    log.propagate = False
    quiet = logging.ERROR if settings.quiet else logging.WARNING
    log.setLevel({0: quiet, 1: logging.INFO}.get(settings.verbose, logging.DEBUG))
