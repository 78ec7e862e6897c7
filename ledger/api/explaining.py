"""`migrate --explain FILE`: the file read and held to its tenants before anything runs."""

from __future__ import annotations

from pathlib import Path

import anyio

from ledger.api.opened import Chosen
from ledger.errors import UsageError
from ledger.runner.explain import queries_for
from ledger.scripts.model import DialectName
from ledger.scripts.queries import Query, parse_queries
from ledger.scripts.source import read_source


async def read_queries(path: str | Path, chosen: Chosen) -> dict[DialectName, tuple[Query, ...]]:
    """The file's queries for each dialect in use. Raises UsageError and ScriptError."""
    try:
        data = await anyio.Path(path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"the queries to explain cannot be read: {path}: {error.strerror}",
            hint="Name a file with `-- query: NAME` and a SELECT after each.",
        ) from error
    source = read_source(data, file=str(path))
    # Engines' names are their dialects'.
    dialects: set[DialectName] = {target.engine for target in chosen.targets}
    queries = {dialect: parse_queries(source, dialect) for dialect in dialects}
    for target in chosen.targets:
        queries_for(queries, target, target.engine)
    return queries
