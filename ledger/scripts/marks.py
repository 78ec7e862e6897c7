"""Marks that divide a file for another tool, or look like this one's, and would be read as prose.

Invariant: what would make a down half run as a part of up is refused before anything runs.
Prose that begins like a mark, what is inside literals, and halves that are commented out stay ordinary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ledger.dialects import Dialect
from ledger.dialects.split import Statement
from ledger.errors import ScriptError
from ledger.scripts.layouts import HEADING_FILLERS, HEADING_WORDS, TOOLS, Direction

OWN: Final = "this format"
_BLANK: Final = "[ \\t\\f\\v\u00a0\u200b\u200c\u200d\u2060\ufeff]*"
_INVISIBLE: Final = re.compile("[\u200b\u200c\u200d\u2060\ufeff]")
_RULE: Final = r"[\s\-=*#~_/\\|+]*"
_LINE: Final = re.compile(rf"\n{_BLANK}(?P<intro>--|#|//)(?P<text>[^\n]*)")
_INSIDE: Final = re.compile(
    r"\n[ \t]*--(?=[ \t]*(?:migrate[ \t]*:[ \t]*(?:up|sync|down|verify)(?:[ \t]+\w+:\w+)?"
    r"|skip-if[ \t]*:[^\n]*|verify-step[ \t]*:[^\n]*|redo-safe)[ \t]*(?:\n|\Z))"
)
_OWN_DIRECTIVE: Final = re.compile(r"--[ \t]*migrate[ \t]*:[^\n]*")
_OWN_MARK: Final = (
    r"[@+!]?\s*migrat(?:e|ion)s?\W{1,3}(?P<section>up|down|sync|verify)"
    r"(?:\s+transaction\s*:\s*\w+)?\W*"
)


class Comment(NamedTuple):
    """A comment: where it starts in its text, how (`--`, `#`, `/*`, or `//`), and what it says."""

    position: int
    intro: str
    text: str

    @property
    def written(self) -> str:
        """One line of it, as it stands in the file."""
        end = " */" if self.intro == "/*" else ""
        return " ".join(f"{self.intro}{self.text}{end}".split())[:80]


class Found(NamedTuple):
    """A mark in a text."""

    tool: str
    direction: Direction
    comment: Comment


_STRICT: Final[tuple[tuple[str, Direction, str], ...]] = tuple(
    (tool.name, mark.direction, mark.pattern)
    for tool in TOOLS
    for mark in tool.marks
    if not mark.loose
)
_MARK: Final = re.compile(
    rf"{_RULE}(?:{'|'.join(f'({pattern})' for _, _, pattern in _STRICT)})[\s\-=*#~_:.]*",
    re.IGNORECASE,
)
"""All of them at once; the number of the group says which one it is."""
_OWN: Final = re.compile(rf"{_RULE}{_OWN_MARK}", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W\d_]+")
_NUMBER: Final = re.compile(r"\d+")
_ROLLBACK: Final = re.compile(r"ROLLBACK\b", re.IGNORECASE)
_ROLL_BACK: Final = re.compile(r"\broll[ _-]back\b", re.IGNORECASE)
HEADING_CHARACTERS: Final = 200


def require_no_marks(text: str, dialect: Dialect, *, file: str, section: Direction) -> None:
    """Refuse a file with marks of another tool, or with its own where they count for nothing.

    `section` is what the file is from its first line on: a mark of a down file that says
    down is right. Raises ScriptError with the first mark's line and those of the others.
    """
    found = [
        mark
        for mark in _marks(text)
        if not (mark.direction == section != "up" and mark.tool != OWN)
    ]
    outside = _outside(text, [mark.comment.position for mark in found], dialect)
    found = [mark for mark in found if mark.comment.position in outside]
    if not found:
        return
    first = found[0]
    lines = [text.count("\n", 0, mark.comment.position) + 1 for mark in found]
    more = f" (others in {_lines(lines[1:])})" if lines[1:] else ""
    if first.tool == OWN:
        what = f"{first.comment.written!r} is no section mark as it is written, and would be read as a comment"
    else:
        what = f"{first.comment.written!r} is a section mark of {first.tool}, and would be read as a comment"
    raise ScriptError(what + more, file=file, line=lines[0], hint=_hint(first, dialect))


def _lines(numbers: list[int]) -> str:
    return ("line " if len(numbers) == 1 else "lines ") + ", ".join(map(str, numbers))


def _hint(found: Found, dialect: Dialect) -> str:
    if found.direction == "single":
        return "Write -- migrate:up transaction:false in its place, before the first statement."
    if found.direction == "other":
        return (
            "Remove it, write -- migrate:up before the statements that apply the migration and"
            f" -- migrate:down before those that undo it{dialect.routine_hint}."
        )
    return f"Write -- migrate:{found.direction} in its place, on a line of its own."


def _marks(text: str) -> Iterator[Found]:
    for comment in _comments(text):
        said = _INVISIBLE.sub("", comment.text)
        mark = _MARK.fullmatch(said)
        if mark is not None and mark.lastindex is not None:
            name, direction, _ = _STRICT[mark.lastindex - 1]
            if comment.intro != "//" or "@" in said:
                yield Found(name, direction, comment)
            continue
        own = _OWN.fullmatch(said)
        if own is not None and not (
            comment.intro == "--" and _is_directive(text, comment.position)
        ):
            yield Found(OWN, own["section"].lower(), comment)  # type: ignore[arg-type]


def _is_directive(text: str, position: int) -> bool:
    """Whether the comment is read as a directive: alone on its line, but for blanks."""
    before = text[text.rfind("\n", 0, position) + 1 : position]
    return not before.strip(" \t") and _OWN_DIRECTIVE.match(text, position) is not None


def _comments(text: str) -> Iterator[Comment]:
    """What may be a comment: lines that begin as one, and blocks; in the text's order."""
    lines = (
        Comment(match.start("intro") - 1, match["intro"], match["text"])
        for match in _LINE.finditer(f"\n{text}")
    )
    found = sorted([*lines, *_blocks(text)])
    yield from found


def _blocks(text: str) -> Iterator[Comment]:
    start = text.find("/*")
    while start >= 0:
        end = text.find("*/", start + 2)
        if end < 0:
            return
        yield Comment(start, "/*", text[start + 2 : end])
        start = text.find("/*", end + 2)


def _outside(text: str, positions: Sequence[int], dialect: Dialect) -> frozenset[int]:
    """The positions, of those in order, at which no literal and no longer comment is open."""
    left = iter(positions)
    position = next(left, None)
    found = []
    for match in dialect.syntax.opaque.finditer(text) if position is not None else ():
        while position is not None and match.end() > position:
            if match.start() >= position:
                found.append(position)
            position = next(left, None)
        if position is None:
            break
    return frozenset((*found, *(() if position is None else (position, *left))))


def require_no_directive_inside(sql: str, dialect: Dialect, *, file: str, line: int) -> None:
    """Refuse a statement with a directive among its lines, where it has no effect. Raises ScriptError."""
    places = [match.end() - 2 for match in _INSIDE.finditer(sql)]
    outside = _outside(sql, places, dialect)
    for at in places:
        if at in outside:
            said = sql[at:].splitlines()[0].strip()
            raise ScriptError(
                f"{said!r} stands inside a statement, where it has no effect",
                file=file,
                line=line + sql.count("\n", 0, at),
                hint=f"The statement of line {line} lacks its delimiter before it."
                if "migrate" in said
                else f"Write it before the statement, which begins in line {line}.",
            )


def _is_heading(text: str) -> bool:
    """Whether a comment says nothing but that what follows undoes."""
    if len(text) > HEADING_CHARACTERS or "%" in text or len(_NUMBER.findall(text)) > 1:
        return False
    words = {word.lower() for word in _WORD.findall(_ROLL_BACK.sub("rollback", text))}
    return not HEADING_WORDS.isdisjoint(words) and words <= HEADING_WORDS | HEADING_FILLERS


def require_no_heading(statement: Statement, dialect: Dialect, *, first: bool, file: str) -> None:
    """Refuse a heading `Down` (`Rollback`, `Undo` …) over a statement of the section up.

    `first` says that the statement is the file's first. A heading over statements that are
    commented out is prose, and so is one over a ROLLBACK. Raises ScriptError.
    """
    lead = statement.lead
    if _ROLLBACK.match(statement.sql):
        return
    comments = list(_comments(lead))
    written = [comment.position for comment in comments if comment.text.rstrip().endswith(";")]
    headings = [
        comment
        for comment in comments
        if _is_heading(comment.text) and not (written and comment.position < written[-1])
    ]
    outside = _outside(lead, [heading.position for heading in headings], dialect)
    for comment in headings:
        beside = not first and lead.find("\n", 0, comment.position) < 0
        if (beside and comment.intro != "/*") or comment.position not in outside:
            continue
        raise ScriptError(
            f"{comment.written!r} stands over statements that would run as a part of up",
            file=file,
            line=statement.lead_line + lead.count("\n", 0, comment.position),
            hint="If they undo the migration, write -- migrate:down in its place; if not, reword it.",
        )
