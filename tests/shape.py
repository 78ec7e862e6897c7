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
from typing import Final

import grimp

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "ledger"
DATABASE_PACKAGES: Final = frozenset({"dialects", "engines", "stores", "drivers"})
DATABASE: Final = re.compile(r"sqlite|mysql|mariadb|postgres", re.IGNORECASE)
OTHER_TOOL: Final = re.compile(r"https?://\S+|sqlite-migrate|_sqlite_migrations|sqlite of Node")
"""Other migration tools and their pages, which are named whatever database a tenant is."""

MOST_LINES: Final = 34_000
MOST_PLACES: Final = 15
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


def places_naming_a_database() -> list[str]:
    """`file:line name` of each top-level definition or table that names a database in its code.

    Docstrings and comments do not count; the packages that each database has its part in neither.
    """
    places = []
    for path in python_files():
        if package_of(path) in DATABASE_PACKAGES:
            continue
        for name, node in _places(ast.parse(path.read_text())):
            if any(DATABASE.search(OTHER_TOOL.sub("", word)) for word in _words(node)):
                places.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    return places


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Functions, methods and assignments; of a class with methods each by itself."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield f"{node.name}.{_name(inner)}", inner
        elif not isinstance(node, (ast.Import, ast.ImportFrom)):
            yield _name(node), node


def _name(node: ast.stmt) -> str:
    if isinstance(node, Definition):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return ast.unparse(target) if target is not None else type(node).__name__.lower()


def _words(place: ast.stmt) -> Iterator[str]:
    documented = {
        id(node.body[0].value)
        for node in ast.walk(place)
        if isinstance(node, Definition) and isinstance(node.body[0], ast.Expr)
    }
    if isinstance(place, ast.Expr):
        documented.add(id(place.value))
    for node in ast.walk(place):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in documented:
                yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


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
    by_package = Counter(Path(place).parts[1].partition(":")[0] for place in places)
    say(
        "places that name a database outside dialects, engines, stores and drivers",
        len(places),
        MOST_PLACES,
        [f"{count:6,} {package}" for package, count in by_package.most_common()],
    )
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
