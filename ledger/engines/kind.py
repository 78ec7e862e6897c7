"""What a kind of database brings, known without importing its driver."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from ledger.engines.source import Read


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """How `ledger init` asks for such tenants, and what it writes into a new configuration.

    `metavar` and `help` are those of the option `--KIND`, `default` its value where no kind is asked for.
    `asked` is a `[[tenants]]` table, a format string with `value`, `databases` and `password`;
    `else_` is its comment where other tenants were asked for, `more` a comment for the end.
    """

    metavar: str
    help: str
    asked: str
    else_: str
    default: str = ""
    more: str = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of tenant database. `engine`, `batch` and `throwaway` are MODULE:NAME, imported when used.

    `label` is its name for people. `backup_suffix` ends the names of its backups, which events call
    `backup_format` and `backup_check` (MODULE:NAME) reads through. `batch`, where there is one, is the
    `engines.batch.Batch` that works on many of its tenants at once. `charset_collate` is what
    that placeholder stands for. `keys` go with its own key in `[[tenants]]`, which holds a URL
    where `has_server`, and `read` says what they mean. `throwaway` makes an empty database for a test.
    """

    label: str
    engine: str
    throwaway: str
    backup_suffix: str
    backup_format: str
    backup_check: str
    has_server: bool
    keys: frozenset[str]
    read: Read
    example: Example
    batch: str = ""
    charset_collate: str = ""


def imported(name: str) -> Any:
    """What MODULE:NAME of a Kind names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
