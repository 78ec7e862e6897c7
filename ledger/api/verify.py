"""`verify`: the hash chain recomputed, and every stored projection compared with a full replay."""

from __future__ import annotations

import msgspec

from ledger.audit import ChainCheck, parse_anchor
from ledger.errors import ChainBrokenError
from ledger.fleet.state import rebuild_fleet
from ledger.projections import PROJECTION, FleetState, all_keys, dump
from ledger.stores.base import Filter, Store


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """`bad_seq` is the first event at which something does not hold; `problems` say what."""

    events: int
    hash: str
    projections: int
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


async def verify_store(store: Store, *, anchor: str | None, rebuild: bool) -> VerifyReport:
    """Walk the whole ledger once. With `rebuild`, stored projections are replaced by the replay's."""
    stored_seq, rows = await store.load_projection(PROJECTION)
    anchors = [parse_anchor(anchor, source="the anchor")] if anchor is not None else []
    check = ChainCheck(anchors)
    fleet = FleetState()
    at_stored: dict[str, bytes] | None = {} if stored_seq == 0 else None
    try:
        async for batch in store.read(Filter()):
            check.feed(batch)
            before = [row for row in batch if row.seq <= stored_seq]
            fleet.fold(before)
            if at_stored is None and fleet.seq >= stored_seq:
                at_stored = dump(fleet, all_keys(fleet))
            fleet.fold(batch[len(before) :])
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
    problems = _differences(at_stored or {}, {row.key: row.state for row in rows}, stored_seq)
    if rebuild:
        await rebuild_fleet(store)
    return VerifyReport(
        events=head.seq,
        hash=head.hash,
        projections=len(rows),
        problems=() if rebuild else problems,
        rebuilt=rebuild,
    )


def _differences(
    replayed: dict[str, bytes], stored: dict[str, bytes], stored_seq: int
) -> tuple[str, ...]:
    """Applied sets that no tenant refers to any more may stay; everything else must be equal."""
    if stored_seq == 0:
        return ()
    problems = []
    for key in sorted(replayed.keys() | stored.keys()):
        if key.startswith("applied/") and key not in replayed:
            continue
        if replayed.get(key) != stored.get(key):
            problems.append(
                f"projection {key} at seq {stored_seq} is not what a replay gives;"
                " `ledger verify --rebuild` replaces it"
            )
    return tuple(problems)
