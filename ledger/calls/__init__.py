"""One call of the ledger: its tenants, what it has in hand, and its run."""
