"""`python -m ledger` is the command `ledger`."""

from __future__ import annotations

from ledger.cli import main

main()
