"""The command line: each command parses, calls, renders and exits.

Invariant: `ledger --help` and `ledger --version` import click and nothing else
that is heavy; a command's module is imported when the command is typed.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ledger.cli.group import ledger
from ledger.cli.options import interrupt
from ledger.cli.settings import Settings
from ledger.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of the codes that `ledger --help` lists."""
    _open_streams()
    code = invoke(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stderr.flush()
    except OSError:
        # The interpreter would try again at its end, and exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    # What is left is the system's to take back: looking through all of it once more for
    # circles takes longer than many a command.
    gc.freeze()
    gc.disable()
    sys.exit(code)


def _open_streams() -> None:
    """Whoever closed a stream (`>&-`) wants nothing from it: no database may get its number.

    What is written to a file that the system calls 1 would land in that database.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _require_text(arguments: Sequence[str]) -> None:
    """What is typed may be recorded, and what is recorded is UTF-8. An empty word is a slip.

    `--env "$STAGE"` without a STAGE would mean the configuration without an overlay.
    Raises UsageError.
    """
    before = ""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"argument {number} is not UTF-8 text: {argument!r}",
                hint="Type it in UTF-8; rename a file that is not named so.",
            ) from None
        option, equals, value = argument.partition("=")
        joined = bool(equals) and option.startswith("--")
        named = option if joined else before
        if not (value if joined else argument) and named != "--reason":
            raise UsageError(
                f"argument {number}{f' after {named}' if named.startswith('-') else ''} is empty",
                hint="Check the variable that it is taken from.",
            )
        before = argument


def invoke(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code. No exception leaves, and no traceback is shown."""
    settings = Settings(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        _require_text(arguments)
        code = ledger.main(list(arguments), "ledger", standalone_mode=False, obj=settings)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BaseException as error:
        from ledger.cli.failures import report

        return report(error, settings)
    finally:
        signal.signal(signal.SIGTERM, before)
