"""README and reference pages: every console block is typed, from an empty folder; every command is one."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ledger.cli.group import ledger
from ledger.cli.settings import Settings
from tests.infra.test_tutorials import Shell, commands
from tests.servers import ROOT

TUTORIALS = {"preset-assistants.md", "woo-ai.md"}
"""Typed by tests of their own: they need a set beside them, or a server."""

PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.name not in TUTORIALS and any(commands(page))
]
NEEDS_TENANTS = {
    "migrate", "rollback", "restore", "baseline", "import", "reset", "unlock", "maintain", "rehearse",
}  # fmt: skip
CHOOSING = {"--tenant", "--all-tenants", "--run"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_as_typed(tmp_path: Path, page: Path) -> None:
    """In order, in one folder that is empty at first; what is shown is what is printed."""
    folder = tmp_path / "empty"
    folder.mkdir()
    Shell(folder).type(page, at_least=1)


def test_there_are_pages_to_type() -> None:
    """The README is among them, and no page has its commands in a block that nobody types."""
    assert ROOT / "README.md" in PAGES and len(PAGES) > 10
    for page in (ROOT / "docs").rglob("*.md"):
        blocks = re.findall(r"(?ms)^```(?:sh|bash|shell)\n(.*?)^```$", page.read_text())
        assert not [one for one in blocks if "ledger " in one], page


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module that people may see, `WORD` for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and not getattr(node, "decorator_list", [])
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "WORD"
                    for part in node.values
                ),
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in parts
            and id(node) not in documents
        ):
            yield node.lineno, node.value


def wrong(command: str) -> str:
    """Why a command cannot be typed so; empty if it can."""
    words = shlex.split(command)
    found = ledger.get_command(click.Context(ledger), words[0])
    if found is None:
        return "" if words[0].startswith("-") or words[0] == "WORD" else "no such command"
    try:
        found.make_context(words[0], words[1:], obj=Settings())
    except click.ClickException as error:
        return error.format_message()
    if words[0] in NEEDS_TENANTS and not CHOOSING & set(words):
        return "it chooses no tenants"
    return ""


def test_every_command_in_a_message_can_be_typed() -> None:
    """Hints, warnings and helps name commands with all that they need: options that exist, and a tenant."""
    bad = [
        f"{path.relative_to(ROOT)}:{line}: ledger {found[1]}: {why}"
        for path in sorted((ROOT / "ledger").rglob("*.py"))
        for line, text in texts(path)
        for found in re.finditer(r"`ledger ([^`]+)`", text)
        if (why := wrong(found[1]))
    ]
    assert bad == []


def test_every_command_in_a_page_can_be_typed() -> None:
    """One with options has all that it needs; a bare name is talked about, and must exist."""
    pages = [
        ROOT / "README.md",
        ROOT / "migrations/README.md",
        *sorted((ROOT / "docs/reference").glob("*.md")),
        *(ROOT / "docs" / name for name in sorted(TUTORIALS)),
    ]
    bad = []
    for page in pages:
        text = page.read_text()
        blocks = "".join(re.findall(r"(?ms)^```bash\n(.*?)^```$", text))
        typed = re.findall(r"(?m)^ledger .*", re.sub(r" +#.*", "", blocks))
        prose = re.sub(r"(?ms)^```.*?^```$", "", text) + "".join(f"`{one}`" for one in typed)
        for found in re.finditer(r"`ledger ([^`]+)`", prose):
            command = (
                re.sub(r"[\[\]]| && .*", "", found[1]).replace("…", "WORD").replace(" TIME", " 3d")
            )
            why = wrong(command.replace("\n", " "))
            if why and (" " in command or why == "no such command") and command != "COMMAND --help":
                bad.append(f"{page.name}: ledger {command}: {why}")
    assert bad == []
