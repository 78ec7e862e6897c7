"""Where logs go: to stderr for whoever sits there, to `--log-file` for later.

Invariant: our own loggers only; no password of a URL is written, whatever was logged.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

from ledger.cli.settings import Settings
from ledger.errors import LedgerError, UsageError
from ledger.render.errors import redact, write_log
from ledger.render.text import one_line, plain_json

FILE_MODE: Final = 0o640
_FIELDS: Final = ("tenant", "run", "event", "seq")


@contextmanager
def logging_to(settings: Settings) -> Iterator[None]:
    """Log to stderr and, if asked for, to a file, for as long as a command works.

    On stderr: warnings, everything with -vv. In the file: what happened, every step
    with -v. An error that ends the command is in the file too. Raises UsageError for a
    file that cannot be written.
    """
    log = logging.getLogger("ledger")
    handlers: list[logging.Handler] = [_StderrHandler(settings)]
    if settings.log_file is not None:
        handlers.append(_open_file(settings.log_file, settings))
    before = (log.level, log.propagate)
    log.setLevel(min(handler.level for handler in handlers))
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except LedgerError as error:
        if len(handlers) > 1:
            handlers[1].handle(_as_record(error))
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
        log.setLevel(before[0])
        log.propagate = before[1]


def _as_record(error: LedgerError) -> logging.LogRecord:
    said = f"{error} ({error.hint})" if error.hint else str(error)
    return logging.LogRecord("ledger", logging.ERROR, "", 0, said, None, None)


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment: a progress bar may have taken it over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._log_format = settings.log_format
        self._events = settings.verbose > 1
        if settings.verbose > 1:
            self.setLevel(logging.DEBUG)
        else:
            self.setLevel(logging.ERROR if settings.quiet else logging.WARNING)

    def filter(self, record: logging.LogRecord) -> bool:
        """What an event says is in the progress and in the report already."""
        return (self._events or not hasattr(record, "seq")) and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """One line, or a JSON object."""
        text = _text(record)
        try:
            write_log(
                record.levelname.lower(),
                text if self._log_format == "json" else f"{record.name}: {text}",
                log_format=self._log_format,
                out=sys.stderr,
                **({"logger": record.name} if self._log_format == "json" else {}),
            )
        except (OSError, ValueError):
            return  # Nothing can be printed any more: stderr itself is full or closed.


class _FileHandler(logging.FileHandler):
    """Appends to --log-file. A file that cannot be written any more is reported once; the work goes on."""

    def __init__(self, path: str, settings: Settings) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._named = path
        self._log_format = settings.log_format
        self._reported = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by logging where a line could not be written."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            raise
        self._report(error)

    def close(self) -> None:
        """Close the file, also where its last bytes find no room."""
        try:
            super().close()
        except OSError as error:
            self._report(error)

    def _report(self, error: OSError) -> None:
        if self._reported:
            return
        self._reported = True
        with suppress(OSError, ValueError):
            write_log(
                "warning",
                f"--log-file {self._named} cannot be written any more: {error.strerror};"
                " it lacks what happens from here on, and the ledger does not",
                log_format=self._log_format,
                out=sys.stderr,
            )


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and os.environ.get("LEDGER_DEBUG") == "1":
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _open_file(path: str, settings: Settings) -> logging.Handler:
    """A handler that appends. Raises UsageError."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE))
        handler = _FileHandler(path, settings)
    except OSError as error:
        raise UsageError(
            f"--log-file {path} cannot be written: {error.strerror}",
            hint="Name a file in a folder that is there and can be written.",
        ) from error
    handler.setLevel(logging.DEBUG if settings.verbose else logging.INFO)
    handler.setFormatter(_Formatter(settings.log_format))
    return handler


class _Formatter(logging.Formatter):
    """`[2026-11-21T23:10:04.120Z] INFO ledger.runner: …`, or a JSON object a line."""

    def __init__(self, log_format: str) -> None:
        super().__init__()
        self._log_format = log_format

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        moment = datetime.fromtimestamp(record.created, UTC)
        time = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = redact(_text(record))
        if self._log_format == "json":
            document: dict[str, object] = {
                "time": time,
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": text,
            }
            document |= {key: getattr(record, key) for key in _FIELDS if hasattr(record, key)}
            return plain_json(json.dumps(document, ensure_ascii=False))
        return f"[{time}] {record.levelname} {record.name}: {one_line(text)}"
