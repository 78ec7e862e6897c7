"""Directives: comments that the ledger acts on, each on a line of its own before a statement.

Invariant: only the comments between statements are looked at, so that text in a
string or a procedure's body is never a directive; a directive that is misspelt,
misplaced or left without its statement is an error, not a comment.
"""

from __future__ import annotations

import difflib
import re
from typing import Final, Literal, NamedTuple

from ledger.dialects.patterns import BACKTICKED, BLOCK_COMMENT, DOUBLE, SINGLE
from ledger.dialects.steps import SkipIf
from ledger.errors import ScriptError
from ledger.scripts.mistyped import meant
from ledger.scripts.version import version_key

SectionName = Literal["up", "sync", "down", "verify"]
SECTIONS: Final[tuple[SectionName, ...]] = ("up", "sync", "down", "verify")
_SKIP_KINDS: Final = ("column", "table", "index", "view", "sql:")


class Directive(NamedTuple):
    """One directive: its word, what follows it, and where it stands."""

    word: str
    value: str
    file: str
    line: int

    def error(self, problem: str, hint: str) -> ScriptError:
        """The error for what is wrong with it."""
        return ScriptError(problem, file=self.file, line=self.line, hint=hint)


_COMMENT: Final = re.compile(rf"{BLOCK_COMMENT}|#[^\n]*|(?P<comment>--[^\n]*)")
WORDS: Final = (
    "migrate:", "depends:", "step:", "skip-if:", "check:", "placeholders:", "verify-step:",
    "redo-safe", "secret", "foreign-key-check:", "no-steps:",
)  # fmt: skip
"""Every directive; a value follows a colon."""
_VALUED: Final = "|".join(word.rstrip(":") for word in WORDS if word.endswith(":"))
_BARE: Final = "|".join(word for word in WORDS if not word.endswith(":"))
_DIRECTIVE: Final = re.compile(
    rf"--[ \t]*(?:(?P<valued>{_VALUED})[ \t]*:[ \t]*(?P<value>.*?)|(?P<bare>{_BARE}))[ \t]*"
)
_SPACED: Final = re.compile(
    r"--[ \t]*(?i:migrate|skip[-_ ]?if|verify[-_ ]?step|depends[-_ ]on|placeholder)[ \t]*:"
)
"""Spellings with a colon that can only be meant as a directive; `Step:` and `Check:` are prose often enough."""
_PROSE: Final = frozenset({"step", "check", "secret"})


def read_directives(
    lead: str, *, line: int, first: bool, file: str, kept: bool = False
) -> list[Directive]:
    """The directives among the comments before a statement.

    `line` is that of the lead's first character; `first` says that the lead
    starts the file, so that its first line is a whole one. Raises ScriptError
    for a misspelt directive and for one that shares its line with a statement.
    """
    if not lead.strip():
        return []
    found = []
    at, counted = line, 0
    for match in _COMMENT.finditer(lead):
        comment = match["comment"]
        at += lead.count("\n", counted, match.start())
        counted = match.start()
        if comment is None:
            if not kept:
                _require_no_directive(match[0], file=file, line=at)
            continue
        written = _DIRECTIVE.fullmatch(comment)
        if written is None:
            if not kept:
                _require_prose(comment, file=file, line=at)
            continue
        word = written["valued"] or written["bare"]
        directive = Directive(word, written["value"] or "", file, at)
        if not _alone(lead, match.start(), first=first):
            if word in _PROSE:
                continue
            raise directive.error(
                f"the directive -- {word} shares its line with a statement",
                "Write it on a line of its own, before the statement it is for.",
            )
        found.append(directive)
    return found


def _alone(lead: str, position: int, *, first: bool) -> bool:
    newline = lead.rfind("\n", 0, position)
    return (first or newline >= 0) and not lead[newline + 1 : position].strip()


def _require_prose(comment: str, *, file: str, line: int) -> None:
    """Refuse a comment that is a directive with a slip in it. Raises ScriptError."""
    word = meant(comment, WORDS)
    if not word and (spaced := _SPACED.match(comment)):
        word = difflib.get_close_matches(spaced[0].strip("- \t"), WORDS, n=1, cutoff=0)[0]
    if word:
        head, colon, _ = comment.lstrip("- \t").partition(":")
        raise ScriptError(
            f"unknown directive {(head + colon).strip()[:60]!r}",
            file=file,
            line=line,
            hint=f"Did you mean -- {word}{' …' if word.endswith(':') else ''}? If it is prose, reword it.",
        )


def _require_no_directive(comment: str, *, file: str, line: int) -> None:
    """Refuse a directive in a comment of another kind, where it has no effect. Raises ScriptError."""
    said = comment.strip("#/*- \t\n")
    directive = _DIRECTIVE.fullmatch(f"-- {said}")
    if (
        directive is not None
        and "\n" not in said
        and (directive["valued"] or directive["bare"]) not in _PROSE
    ):
        raise ScriptError(
            f"a directive in a comment {comment[:2].rstrip()} has no effect: {said[:60]!r}",
            file=file,
            line=line,
            hint=f"Write -- {said[:60]} on a line of its own.",
        )


def nearest(word: str, valid: tuple[str, ...] | list[str]) -> str:
    """A hint's words: the nearest valid one, and all of them."""
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.4)
    every = ", ".join(valid)
    return f"Did you mean {near[0]}? Valid are: {every}." if near else f"Valid are: {every}."


def parse_section(directive: Directive) -> tuple[SectionName, bool]:
    """The section that `-- migrate:…` opens, and whether it is one transaction. Raises ScriptError."""
    words = directive.value.split()
    name = words[0] if words else ""
    for section in SECTIONS:
        if section == name:
            break
    else:
        raise directive.error(
            f"unknown section {name!r} in -- migrate:{name}", nearest(name, list(SECTIONS))
        )
    transaction = True
    if section == "sync" and words[1:]:
        raise directive.error(
            f"-- migrate:sync takes no option, and this is {words[1]!r}",
            "Whether its statements share a transaction is said at -- migrate:up.",
        )
    for option in words[1:]:
        if option.lower() not in ("transaction:false", "transaction:true"):
            raise directive.error(
                f"unknown option {option!r} in -- migrate:{name}",
                "The only option is transaction:false.",
            )
        transaction = option.lower() == "transaction:true"
    return section, transaction


_NAME: Final = rf"(?:{BACKTICKED}|{DOUBLE}|{SINGLE}|\[[^\]]*+\]|[\w${{}}]+)"
_SUBJECT: Final = re.compile(rf"({_NAME})(?:\s*\.\s*({_NAME}))?")


def parse_skip_if(directive: Directive) -> SkipIf:
    """Read a guard: `column T.C`, `table T`, `index I`, `view V` or `sql: SELECT …`. Raises ScriptError.

    A name in quotes may hold anything; a doubled quote stands for itself.
    """
    text = directive.value
    if text.lower().startswith("sql:"):
        sql = text[4:].strip().rstrip(";").rstrip()
        if sql:
            return SkipIf(kind="sql", subject=sql, text=text)
    word, rest = (*text.split(maxsplit=1), "", "")[:2]
    subject = _SUBJECT.fullmatch(rest.strip())
    if subject is not None and all(_unquoted(part) for part in subject.groups() if part):
        first, second = _unquoted(subject[1]), _unquoted(subject[2] or "")
        if word in ("table", "index", "view") and not second:
            return SkipIf(kind=word, subject=first, text=text, name=first)  # type: ignore[arg-type]
        if word == "column" and second:
            return SkipIf(
                kind="column", subject=f"{first}.{second}", text=text, owner=first, name=second
            )
    known = word in _SKIP_KINDS
    raise directive.error(
        f"-- skip-if: {text} "
        + ("names nothing" if known and not rest.strip() else "is not a guard"),
        "Write column TABLE.COLUMN, table NAME, index NAME, view NAME, or sql: SELECT …;"
        ' a name with a space stands in quotes: table "order items"'
        + ("." if known else f" ({nearest(word, list(_SKIP_KINDS))})"),
    )


def _unquoted(name: str) -> str:
    mark = name[:1]
    if mark == "[":
        return name[1:-1]
    return name[1:-1].replace(mark * 2, mark) if mark in ("`", '"', "'") and name else name


def require_reason(directive: Directive, section: SectionName) -> None:
    """Hold `-- no-steps: WHY` to its form and its place. Raises ScriptError."""
    problem = ""
    if not directive.value:
        problem = "-- no-steps: has no value"
    elif section != "up":
        problem = f"-- no-steps: stands in the section {section}"
    if problem:
        raise directive.error(
            problem,
            "Write after it, in the section up, why the migration has no step.",
        )


def parse_depends(directive: Directive, *, set_name: str) -> tuple[tuple[str, str], ...]:
    """Read `001, billing/003` as (set, version) pairs. Raises ScriptError."""
    result = []
    for item in directive.value.replace(",", " ").split():
        result.append(
            parse_dependency(item, set_name=set_name, file=directive.file, line=directive.line)
        )
    if not result:
        raise directive.error(
            "-- depends: names no version",
            "Write versions of this set, or SET/VERSION, separated by commas.",
        )
    return tuple(result)


def parse_dependency(
    item: str, *, set_name: str, file: str, line: int | None = None
) -> tuple[str, str]:
    """Read one `VERSION` or `SET/VERSION`. Raises ScriptError."""
    owner, slash, version = item.rpartition("/")
    if version_key(version) is None or (slash and not re.fullmatch(r"[\w.\-]+", owner)):
        raise ScriptError(
            f"{item!r} is not a version that can be depended on",
            file=file,
            line=line,
            hint="Write versions of this set, or SET/VERSION, separated by commas.",
        )
    return (owner or set_name, version)
