"""The scanners' regular expressions against readers that go character by character.

The readers are slow and obviously right. On a Python whose `re` reads too far
(before 3.11.5, see ledger/dialects/patterns.py) a possessive group fails here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ledger
from ledger.dialects import dialect_of
from ledger.dialects.mysql.split import split_mysql
from ledger.engines.mysql.backup import dumpfile
from ledger.engines.sqlite import steps
from ledger.engines.sqlite.schema import ddl
from ledger.errors import ScriptError

BLANKS = " \t\n\v\f\r"
PIECES = st.sampled_from(
    [
        ";", ";;", "$", "$$", " ", "\n", "\t", "SELECT", "x", "é", "1", "'", '"', "`", "\\", "\\'", "\\\\",
        "'a;b'", "'it''s'", "'\\';'", '"q;\\""', "`b;\\`", "''", '""', "``", "-", "--", "-- c;\n", "--c", "-- '",
        "#", "# c;\n", "/*", "*/", "/* c; */", "/**/", "/***/", "/*;*", "/", "*", "/*!", "/*+", "/*M!", "/*!40101 ",
        "/* ' */", "(", ")", "[", "]", "[c;]", "{p}", "{", "->>", "||", "x'0a'", "1.5e3", "\ufeff",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=16).map("".join)


class Refused(Exception):
    """The reader found a quote or comment that never ends, or a backslash outside quotes."""


def quote_end(text: str, start: int, *, backslash: bool, doubled: bool = False) -> int:
    """After the quotation that opens at `start`; -1 if it never ends."""
    mark = text[start]
    at = start + 1
    while at < len(text):
        if backslash and text[at] == "\\":
            at += 2
        elif text[at] != mark:
            at += 1
        elif doubled and text[at + 1 : at + 2] == mark:
            at += 2
        else:
            return at + 1
    return -1


def comment_end(text: str, start: int) -> int:
    """After the block comment that opens at `start`; -1 if it never ends."""
    found = text.find("*/", start + 2)
    return found + 2 if found >= 0 else -1


def dollars_end(text: str, start: int) -> int:
    """After the dollar quotes that open at `start`; -1 if none do, or they never end."""
    before = text[start - 1] if start else ""
    at = start + 1
    while at < len(text) and (text[at].isalnum() or text[at] == "_"):
        at += 1
    if text[start] != "$" or text[at : at + 1] != "$" or before.isalnum() or before in ("_", "$"):
        return -1
    mark = text[start : at + 1]
    found = text.find(mark, at + 1)
    return found + len(mark) if found >= 0 else -1


def line_end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return found if found >= 0 else len(text)


def plain_comment(text: str, at: int) -> bool:
    return text.startswith("/*", at) and not text.startswith(("/*!", "/*+", "/*M!"), at)


def mysql_statements(text: str, delimiter: str) -> list[str]:
    """What the client would send, for texts without its commands. Raises Refused."""
    found = []
    start = at = 0
    while at < len(text):
        char = text[at]
        leads = start == at
        if text.startswith(delimiter, at):
            found.append(text[start:at])
            at = start = at + len(delimiter)
        elif char in BLANKS:
            at += 1
            start = at if leads else start
        elif char == "#" or (
            text.startswith("--", at) and (leads or text[at + 2 : at + 3] in ("", *BLANKS))
        ):
            at = line_end(text, at)
            start = at if leads else start
        elif plain_comment(text, at):
            if (at := comment_end(text, at)) < 0:
                raise Refused
            start = at if leads else start
        elif text.startswith("/*+", at):
            if (at := comment_end(text, at)) < 0:
                raise Refused
        elif (after := dollars_end(text, at)) > 0:
            at = after
        elif char in "'\"`":
            if (at := quote_end(text, at, backslash=char != "`")) < 0:
                raise Refused
        elif char == "\\":
            raise Refused
        else:
            at += 1
    return [one.rstrip(BLANKS) for one in [*found, text[start:]] if one.rstrip(BLANKS)]


@settings(max_examples=600)
@given(TEXTS, st.sampled_from([";", "$$", "|", "x"]))
@example("SELECT '\\'", ";")
@example("SELECT 'a\\\\';SELECT 2;", ";")
@example("SELECT 1 /*! , 2; */;", ";")
@example("SELECT /*+ a;b ' */ 1;SELECT 2;", ";")
@example("/*+ a;b */ SELECT 1;", ";")
def test_mysql_splits_where_the_reader_does(text: str, delimiter: str) -> None:
    """Whatever is accepted is split as by the reader; what the reader refuses is refused."""
    header = "" if delimiter == ";" else f"DELIMITER {delimiter}\n"
    try:
        found = [one.sql for one in split_mysql(header + text, file="f.sql").statements]
    except ScriptError as error:
        # The splitter refuses more: an unclosed parenthesis at the end, and \N after all is SQL.
        if "not complete" not in str(error):
            with pytest.raises(Refused):
                mysql_statements(text, delimiter)
        return
    if "\\\n" in text or text.endswith("\\"):
        return  # A backslash at a line's end is dropped, for which test_splitting has examples.
    assert found == mysql_statements(text, delimiter)


def read_tokens(sql: str, *, mysql: bool) -> list[tuple[str, str]]:
    """Kind and text, as `tokens` promises them."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(sql):
        char = sql[at]
        start = at
        word = re.compile(r"[\w$]|\{\w+\}").match(sql, at)
        if char.isspace():
            at += 1
        elif mysql and (skipped := re.compile(r"/\*M?!\d*|\*/").match(sql, at)):
            at = skipped.end()
        elif (mysql and char == "#") or (
            sql.startswith("--", at)
            and (not mysql or sql[at + 2 : at + 3] == "" or sql[at + 2].isspace())
        ):
            at = line_end(sql, at)
        elif sql.startswith("/*", at):
            at = comment_end(sql, at)
            if at < 0:
                found.append(("other", sql[start:]))
                break
        elif mysql and (after := dollars_end(sql, at)) > 0:
            at = after
            found.append(("string", sql[start:at]))
        elif word:
            while word := re.compile(r"[\w$]|\{\w+\}").match(sql, at):
                at = word.end()
            found.append(("word", sql[start:at]))
        elif char in ("'\"`" if mysql else "'\"`["):
            if char == "[":
                at = sql.find("]", at) + 1 or -1
            else:
                at = quote_end(sql, at, backslash=mysql and char != "`", doubled=True)
            if at < 0:
                found.append(("other", sql[start:]))
                break
            text = sql[start:at]
            if char == "'" or (mysql and char == '"'):
                found.append(("string", text))
            else:
                found.append(("quoted", text[1:-1].replace(char * 2, char)))
        else:
            at += 1
            found.append(("other", char))
    return found


@settings(max_examples=600)
@given(TEXTS, st.booleans())
def test_tokens_are_those_of_the_reader(text: str, mysql: bool) -> None:
    """Comments and literals are never taken for words, and no character is lost or read twice."""
    found = [
        (one.kind, one.text)
        for one in dialect_of("mysql" if mysql else "sqlite").syntax.tokens(text)
    ]
    assert found == read_tokens(text, mysql=mysql)


@settings(max_examples=400)
@given(TEXTS)
@example("/* a * b */ COMMIT")
@example("--\n-/")
def test_the_first_word_is_found_behind_whatever_leads(text: str) -> None:
    """Blanks, semicolons and comments before a statement hide no COMMIT."""
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] in ";\ufeff":
            at += 1
        elif text.startswith("--", at):
            at = line_end(text, at)
        elif text.startswith("/*", at):
            end = comment_end(text, at)
            at = len(text) if end < 0 else end
        else:
            break
    expected = re.match("[A-Za-z]*", text[at:])
    assert expected is not None
    assert steps.first_words(text)[0] == expected[0].upper()


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=16).map("".join))
def test_a_stored_statement_loses_only_comments_and_blanks(text: str) -> None:
    """Of a text of SQLite's, the tokens have every character that is none of those, in order."""
    kept = []
    at = 0
    while at < len(text):
        start = at
        if text[at].isspace():
            at += 1
            continue
        if text.startswith("--", at):
            at = line_end(text, at)
            continue
        if text.startswith("/*", at):
            end = comment_end(text, at)
            at = len(text) if end < 0 else end
            continue
        if text[at] in "'\"`":
            end = quote_end(text, at, backslash=False, doubled=True)
            at = at + 1 if end < 0 else end
        elif text[at] == "[":
            at = text.find("]", at) + 1 or len(text)
        else:
            at += 1
        kept.append(text[start:at])
    assert "".join(ddl.tokens(text)) == "".join(kept)


@settings(max_examples=400)
@given(st.lists(TEXTS.filter(lambda text: "DELIMITER" not in text), max_size=4))
def test_a_dump_is_cut_only_outside_quotes_and_comments(bodies: list[str]) -> None:
    """A delimiter at a line's end ends a statement exactly where the reader says so."""
    text = "".join(f"CREATE x {body};\n" for body in bodies)
    expected: list[str] = []
    pending = ""
    for line in text.splitlines(keepends=True):
        if not pending and (not line.strip() or line.startswith("--")):
            continue
        pending += line
        if line.rstrip().endswith(";") and _complete(pending.rstrip()[:-1].rstrip() + "\n"):
            expected.append(pending.rstrip()[:-1].rstrip())
            pending = ""
    try:
        found = [one.decode() for one in dumpfile.statements([text.encode()])]
    except ValueError:
        assert pending
        return
    assert found == [one for one in expected if one]
    assert not pending


def _complete(text: str) -> bool:
    at = 0
    while at < len(text):
        char = text[at]
        if char in "'\"`":
            at = quote_end(text, at, backslash=char != "`", doubled=char != "`")
        elif char == "#" or text.startswith(("-- ", "--\t"), at):
            at = line_end(text, at)
        elif text.startswith("/*", at) and not text.startswith(("/*!", "/*M!"), at):
            at = comment_end(text, at)
        else:
            at += 1
        if at < 0:
            return False
    return True


def test_no_possessive_quantifier_stands_over_a_group() -> None:
    """Before 3.11.5 such a group reads too far; `repeated` in ledger/dialects/patterns.py does not."""
    possessive = re.compile(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+")
    found = []
    for path in sorted(Path(ledger.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            value = node.value if isinstance(node, ast.Constant) else None
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if isinstance(text, str) and possessive.search(text.replace("`(?:…)*+`", "")):
                found.append(f"{path.name}: {text}")
    assert not found
