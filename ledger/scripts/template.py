"""The next version of a set in its own manner, and the file that `ledger new` writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from ledger.dialects import DialectName, dialect_of
from ledger.errors import UsageError
from ledger.scripts.version import version_key

_TIMESTAMP_DIGITS: Final = 8

TEMPLATE_SQL: Final = """\
-- migrate:up
-- {title}. Name the statements with a line `-- step: …` before each:
-- {example}
-- Or, in a section `-- migrate:sync`, CREATE statements of what is to be there: what a tenant lacks is added.

-- migrate:down

-- migrate:verify
-- Each check is a SELECT whose first value must be true, named by a line `-- check: …`:
-- SELECT count(*) = 0 FROM …;
"""


def next_version(versions: Sequence[str], *, now: datetime) -> str:
    """The version after the newest, in the manner of the set.

    `001, 002` gives `003`; `1.0.0, 2.0.0` gives `2.1.0` (the next minor);
    timestamps give `now`; an empty set gives `001`.
    """
    ordered = sorted(versions, key=lambda version: version_key(version) or ())
    if not ordered:
        return "001"
    newest = ordered[-1]
    if "." in newest:
        parts = [int(part) for part in newest.split(".")]
        parts[1:] = [parts[1] + 1, *([0] * (len(parts) - 2))]
        return ".".join(str(part) for part in parts)
    if len(newest) >= _TIMESTAMP_DIGITS:
        stamp = now.strftime("%Y%m%d%H%M%S")
        return stamp if int(stamp) > int(newest) else str(int(newest) + 1)
    return f"{int(newest) + 1:0{len(newest)}}"


def snake_case(name: str) -> str:
    """`Add conversation tags` as `add_conversation_tags`. Raises UsageError if nothing is left."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    result = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    if not result:
        raise UsageError(
            f"{name!r} has no letter that a file's name can have",
            hint="Say what the migration does, as in `ledger new add_conversation_tags`.",
        )
    return result


def template(name: str, dialect: DialectName) -> str:
    """The text of a new migration: all sections, nothing that runs."""
    title = name.replace("_", " ").capitalize()
    return TEMPLATE_SQL.format(title=title, example=dialect_of(dialect).example)
