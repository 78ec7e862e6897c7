"""The objects that a statement touches: their SHOW CREATE text, made comparable.

Invariant: neither the tenant's name nor its prefix, nor a definer, nor AUTO_INCREMENT's
counter is in a fingerprint, so that two tenants of a fleet have the same one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ledger.dialects.kinds import StatementKind
from ledger.drivers.mysql import MysqlConnection, quote_identifier
from ledger.drivers.mysql_errors import QueryError
from ledger.engines.work import ABSENT

_MISSING: Final = frozenset({1049, 1051, 1146, 1305, 1360, 1539, 4089, 4091, 1508, 1347})
_DEFINER: Final = re.compile(r" ?DEFINER\s*=\s*(?:`(?:[^`]|``)*`|\w+)@(?:`(?:[^`]|``)*`|\w+)")
_COUNTER: Final = re.compile(r" AUTO_INCREMENT=\d+")
# MySQL names a column's character set too once its collation was given explicitly, as it is when
# SHOW CREATE's own text is run; the collation alone says the same.
_CHARSET: Final = re.compile(r" CHARACTER SET \w+(?= COLLATE \w+)")
_INTRODUCER: Final = re.compile(
    r"`(?:[^`]|``)*`|'(?:[^'\\]|\\.|'')*'|\\'(?:[^\\]|\\\\(?:\\['\\]|[^\\']))*\\'"
    r"|(?<![\w$])(?P<introducer>_(?!binary\b)[a-z0-9]+)(?=\\?')",
    re.DOTALL,
)
"""In information_schema's expressions a backslash stands before each quote of MySQL's literals."""

_TEXT_COLUMN: Final = {
    "table": 1, "sequence": 1, "trigger": 2, "procedure": 2, "function": 2, "event": 3,
    "package": 2, "package body": 2, "library": 2,
}  # fmt: skip


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What is a tenant's own in a text: its database and its prefix."""

    database: str
    prefix: str = ""

    def neutral(self, text: str) -> str:
        """The text with the database's qualifier gone and the prefix as `{prefix}`."""
        text = text.replace(quote_identifier(self.database) + ".", "")
        if self.prefix:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(self.prefix)}", "{prefix}", text)
        return text


class ObjectState(msgspec.Struct, frozen=True, kw_only=True):
    """One object: `text` is its normalised CREATE, None if it does not exist; `raw` as the server said it."""

    kind: str
    name: str
    text: str | None
    raw: str = ""

    @property
    def key(self) -> str:
        """`table wp_posts`: see `object_key`."""
        return object_key(self.kind, self.name)


def touched(kind: StatementKind) -> tuple[tuple[str, str], ...]:
    """(kind, name) of what a DDL statement touches; a table stands for its views and indexes."""
    special = kind.object if kind.object in _TEXT_COLUMN else "table"
    pairs = [(special, name) for name in kind.touched]
    if special == "trigger":
        pairs[1:] = [("table", name) for _, name in pairs[1:]]
    return tuple(pairs)


def object_key(kind: str, name: str) -> str:
    """An object as intents and markers hold it: its kind, one blank, its name."""
    return f"{kind} {name}"


def from_key(key: str) -> tuple[str, str]:
    """Kind and name of what `object_key` made; a kind may hold a blank itself."""
    kind = max(
        (word for word in _TEXT_COLUMN if key.startswith(f"{word} ")), key=len, default="table"
    )
    return kind, key.removeprefix(f"{kind} ")


class KnownNames:
    """Names that may exist in the database, in small letters; None until they are read.

    A name that is not among them need not be asked for.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: set[str] | None = None

    def forget(self) -> None:
        """Something may have made anything."""
        self._names = None

    def learn(self, names: Iterable[str]) -> None:
        """All names with the tenant's prefix that the server lists."""
        self._names = {name.lower() for name in names}

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """What a statement of ours may have made."""
        if self._names is not None:
            self._names.update(name.rpartition(".")[2].lower() for _, name in pairs)

    def rules_out(self, kind: str, name: str) -> bool:
        """Whether a table or view of that name is known not to exist."""
        return (
            self._names is not None
            and kind == "table"
            and "." not in name
            and name.startswith(self._prefix)
            and name.lower() not in self._names
        )


async def states(
    connection: MysqlConnection,
    pairs: Sequence[tuple[str, str]],
    names: Names,
    known: KnownNames | None = None,
) -> tuple[ObjectState, ...]:
    """How the objects are now."""
    return tuple(
        [
            ObjectState(kind=kind, name=name, text=None)
            if known is not None and known.rules_out(kind, name)
            else await _state(connection, kind, name, names)
            for kind, name in pairs
        ]
    )


async def _state(connection: MysqlConnection, kind: str, name: str, names: Names) -> ObjectState:
    quoted = ".".join(quote_identifier(part) for part in name.split(".", 1))
    try:
        rows = await connection.fetch(f"SHOW CREATE {kind.upper()} {quoted}")
    except QueryError as error:
        if error.code in _MISSING:
            return ObjectState(kind=kind, name=name, text=None)
        raise
    row = rows[0]
    raw = row[_TEXT_COLUMN[kind]]
    if raw is None:
        # The account may run the routine but not read it.
        return ObjectState(kind=kind, name=name, text="(not readable)")
    text = raw.decode() if isinstance(raw, bytes) else str(raw)
    mode = f"{row[1]}\n" if kind not in ("table", "sequence") else ""
    same = normalised(without_introducers(text) if kind == "table" else text, names)
    return ObjectState(kind=kind, name=name, text=mode + same, raw=text)


def normalised(text: str, names: Names) -> str:
    """SHOW CREATE's text without what differs between equal tenants."""
    return names.neutral(_CHARSET.sub("", _COUNTER.sub("", _DEFINER.sub("", text))))


def without_introducers(text: str) -> str:
    """The text without the character sets of its literals, `_binary` apart.

    MySQL writes that of the connection into CHECK, DEFAULT, generated columns and indexed expressions, and another
    one when it makes the table anew.
    """
    return _INTRODUCER.sub(lambda match: "" if match["introducer"] else match[0], text)


def without_definer(text: str) -> str:
    """The text without its definer: the account that runs it becomes that."""
    return _DEFINER.sub("", text)


def fingerprint(found: Sequence[ObjectState], names: Names) -> str:
    """`absent` if none exists; else SHA-256, in hex, over their texts. Empty for no objects."""
    if not found:
        return ""
    if all(state.text is None for state in found):
        return ABSENT
    content = msgspec.json.encode([(names.neutral(state.name), state.text) for state in found])
    return hashlib.sha256(content).hexdigest()
