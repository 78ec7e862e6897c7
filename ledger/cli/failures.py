"""What a person sees when a command ends with an exception: one clear message, never a traceback.

Invariant: nothing secret is printed, not even under LEDGER_DEBUG.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from contextlib import suppress
from typing import Final

import click

from ledger.cli.settings import Settings
from ledger.errors import LedgerError, StoppedError, UsageError
from ledger.render.errors import redact, write_error


def report(error: BaseException, settings: Settings) -> int:
    """Say what happened on stderr and return the exit code."""
    error = _cause(error)
    try:
        return _report(error, settings)
    except BrokenPipeError:
        return _pipe_closed()
    except OSError:
        # stderr is full: the exit code is all that is left to say it with.
        return getattr(error, "exit_code", 1)


def _report(error: BaseException, settings: Settings) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        return _pipe_closed()
    if isinstance(error, click.Abort) and isinstance(error.__cause__, KeyboardInterrupt):
        error = error.__cause__
    if isinstance(error, KeyboardInterrupt):
        # While no loop receives signals: reading the configuration, or already at the end.
        error = StoppedError(f"stopped by {' '.join(error.args) or 'SIGINT'}; no run was begun")
    if isinstance(error, StoppedError):
        from ledger.cli.session import same_command

        error.hint = f"To continue: {same_command(settings)}"
    if isinstance(error, LedgerError):
        return _print(error, settings)
    if isinstance(error, click.Abort):
        return _print(LedgerError("stopped; nothing was changed"), settings)
    if isinstance(error, click.ClickException):
        return _wrong_usage(error, settings)
    if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
        return _not_printed(error, settings)
    if isinstance(error, PermissionError) and error.filename is not None:
        return _print(_no_rights(error), settings)
    return _unexpected(error, settings)


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What a write to a full disk or a closed stream ends with; the databases' own troubles have types."""


def _print(error: LedgerError, settings: Settings) -> int:
    write_error(error, log_format=settings.log_format, out=sys.stderr)
    return error.exit_code


def _no_rights(error: PermissionError) -> LedgerError:
    return LedgerError(
        f"{os.fsdecode(error.filename)}: permission denied",
        hint="Give this account the rights on it and on the folders above it, or name another place.",
    )


def _not_printed(error: OSError, settings: Settings) -> int:
    """What was to be printed was done, or read, all the same."""
    _forget_output()
    full = LedgerError(
        f"the output cannot be written: {(error.strerror or str(error)).lower()}",
        hint="What was recorded is safe: `ledger runs` and `ledger status` show it.",
    )
    return _print(full, settings)


def _cause(error: BaseException) -> BaseException:
    """Of a group of errors the one to print: ours before others', the first of them."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_cause(inner) for inner in error.exceptions]
    ours = [leaf for leaf in leaves if isinstance(leaf, LedgerError)]
    return (ours or leaves)[0]


def _wrong_usage(error: click.ClickException, settings: Settings) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "ledger"
    return _print(UsageError(error.format_message(), hint=f"See `{path} --help`."), settings)


def _unexpected(error: BaseException, settings: Settings) -> int:
    """A bug of ours: say how to report it; the traceback only for who asks for it."""
    bug = LedgerError(f"internal error: {type(error).__name__}: {error}", hint=_BUG)
    _print(bug, settings)
    if os.environ.get("LEDGER_DEBUG") == "1":
        sys.stderr.write(redact("".join(traceback.format_exception(error))))
    return 1


_BUG: Final = (
    "This is a bug. What was recorded is safe, and the same command may be run again. "
    "Please report it with the output of the command under LEDGER_DEBUG=1."
)


def _pipe_closed() -> int:
    """Whoever read our output has gone (`ledger history | head`): end without a word."""
    _forget_output()
    return 1


def _forget_output() -> None:
    """What is still to be written is not tried again at the interpreter's end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
