"""Migrate before a program starts: `python on_start.py ledger.toml && exec my-program`."""

from __future__ import annotations

import sys

import anyio

from ledger import Ledger, LedgerError


async def main(config: str) -> int:
    """0: every tenant is where it should be. Another replica's run is waited for."""
    try:
        report = await Ledger.open(config).migrate(reason="program start")
    except LedgerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    for name, why in report.errors.items():
        sys.stderr.write(f"{name}: {why}\n")
    return 0 if report.success else 3


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[1]))
