"""Migrations on disk: the only place that reads and writes their files."""

from __future__ import annotations

from ledger.folder.new import write_new
from ledger.folder.sets import find_sets, load_set, load_sets

__all__ = ["find_sets", "load_set", "load_sets", "write_new"]
