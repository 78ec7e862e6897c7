"""The command line: each command parses, calls, renders and exits.

Invariant: `ledger --help` and `ledger --version` import click and nothing else
that is heavy; a command's module is imported when the command is typed.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ledger.cli.group import ledger
from ledger.cli.options import Settings, interrupt


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with one of the codes that `ledger --help` lists."""
    code = invoke(sys.argv[1:] if arguments is None else arguments)
    # What is left is the system's to take back: looking through all of it once more for
    # circles takes longer than many a command.
    gc.freeze()
    gc.disable()
    sys.exit(code)


def invoke(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code. No exception leaves, and no traceback is shown."""
    settings = Settings(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not end the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        code = ledger.main(list(arguments), "ledger", standalone_mode=False, obj=settings)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BaseException as error:
        from ledger.cli.failures import report

        return report(error, settings)
    finally:
        signal.signal(signal.SIGTERM, before)
