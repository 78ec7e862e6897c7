"""`show`: an event or a migration, as the ledger keeps it."""
