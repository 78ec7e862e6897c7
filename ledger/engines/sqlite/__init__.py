"""SQLite tenants: one file each, one transaction a migration.

Invariant: whatever a migration wrote is durable together with its marker entry,
or not at all; sections that ask for `transaction:false` keep it step by step.
"""
