"""`doctor`: is everything in place that a run needs? The host, the ledger, the backups, every tenant."""
