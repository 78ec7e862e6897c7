"""The value that classifying a statement gives."""

from __future__ import annotations

from typing import Literal

import msgspec


class StatementKind(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a statement is.

    `label` names it for people, without its literals (`ALTER TABLE t ADD COLUMN c`).
    `target` is the object it is mainly about, `touched` are all tables, views,
    triggers, routines … that it creates, alters, renames or drops, unquoted, a
    qualified name with its dot; an index counts as its table where that is told.
    `redo_safe`: running it twice is running it once. `settleable`: after a crash
    in it, the database can tell whether it landed; if not, `reason` says why.
    `session`: its effect ends with the connection, so that a resumed run needs it
    again. `destructive`: it drops data.
    """

    kind: Literal["ddl", "dml", "query", "transaction", "session", "pragma", "call", "other"]
    label: str
    target: str = ""
    touched: tuple[str, ...] = ()
    redo_safe: bool = False
    settleable: bool = True
    reason: str = ""
    destructive: bool = False
