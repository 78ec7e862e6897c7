"""What is written for people is read by people: no decision is taken from a label, a message or a warning.

The source of the package is walked: where text for people (an attribute that holds some, an
exception as a string, what wording.py gives) is compared, searched or taken apart, outside
render, the place has to stand below with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import ledger

ROOT: Final = Path(ledger.__file__).parent
FOR_PEOPLE: Final = frozenset(
    {"label", "message", "hint", "detail", "details", "reason", "warnings", "notes", "problem", "said", "evidence",
     "strerror", "stderr"}
)  # fmt: skip
SAID: Final = frozenset({"message", "stderr"})
"""Names of variables that hold what somebody said."""

WORDING: Final = frozenset({"label", "reason", "described", "hint_for"})
TAKES_APART: Final = frozenset(
    {"startswith", "endswith", "split", "rsplit", "partition", "rpartition", "find", "index", "count", "splitlines",
     "removeprefix", "removesuffix", "lower", "upper", "casefold", "replace", "translate"}
)  # fmt: skip
SEARCHES: Final = frozenset({"match", "search", "fullmatch", "findall", "finditer", "split", "sub"})

ALLOWED: Final = {
    (
        "events/steps.py",
        "map(_OLD_EXISTED.match, step.warnings)",
    ): "older versions recorded it nowhere else; read by the server's numbers and our own words",
    (
        "dialects/sqlite/lint.py",
        "_SYNTAX_ERROR.fullmatch(said)",
    ): "SQLite has one code for a syntax error and a missing table; its words are constants",
    (
        "engines/mysql/backup/dump.py",
        "NO_PLACE.search(words)",
    ): "the dump program says the server's code nowhere else; the number decides",
    (
        "engines/mysql/backup/dump.py",
        "words.replace(password.reveal(), '***')",
    ): "withholds a password",
    ("maintain/archive.py", "note not in notes"): "says a thing once",
    ("fleet/plans.py", "text not in notes"): "says a thing once",
}
"""(file, expression): why it has to be."""


class Reader(ast.NodeVisitor):
    """Finds where one file reads what is meant for people."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []
        self._names: set[str] = set()
        self._errors: set[str] = set()

    def _human(self, node: ast.AST | None) -> bool:
        if isinstance(node, ast.Attribute):
            return node.attr in FOR_PEOPLE
        if isinstance(node, ast.Name):
            return node.id in self._names or node.id in SAID
        if isinstance(node, ast.Subscript):
            return self._human(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in WORDING:
                return True
            inner = node.args[0] if node.args else None
            return (
                node.func.id == "str" and isinstance(inner, ast.Name) and inner.id in self._errors
            )
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            made = node.func.attr in ("decode", "strip", *TAKES_APART)
            return node.func.attr == "warnings" or (made and self._human(node.func.value))
        if isinstance(node, ast.Await):
            return self._human(node.value)
        return False

    def _bind(self, target: ast.AST) -> None:
        self._names |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Names mean something within one function."""
        kept = (set(self._names), set(self._errors))
        self.generic_visit(node)
        self._names, self._errors = kept

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """`except … as error`."""
        if node.name:
            self._errors.add(node.name)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """A name for it."""
        if self._human(node.value):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._bind(target)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        """One of several."""
        if self._human(node.iter):
            self._bind(node.target)
        self.generic_visit(node)

    def _visit_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> None:
        for one in node.generators:
            if self._human(one.iter):
                self._bind(one.target)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension

    def visit_Compare(self, node: ast.Compare) -> None:
        """`x in message`, `message == "…"`; whether there is any text at all may be asked."""
        sides = [node.left, *node.comparators]
        empty = any(isinstance(one, ast.Constant) and not one.value for one in sides)
        asks = any(isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq) for op in node.ops)
        if asks and not empty and any(map(self._human, sides)):
            self._note(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`message.startswith(…)`, `_PATTERN.search(message)`, `map(_PATTERN.match, warnings)`."""
        if isinstance(node.func, ast.Attribute):
            apart = node.func.attr in TAKES_APART and self._human(node.func.value)
            if apart or (node.func.attr in SEARCHES and any(map(self._human, node.args))):
                self._note(node)
        elif any(map(self._human, node.args)) and any(
            isinstance(one, ast.Attribute) and one.attr in SEARCHES for one in node.args
        ):
            self._note(node)
        self.generic_visit(node)

    def _note(self, node: ast.AST) -> None:
        self.found.append((getattr(node, "lineno", 0), ast.unparse(node)))


def reads(path: Path) -> Iterator[tuple[str, str]]:
    """(file, expression) of each place."""
    reader = Reader()
    reader.visit(ast.parse(path.read_text()))
    for _, expression in reader.found:
        yield path.relative_to(ROOT).as_posix(), expression


@pytest.mark.parametrize(
    "line",
    [
        "found = kind.label.startswith('DROP TABLE')",
        "word = label(kind).split()[0]",
        "old = any('already exists' in one for one in event.warnings)",
        "old = any(one.startswith('Note') for one in await connection.warnings())",
        "if error.message == 'gone': pass",
        "first = error.message.lower().partition(':')",
        "text = error.message\nfound = PATTERN.search(text)",
        "try: pass\nexcept OSError as error:\n    found = 'full' in str(error)",
        "for one in event.warnings:\n    found = PATTERN.match(one)",
    ],
)
def test_the_walk_finds_what_it_looks_for(line: str) -> None:
    """Each is a way in which a decision was, or could be, taken from a sentence."""
    body = "\n".join(f"    {one}" for one in line.splitlines())
    reader = Reader()
    reader.visit(ast.parse(f"async def f():\n{body}"))
    assert reader.found


def test_nothing_outside_render_reads_what_is_meant_for_people() -> None:
    """Decisions are taken by fields, codes and types."""
    files = [one for one in ROOT.rglob("*.py") if one.relative_to(ROOT).parts[0] != "render"]
    found = {place for path in files for place in reads(path)}
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set(), "what is no more needs no reason"
