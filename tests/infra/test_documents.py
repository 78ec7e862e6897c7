"""The documents say what is true."""

from __future__ import annotations

import re

from ledger.events import EVENT_TYPES
from tests.faults.rows import ROWS
from tests.servers import ROOT

README = (ROOT / "README.md").read_text()


def test_the_readme_shows_the_fault_table_of_the_tests() -> None:
    """Row by row what docs/faults.md says, which is generated from the tests themselves."""

    def rows(text: str) -> list[list[str]]:
        lines = re.findall(r"(?m)^\| \d+ \|.*$", text)
        return [line.strip("| ").split(" | ")[:4] for line in lines]

    shown = rows(README)
    assert len(shown) == len(ROWS)
    assert shown == rows((ROOT / "docs" / "faults.md").read_text())


def test_the_readme_names_every_event_type() -> None:
    """None is missing from the list."""
    assert [name for name in EVENT_TYPES if f"`{name}`" not in README] == []


def test_links_between_the_documents_lead_somewhere() -> None:
    """Every relative link of every page."""
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert broken == []
