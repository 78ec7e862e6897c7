"""The shape of the code, in numbers: python -m tests.shape

Lines by package, places outside the database packages that name a database, circles of files,
the longest files and functions, public names. Each with its limit, and exit code 1 if one is passed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import grimp

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "ledger"
DATABASE_PACKAGES: Final = frozenset({"dialects", "engines", "stores", "drivers"})
DATABASE: Final = re.compile(r"sqlite|mysql|mariadb|postgres", re.IGNORECASE)
OTHER_TOOL: Final = re.compile(r"https?://\S+|sqlite-migrate|_sqlite_migrations|sqlite of Node")
"""Other migration tools and their pages, which are named whatever database a tenant is."""

MOST_LINES: Final = 34_000
MOST_PLACES: Final = 15
MOST_BRANCHES: Final = 0
MOST_CIRCLES: Final = 0
LONGEST_FILE: Final = 400
LONGEST_FUNCTION: Final = 60
SHOWN: Final = 15

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def python_files() -> list[Path]:
    """All of the package's files, in order."""
    return sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    """The layer that a file belongs to: a folder of the package, or a file directly in it."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def lines_by_package() -> Counter[str]:
    """Lines as `wc -l` counts them."""
    lines: Counter[str] = Counter()
    for path in python_files():
        lines[package_of(path)] += path.read_text().count("\n")
    return lines


class Place(NamedTuple):
    """A top-level definition, table or import; `branches` if a condition in it names a database."""

    where: str
    branches: bool


def places_naming_a_database() -> list[Place]:
    """The places that name a database in their code, each as `file:line name`.

    Docstrings and comments do not count; the packages that each database has its part in neither.
    """
    return [
        Place(f"{path.relative_to(ROOT)}:{line} {name}", branches)
        for path in python_files()
        if package_of(path) not in DATABASE_PACKAGES
        for line, name, branches in naming_a_database(path.read_text())
    ]


def naming_a_database(source: str) -> Iterator[tuple[int, str, bool]]:
    """Line and name of each place in this text that names a database, and whether it branches by it."""
    for name, node in _places(ast.parse(source)):
        if _names_a_database(_words(node)):
            conditions = _words(*_conditions(node))
            yield node.lineno, name, _names_a_database(conditions)


def _names_a_database(words: Iterator[str]) -> bool:
    return any(DATABASE.search(OTHER_TOOL.sub("", word)) for word in words)


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Functions, methods, assignments and imports; of a class with methods each by itself."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield f"{node.name}.{_name(inner)}", inner
        else:
            yield _name(node), node


def _name(node: ast.stmt) -> str:
    if isinstance(node, Definition):
        return node.name
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return ast.unparse(node)
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return ast.unparse(target) if target is not None else type(node).__name__.lower()


def _conditions(place: ast.stmt) -> Iterator[ast.AST]:
    """What decides which code runs next: tests, comparisons, patterns, and questions for a type."""
    for node in ast.walk(place):
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, (ast.Compare, ast.match_case)):
            yield node.pattern if isinstance(node, ast.match_case) else node
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            yield node


def _words(*places: ast.AST) -> Iterator[str]:
    nodes = [node for place in places for node in ast.walk(place)]
    documented = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, Definition) and isinstance(node.body[0], ast.Expr)
    }
    documented |= {id(place.value) for place in places if isinstance(place, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documented:
                yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.alias):
            yield node.name


def circles() -> list[list[str]]:
    """Sets of files that import each other, with imports for types and inside functions counted."""
    graph = grimp.build_graph("ledger", exclude_type_checking_imports=False, cache_dir=None)
    found: dict[frozenset[str], None] = {}
    for module in sorted(graph.modules):
        upstream = graph.find_upstream_modules(module)
        circle = {one for one in upstream if module in graph.find_upstream_modules(one)}
        if circle:
            found[frozenset(circle | {module})] = None
    return [sorted(circle) for circle in found]


def functions() -> Iterator[tuple[int, str]]:
    """The length of each function without its docstring, and where it stands."""
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    length -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                yield length, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def public_names() -> list[str]:
    """What `from ledger import …` offers."""
    from ledger import _public

    return sorted(_public.__all__)


def report() -> bool:
    """Print all numbers. Whether all are within their limits."""
    within = True

    def say(what: str, value: int, limit: int, details: list[str]) -> None:
        nonlocal within
        within = within and value <= limit
        print(f"{'ok ' if value <= limit else 'NO '} {what}: {value:,} (at most {limit:,})")
        for line in details:
            print(f"      {line}")

    lines = lines_by_package()
    say(
        "lines in ledger/",
        lines.total(),
        MOST_LINES,
        [f"{count:6,} {package}" for package, count in lines.most_common()],
    )
    places = places_naming_a_database()
    say(
        "places that name a database outside dialects, engines, stores and drivers",
        len(places),
        MOST_PLACES,
        [place.where for place in places],
    )
    branching = [place.where for place in places if place.branches]
    say("of these, branches and no lookups", len(branching), MOST_BRANCHES, branching)
    found = circles()
    say(
        "circles of files",
        len(found),
        MOST_CIRCLES,
        [f"{len(circle)} files: {', '.join(circle)}" for circle in found],
    )
    files = sorted(
        ((path.read_text().count("\n"), str(path.relative_to(ROOT))) for path in python_files()),
        reverse=True,
    )
    say(
        "lines of the longest file",
        files[0][0],
        LONGEST_FILE,
        [f"{count:6,} {path}" for count, path in files[:SHOWN] if count > LONGEST_FILE],
    )
    longest = sorted(functions(), reverse=True)
    say(
        "lines of the longest function, docstring apart",
        longest[0][0],
        LONGEST_FUNCTION,
        [f"{count:6,} {place}" for count, place in longest[:SHOWN] if count > LONGEST_FUNCTION],
    )
    names = public_names()
    print(f"    public names: {len(names)}: {', '.join(names)}")
    return within


if __name__ == "__main__":
    sys.exit(0 if report() else 1)
