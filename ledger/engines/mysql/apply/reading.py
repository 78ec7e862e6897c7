"""Whether the tenant's connection reads a migration's texts as the splitter divided them.

Invariant: nothing is touched; the connection is asked for its sql_mode only where a backslash
makes a difference possible.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.dialects.mysql.sql_mode import Misread, misread
from ledger.dialects.steps import Check, Section, Step
from ledger.engines.mysql.opened import Opened
from ledger.engines.work import Work
from ledger.errors import TenantError
from ledger.scripts.model import Migration


def may_set_mode(work: Work) -> bool:
    """Whether a migration may leave another sql_mode than it found; what a routine sets ends with it."""
    texts = (step.sql for step in work.section.steps)
    return work.python is not None or any("sql_mode" in text.lower() for text in texts)


async def require_read_alike(
    opened: Opened, migrations: Sequence[Migration], *, down: bool
) -> None:
    """See Session.require_read_alike."""
    for migration in migrations:
        section = migration.down if down else migration.up
        if section is None:
            continue
        sync, checks = ((), ()) if down else (migration.sync, migration.checks)
        await require_section(opened, migration.id, section, sync=sync, checks=checks)


async def require_section(
    opened: Opened,
    migration: str,
    section: Section,
    *,
    sync: Sequence[Step] = (),
    checks: Sequence[Check] = (),
) -> None:
    """The same for one section, with what runs after it. Raises TenantError."""
    texts = [text for step in (*section.steps, *sync) for text in (step.sql, *step.questions)]
    texts += [check.sql for check in checks]
    if not any("\\" in text for text in texts):
        return
    mode = await opened.sql_mode()
    modes = frozenset(mode.upper().split(","))
    # A section sync runs on a connection of its own.
    found = misread(section.steps, modes, checks=checks) or misread(sync, modes)
    if found is None:
        return
    raise TenantError(
        f"{_named(found)} is read differently under this connection's sql_mode"
        f" ({', '.join(found.modes)}): its quotes end elsewhere than where the file was divided",
        hint=_hint(opened, found, mode, of_sync=found.text in sync),
        tenant=opened.tenant,
        migration=migration,
        file=found.text.file,
        line=found.text.line,
    )


def _named(found: Misread) -> str:
    text = found.text
    if isinstance(text, Check):
        return f"the check {text.name}"
    step = f"step {text.number} ({text.name})"
    return f"a question of {step}" if found.question else step


def _hint(opened: Opened, found: Misread, mode: str, *, of_sync: bool) -> str:
    if found.question:
        return (
            "Write the backslash as CHAR(92); the question is then the same under every sql_mode."
        )
    if of_sync:
        modes = " or ".join(found.modes)
        return f"Set an sql_mode without {modes} in `session` of {opened.target.source}."
    return f"Begin the section with SET sql_mode = '{mode}'; the file is then read by that mode."
