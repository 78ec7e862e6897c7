"""The texts of a migration as the ledger keeps them, to be shown: none is a condition for what is asked.

Invariant: nothing comes from a folder, and no literal of a step marked secret is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal

import msgspec

from ledger.dialects.steps import DialectName, Step, sha256_hex
from ledger.errors import LedgerError
from ledger.events import Direction, MigrationRef
from ledger.scripts.contents import from_contents
from ledger.scripts.model import Migration
from ledger.stores.store import Store

WITHHELD: Final = "(withheld: the step is marked secret)"


class KeptText(msgspec.Struct, frozen=True, kw_only=True):
    """One part (`file`, `down`, `verify`, `python`, `manifest`) of a migration, as it ran.

    `text` is None where the ledger has it not any more, or has it `changed`.
    """

    part: str
    sha256: str
    state: Literal["kept", "missing", "changed"]
    text: str | None


class KeptMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A migration and its texts; `parsed` is None where they are not all there, or cannot be read."""

    ref: MigrationRef
    texts: tuple[KeptText, ...]
    parsed: Migration | None

    def steps(self, direction: Direction) -> tuple[Step, ...]:
        """The steps of a section; the statements of a section sync are none until a tenant is known."""
        if self.parsed is None:
            return ()
        section = self.parsed.up if direction == "up" else self.parsed.down
        return section.steps if section is not None else ()


async def kept_migration(store: Store, ref: MigrationRef, engine: str) -> KeptMigration:
    """The migration with its texts, as far as the ledger keeps them whole; `engine` says how they are read."""
    texts = [await _text(store, part, sha256) for part, sha256 in ref.sources]
    contents = {one.sha256: one.text for one in texts if one.text is not None}
    parsed: Migration | None = None
    if texts and len(contents) == len({one.sha256 for one in texts}):
        with suppress(LedgerError, msgspec.ValidationError):
            parsed = from_contents(ref, contents, msgspec.convert(engine, DialectName))
    return KeptMigration(ref=ref, texts=_shown(texts, parsed), parsed=parsed)


def shown_sql(step: Step) -> str:
    """The statement, unless it is secret."""
    return WITHHELD if step.secret else step.sql


async def _text(store: Store, part: str, sha256: str) -> KeptText:
    text = await store.script(sha256)
    if text is None:
        return KeptText(part=part, sha256=sha256, state="missing", text=None)
    if sha256_hex(text) != sha256:
        return KeptText(part=part, sha256=sha256, state="changed", text=None)
    return KeptText(part=part, sha256=sha256, state="kept", text=text)


def _all_steps(parsed: Migration | None) -> tuple[Step, ...]:
    if parsed is None:
        return ()
    down = parsed.down.steps if parsed.down is not None else ()
    return (*parsed.up.steps, *down, *parsed.sync)


def _shown(texts: Sequence[KeptText], parsed: Migration | None) -> tuple[KeptText, ...]:
    """The texts without their secret statements; where these are not found word for word, without all."""
    if parsed is None:
        return tuple(
            msgspec.structs.replace(one, text=WITHHELD) if _SECRET.search(one.text or "") else one
            for one in texts
        )
    secret = [step.sql for step in _all_steps(parsed) if step.secret]
    found = []
    for one in texts:
        text = one.text or ""
        for sql in secret:
            text = text.replace(sql, WITHHELD)
        found.append(msgspec.structs.replace(one, text=text) if one.text else one)
    everything = "".join(one.text or "" for one in texts)
    if all(sql in everything for sql in secret):
        return tuple(found)
    return tuple(msgspec.structs.replace(one, text=one.text and WITHHELD) for one in texts)


_SECRET: Final = re.compile(r"--[ \t]*secret\b", re.IGNORECASE)
