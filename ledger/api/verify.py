"""`verify`: the hash chain recomputed, every kept text rehashed, and every stored projection
compared with a full replay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from ledger.api.lint import sets_wanted
from ledger.audit import Anchor, BadText, ChainCheck, OldCheck, TextCheck, parse_anchor
from ledger.config import Config
from ledger.errors import ChainBrokenError, UsageError
from ledger.fleet.state import rebuild_fleet
from ledger.folder import find_sets, load_set
from ledger.projections import PROJECTION, FleetState, all_keys, dump
from ledger.stores.base import Append, Filter, Script, StoredProjection
from ledger.stores.blocks import BlockCheck
from ledger.stores.store import Store

TextSource = Callable[[frozenset[str]], Awaitable[dict[str, str]]]
"""Gives the texts that it has of those with these SHA-256."""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """`bad_seq` is the first event at which something does not hold; `problems` say what.

    `texts` are kept, and `bad_texts` are those of them that were changed or are missing.
    """

    events: int
    hash: str
    projections: int
    texts: int = 0
    bad_texts: tuple[BadText, ...] = ()
    problems: tuple[str, ...] = ()
    bad_seq: int | None = None
    rebuilt: bool = False

    @property
    def sound(self) -> bool:
        """Whether everything held."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0, or 4 if something did not hold."""
        return 0 if self.sound else 4


async def verify_store(
    store: Store, *, anchor: str | None, rebuild: bool, texts: TextSource | None = None
) -> VerifyReport:
    """Walk the whole ledger once.

    With `rebuild`, stored projections are replaced by the replay's, and missing texts are taken
    from `texts`, which is given their keys.
    """
    stored_seq, rows = await _stored(store)
    anchors = [parse_anchor(anchor, source="the anchor")] if anchor is not None else []
    named = TextCheck()
    blocks = BlockCheck()
    fleet = FleetState()
    at_stored: dict[str, bytes] | None = {} if stored_seq == 0 else None
    try:
        check = ChainCheck(anchors, ancestor=await _old_end(store, anchors))
        async for page in store.walk():
            check.feed(page.rows, page.names, page.parts)
            facts = await store.facts(page)
            named.feed(facts)
            blocks.feed(page.rows, *page.blocks)
            before = [row for row in facts if row[0] <= stored_seq]
            fleet.fold_facts(before)
            if at_stored is None and fleet.seq >= stored_seq:
                at_stored = dump(fleet, all_keys(fleet))
            fleet.fold_facts(facts[len(before) :])
        head = await store.head()
        check.finish(head_seq=head.seq, head_hash=head.hash)
    except ChainBrokenError as broken:
        return VerifyReport(
            events=fleet.seq,
            hash="",
            projections=len(rows),
            problems=(broken.message,),
            bad_seq=broken.seq,
        )
    kept, bad = await _texts(store, named)
    if rebuild:
        await rebuild_fleet(store)
        if blocks.wrong:
            await store.rebuild_blocks()
        bad = await _put_back(store, bad, texts)
        problems: tuple[str, ...] = ()
    else:
        problems = _differences(at_stored or {}, {row.key: row.state for row in rows}, stored_seq)
        problems += tuple(
            f"what is stored of the block {block} of events is not what they give;"
            " `ledger verify --rebuild` replaces it"
            for block in blocks.wrong
        )
    return VerifyReport(
        events=head.seq,
        hash=head.hash,
        projections=len(rows),
        texts=kept,
        bad_texts=bad,
        problems=(*problems, *(text.what for text in bad)),
        rebuilt=rebuild,
    )


async def _old_end(store: Store, anchors: list[Anchor]) -> str:
    """The last hash of the events of schema 1, which are checked; anchors that they prove are taken away."""
    old = OldCheck(anchors)
    async for segment in store.old_events():
        where = Filter(after_seq=old.seq, until_seq=segment.last_seq)
        events = [event async for some in store.read(where) for event in some]
        old.feed(segment.events, events, segment.last_hash)
    return old.hash


async def _stored(store: Store) -> tuple[int, list[StoredProjection]]:
    """The stored projections; none, so that a replay differs from them, if their place is unreadable."""
    try:
        return await store.load_projection(PROJECTION)
    except ChainBrokenError:
        with suppress(ChainBrokenError):
            return (await store.head()).seq, []
        return 0, []


async def _texts(store: Store, named: TextCheck) -> tuple[int, tuple[BadText, ...]]:
    """How many texts are kept, and which are not what the events say."""
    kept = 0
    async for some in store.scripts():
        for sha256, content in some:
            named.check(sha256, content)
        kept += len(some)
    return kept, named.finish()


async def _put_back(
    store: Store, bad: tuple[BadText, ...], source: TextSource | None
) -> tuple[BadText, ...]:
    """Keep the missing texts again that `source` has; what is still bad."""
    missing = {text.sha256 for text in bad if text.found is None}
    texts = await source(frozenset(missing)) if source is not None and missing else {}
    if texts:
        scripts = tuple(Script(sha256=key, content=text) for key, text in texts.items())
        await store.append(Append(stream="texts", events=(), scripts=scripts))
    return tuple(text for text in bad if text.sha256 not in texts)


def _differences(
    replayed: dict[str, bytes], stored: dict[str, bytes], stored_seq: int
) -> tuple[str, ...]:
    """Applied sets that no tenant refers to any more may stay; everything else must be equal."""
    if stored_seq == 0:
        return ()
    problems = []
    for key in sorted(replayed.keys() | stored.keys(), key=str):
        if str(key).startswith("applied/") and key not in replayed:
            continue
        if replayed.get(key) != stored.get(key):
            problems.append(
                f"projection {key} at seq {stored_seq} is not what a replay gives;"
                " `ledger verify --rebuild` replaces it"
            )
    return tuple(problems)


async def texts_in_folders(config: Config, wanted: frozenset[str]) -> dict[str, str]:
    """Those of the `wanted` texts that a file of the configuration still has; sets that cannot be loaded have none."""
    found: dict[str, str] = {}
    for folder, dialect in sets_wanted(config):
        try:
            sets = await find_sets(folder)
        except UsageError:
            continue
        for name, path in sets.items():
            try:
                loaded = await load_set(path, dialect, name=name, allow_python=config.allow_python)
            except UsageError:
                continue
            for migration in loaded.migrations:
                found |= {key: text for key, text in migration.contents.items() if key in wanted}
    return found
