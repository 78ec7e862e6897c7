"""What a MySQL or MariaDB statement reads of its connection, and what it leaves there for later ones.

A run that goes on after a kill has another connection than the one that the earlier
steps had. Invariant: a statement whose text shows that it depends on something of
its connection says so here; code that is not in the text (CALL, EXECUTE) counts as
reading and changing everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, pairwise
from typing import Final, Literal

import msgspec

from ledger.dialects.mysql.syntax import SYNTAX
from ledger.dialects.statements import classify
from ledger.dialects.tokens import Cursor, Token

What = Literal["rows", "found", "warnings", "errors", "sequence", "diagnostics"]
ONE_SHOT: Final = frozenset({"insert_id", "rand_seed1", "rand_seed2"})
"""Settings that other statements use up or carry on, so that setting them again is no repetition."""

SEEDS: Final = frozenset({"rand_seed1", "rand_seed2"})
_NAMES: Final = ("character_set_client", "character_set_connection", "character_set_results",
                 "collation_connection")  # fmt: skip
_SCOPES: Final = frozenset({"SESSION", "LOCAL", "GLOBAL", "PERSIST", "PERSIST_ONLY"})
_ELSEWHERE: Final = frozenset({"GLOBAL", "PERSIST", "PERSIST_ONLY"})
_STORED: Final = frozenset({"VIEW", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"})
_IDS: Final = frozenset({"LAST_INSERT_ID", "IDENTITY"})
_LAST: Final[dict[str, What]] = {"ROW_COUNT": "rows", "FOUND_ROWS": "found"}
_COUNTS: Final[dict[str, What]] = {"WARNING_COUNT": "warnings", "ERROR_COUNT": "errors"}
_REFUSED: Final = {
    "USE": (
        "USE makes another database the connection's own",
        "A migration runs in its tenant's own database; leave the database's name out.",
    ),
    "XA": (
        "an XA transaction outlives its connection, and the marker cannot be part of it",
        "Write BEGIN and COMMIT, or leave both out: each step is a transaction of its own.",
    ),
}
_LOCAL: Final = (
    "LOAD … LOCAL reads a file of the machine that runs the command, which no migration may",
    "Write the rows as INSERT, read them in a Python migration, or put the file on the server and "
    "leave LOCAL out.",
)
_ALL_LOCKS: Final = (
    "RELEASE_ALL_LOCKS releases the lock under which the run works on this tenant",
    "Name the locks: RELEASE_LOCK('…').",
)
_LOCKS: Final = frozenset({"GET_LOCK", "RELEASE_LOCK"})
_WORTH_READING: Final = re.compile(
    r"@|\b(?:row_count|found_rows|last_insert_id|identity|lastval|previous|rand|temporary|drop"
    r"|diagnostics|prepare|execute|get_lock|release_lock|release_all_locks)\b|\A\s*+(?:/\*M?!\d*+\s*+)?set\b",
    re.IGNORECASE,
)


class Read(msgspec.Struct, frozen=True):
    """`sql[start:end]` reads `what` of the statement before, or of the sequence `of`."""

    start: int
    end: int
    what: What
    of: str = ""


class Setting(msgspec.Struct, frozen=True):
    """A session variable that SET assigns. `computed`: its value does not stand in the statement."""

    name: str
    computed: bool
    default: bool = False


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """What one statement has to do with its connection. Names of variables are in lower case.

    `first` is its first word. `opaque`: it runs code that its text does not show. `selects`:
    FOUND_ROWS is another afterwards. `again`: it may be run again as it stands, and has to be (SET
    ROLE, GET_LOCK); `once`: it is about the next statement alone (SET TRANSACTION).
    `source` is the expression that PREPARE takes its text from. `stored`: it is about the text
    of a view or a routine, which is not run, and names the variables `inside`. `refusal`: why
    a migration cannot have it, and what to write instead.
    """

    first: str = ""
    variables: frozenset[str] = frozenset()
    settings: tuple[Setting, ...] = ()
    opaque: bool = False
    selects: bool = False
    inserts: bool = False
    reads: tuple[Read, ...] = ()
    insert_id: bool = False
    random: bool = False
    again: bool = False
    once: bool = False
    makes_temporary: str = ""
    drops: tuple[str, ...] = ()
    prepares: str = ""
    source: str = ""
    executes: str = ""
    deallocates: str = ""
    stored: bool = False
    inside: frozenset[str] = frozenset()
    refusal: tuple[str, str] | None = None

    @property
    def changes(self) -> bool:
        """Whether the connection is not as good as a new one after it."""
        return bool(
            self.variables
            or self.settings
            or self.opaque
            or self.again
            or self.makes_temporary
            or self.prepares
        )

    @property
    def reads_last(self) -> bool:
        """Whether it reads what the statement just before it left."""
        return any(read.what not in ("sequence", "found") for read in self.reads)


@lru_cache(maxsize=4096)
def uses(sql: str) -> Uses:
    """What the statement reads and leaves. Never raises."""
    kind = classify(sql, SYNTAX)
    first = next((token.upper for token in SYNTAX.tokens(sql)), "")
    plain = Uses(
        first=first,
        selects=kind.kind in ("query", "call", "other"),
        inserts=kind.kind in ("dml", "call", "other"),
        opaque=kind.kind == "call",
    )
    if first in _REFUSED:
        return msgspec.structs.replace(plain, refusal=_REFUSED[first])
    if first == "LOAD" and any(token.upper == "LOCAL" for token in islice(SYNTAX.tokens(sql), 5)):
        return msgspec.structs.replace(plain, refusal=_LOCAL)
    if _WORTH_READING.search(sql) is None:
        return plain
    found = list(SYNTAX.placed(sql))
    words = [token for _, _, token in found]
    if first == "CREATE" and any(word.upper in _STORED for word in words[:12]):
        return Uses(stored=True, inside=frozenset(_variables(words)))
    upper = {word.upper for word in words}
    if "RELEASE_ALL_LOCKS" in upper:
        return msgspec.structs.replace(plain, refusal=_ALL_LOCKS)
    if first == "GET":
        return _diagnostics(words, len(sql))
    return msgspec.structs.replace(
        plain,
        selects=plain.selects or any(word.upper == "SELECT" for word in words),
        reads=tuple(_reads(found)),
        insert_id=any(word.upper in _IDS for word in words),
        random=any(word.upper == "RAND" and after.text == "(" for word, after in pairwise(words)),
        **{
            "variables": frozenset(_variables(words)),
            "again": kind.kind in ("query", "session") and bool(_LOCKS & upper),
        }
        | _own(first, words, found, sql),
    )


def _own(
    first: str, words: list[Token], found: list[tuple[int, int, Token]], sql: str
) -> dict[str, object]:
    """What the statements that are about the connection itself do."""
    name = words[1].text.lower() if len(words) > 1 else ""
    upper = [word.upper for word in words]
    if first == "SET" and name == "statement":
        return {}  # SET STATEMENT … FOR: the settings end with the statement behind them.
    if first == "SET":
        again = (
            bool({"ROLE", "TRANSACTION", "RESOURCE"} & set(upper[1:3]))
            and "GLOBAL" not in upper[1:2]
        )
        once = upper[1:2] == ["TRANSACTION"]
        settings = tuple(_settings(words[1:]))
        if classify(sql, SYNTAX).kind != "session":
            # It sets something on the server too, and is not run again for the session's sake.
            settings = tuple(
                msgspec.structs.replace(setting, computed=True) for setting in settings
            )
        again = again or bool(_LOCKS & set(upper))
        return {"settings": settings, "again": again, "once": once}
    if first == "PREPARE" and len(found) > 3:
        return {"prepares": name, "source": sql[found[3][0] :]} | _within_text(words)
    if first == "EXECUTE":
        return {"executes": "" if name == "immediate" else name} | _within_text(words)
    if first == "DEALLOCATE" or upper[:2] == ["DROP", "PREPARE"]:
        return {"deallocates": words[2].text.lower() if len(words) > 2 else ""}
    if first == "CREATE" and {"TEMPORARY", "TEMP"} & set(upper[:5]) and "TABLE" in upper[:6]:
        return {"makes_temporary": classify(sql, SYNTAX).target.rpartition(".")[2].lower()}
    if first == "DROP" and {"TABLE", "TABLES"} & set(upper[1:3]):
        touched = classify(sql, SYNTAX).touched
        return {"drops": tuple(table.rpartition(".")[2].lower() for table in touched)}
    return {}


def _within_text(words: Sequence[Token]) -> dict[str, object]:
    """The variables that a text to be executed names, besides those beside it."""
    texts = [word.text[1:-1] for word in words if word.kind == "string"]
    inner = {name for text in texts for name in uses(text).variables}
    refusals = [found for text in texts if (found := uses(text).refusal) is not None]
    return {
        "variables": frozenset(inner | set(_variables(words))),
        "refusal": refusals[0] if refusals else None,
    }


def _variables(words: Sequence[Token]) -> Iterator[str]:
    """User variables: an @ and a name, but not @@name, and not an account's name@host."""
    for number, token in enumerate(words[:-1]):
        if token.kind != "other" or token.text != "@":
            continue
        after = words[number + 1]
        before = words[number - 1] if number else None
        account = before is not None and before.kind in ("string", "quoted")
        if after.kind == "other" or account or (before is not None and before.text == "@"):
            continue
        name = after.text[1:-1] if after.kind == "string" else after.text
        rest = number + 2
        while after.kind == "word" and rest + 1 < len(words) and words[rest].text == ".":
            name += "." + words[rest + 1].text
            rest += 2
        yield name.lower()


def _reads(found: list[tuple[int, int, Token]]) -> Iterator[Read]:
    words = [token for _, _, token in found]
    for number, (start, _, token) in enumerate(found):
        after = words[number + 1 : number + 4]
        texts = [word.text for word in after]
        if token.upper in _LAST and texts[:2] == ["(", ")"]:
            yield Read(start, found[number + 2][1], _LAST[token.upper])
        elif token.upper in _COUNTS and (at := _system_variable(words, number)) is not None:
            yield Read(found[at][0], found[number][1], _COUNTS[token.upper])
        elif token.upper == "LASTVAL" and texts[:1] == ["("]:
            end = number + 2
            while end < len(words) and words[end].text != ")":
                end += 1
            if end < len(words):
                name = "".join(_quoted(word) for word in words[number + 2 : end])
                yield Read(start, found[end][1], "sequence", name)
        elif token.upper == "PREVIOUS" and [word.upper for word in after[:2]] == ["VALUE", "FOR"]:
            end = number + 3
            while end + 2 < len(words) and words[end + 1].text == ".":
                end += 2
            name = "".join(_quoted(word) for word in words[number + 3 : end + 1])
            yield Read(start, found[end][1], "sequence", name)


def _quoted(token: Token) -> str:
    if token.kind == "other":
        return token.text
    return "`" + token.text.replace("`", "``") + "`"


def _system_variable(words: Sequence[Token], number: int) -> int | None:
    """Where the @@ stands before this name, with or without its scope."""
    at = number - 2
    if number >= 4 and words[number - 1].text == "." and words[number - 2].upper in _SCOPES:
        at = number - 4
    return at if at >= 0 and words[at].text == words[at + 1].text == "@" else None


def _settings(words: Sequence[Token]) -> Iterator[Setting]:
    for is_variable, name, value in _assigned(words):
        if is_variable:
            continue
        if name in ("names", "charset", "character"):
            yield from (Setting(variable, computed=False) for variable in _NAMES)
            continue
        yield Setting(
            name,
            computed=name in ONE_SHOT or any(token.text in ("(", "@") for token in value),
            default=[token.upper for token in value] == ["DEFAULT"],
        )


def assignments(sql: str) -> Iterator[tuple[bool, str, Sequence[Token]]]:
    """(whether it is a user variable, name in lower case, value) for each that a SET gives to its session."""
    words = list(SYNTAX.tokens(sql))
    return _assigned(words[1:]) if words and words[0].upper == "SET" else iter(())


def _assigned(words: Sequence[Token]) -> Iterator[tuple[bool, str, Sequence[Token]]]:
    for clause in Cursor(iter(words)).clauses():
        texts = [token.text for token in clause]
        if texts[:2] == ["@", "@"]:
            clause = clause[2:]
        if clause and clause[0].upper in _SCOPES:
            if clause[0].upper in _ELSEWHERE:
                continue
            clause = clause[1:]
            texts = [token.text for token in clause]
            clause = clause[2 if texts[:2] == ["@", "@"] else texts[:1] == ["."] :]
        if not clause or clause[0].upper in ("PASSWORD", "ROLE", "RESOURCE", "TRANSACTION"):
            continue
        if clause[0].upper in ("NAMES", "CHARSET", "CHARACTER"):
            yield False, clause[0].upper.lower(), clause[1:]
            continue
        is_variable = clause[0].text == "@"
        end = next((at for at, token in enumerate(clause) if token.text == "="), len(clause))
        if end < len(clause):
            name = next(_variables(clause[:end]), "") if is_variable else clause[0].text.lower()
            yield is_variable, name, clause[end + 1 :]


def _diagnostics(words: Sequence[Token], end: int) -> Uses:
    """GET DIAGNOSTICS @a = ROW_COUNT, @b = NUMBER: what it asks is known without asking."""
    variables = frozenset(_variables(words))
    if any(word.upper in ("CONDITION", "STACKED") for word in words):
        return Uses(
            variables=variables,
            refusal=(
                "GET DIAGNOSTICS CONDITION reads the warnings of the statement before it, and "
                "those are read when that step is recorded",
                "Put both statements into a procedure, and CALL it.",
            ),
        )
    return Uses(variables=variables, reads=(Read(0, end, "diagnostics"),))


def diagnostics_asked(sql: str) -> tuple[tuple[str, What], ...]:
    """(variable, what) for each assignment of a GET DIAGNOSTICS."""
    words = [token for _, _, token in SYNTAX.placed(sql)]
    asked: list[tuple[str, What]] = []
    start = next((n for n, word in enumerate(words) if word.upper == "DIAGNOSTICS"), len(words))
    for clause in Cursor(iter(words[start + 1 :])).clauses():
        for name in _variables(clause):
            asked.append((name, "rows" if clause[-1].upper == "ROW_COUNT" else "warnings"))
    return tuple(asked)
