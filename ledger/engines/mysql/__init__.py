"""Tenants that are databases, or table prefixes in one, on MySQL and MariaDB."""

from __future__ import annotations

from ledger.engines.mysql.engine import MysqlEngine

__all__ = ["MysqlEngine"]
