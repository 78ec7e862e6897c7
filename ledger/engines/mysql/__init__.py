"""Tenants that are databases, or table prefixes in one, on MySQL and MariaDB.

Invariant: importing this package imports no driver, since the configuration reads its `kind`.
"""
