"""The chain check names the first event that is not what was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit import Anchor, ChainCheck, TextCheck, parse_anchor
from ledger.errors import ChainBrokenError, UsageError
from ledger.events import GENESIS_HASH, Baselined, MigrationRef, Recorded, encode_body
from ledger.scripts.model import sha256_hex
from ledger.stores.base import Head
from ledger.stores.chain import chain_batch, prepare
from tests.stores.ledgers import request

EMPTY = Head(seq=0, hash=GENESIS_HASH)


def chain(*streams: str) -> list[Recorded]:
    """A valid chain of one event per name."""
    batch = [prepare(request(stream)) for stream in streams]
    at = "2026-11-21T23:10:04.120311Z"
    chained = chain_batch(EMPTY, batch, {}, at, existing={})
    return [event for mine in chained.outcomes if isinstance(mine, tuple) for event in mine]


def first_bad(events: list[Recorded], *, head: Recorded | None = None) -> int:
    """Where the check stops; 0 if all is well."""
    check = ChainCheck()
    end = head or (events[-1] if events else None)
    try:
        check.feed(events)
        check.finish(head_seq=end.seq if end else 0, head_hash=end.hash if end else GENESIS_HASH)
    except ChainBrokenError as error:
        return error.seq
    return 0


CHAIN = chain(*"abacabad")
OTHER: dict[str, Any] = {
    "seq": 99,
    "stream": "tenant/x",
    "version": 9,
    "event_id": "other",
    "type": "failed",
    "at": "2026-11-21T23:10:05.120311Z",
    "run": "other",
    "actor": "other",
    "tenant": "other",
    "body": b'{"type":"lease_renewed","schema":1,"lease_seconds":31.0}',
    "prev_hash": "0" * 63 + "1",
    "hash": "0" * 63 + "1",
}


def test_a_chain_as_it_was_written_holds() -> None:
    """An empty ledger and an untouched chain pass, fed at once or piece by piece."""
    assert first_bad([]) == 0
    assert first_bad(CHAIN) == 0
    check = ChainCheck([Anchor(seq=3, hash=CHAIN[2].hash), Anchor(seq=0, hash=GENESIS_HASH)])
    for event in CHAIN:
        check.feed([event])
    check.finish(head_seq=8, head_hash=CHAIN[-1].hash)


@given(index=st.integers(0, len(CHAIN) - 1), field=st.sampled_from(sorted(OTHER)))
def test_any_changed_field_is_located(index: int, field: str) -> None:
    """Whichever field of whichever event is changed, its seq is named (for seq: the one missing)."""
    events = list(CHAIN)
    events[index] = msgspec.structs.replace(events[index], **{field: OTHER[field]})
    assert first_bad(events, head=CHAIN[-1]) == index + 1


@given(index=st.integers(0, len(CHAIN) - 1))
def test_a_missing_event_is_located(index: int) -> None:
    """A deleted event is named, the last one through the head row."""
    assert first_bad(CHAIN[:index] + CHAIN[index + 1 :], head=CHAIN[-1]) == index + 1


def test_values_that_no_store_writes_are_a_broken_chain() -> None:
    """NULLs and numbers put in by hand are located, not a crash of the check."""
    for field in ("body", "at", "hash"):
        for value in (None, 7):
            events = list(CHAIN)
            events[3] = msgspec.structs.replace(events[3], **{field: value})
            assert first_bad(events, head=CHAIN[-1]) == 4


def test_a_head_row_that_was_edited_is_noticed() -> None:
    """A head row behind the events, or with another hash, breaks the chain at its end."""
    assert first_bad(CHAIN, head=CHAIN[5]) == 7
    assert first_bad(CHAIN, head=msgspec.structs.replace(CHAIN[-1], hash="1" * 64)) == 8


def test_a_rewritten_history_is_caught_by_an_anchor() -> None:
    """A chain that was forged as a whole is consistent; an anchor from before tells."""
    forged = chain(*"abacabad")
    assert first_bad(forged) == 0
    with pytest.raises(ChainBrokenError, match="history up to here was rewritten") as caught:
        ChainCheck([Anchor(seq=4, hash=CHAIN[3].hash)]).feed(forged)
    assert caught.value.seq == 4
    check = ChainCheck([Anchor(seq=20, hash="a" * 64)])
    check.feed(forged)
    with pytest.raises(ChainBrokenError, match="anchor was taken at seq 20"):
        check.finish(head_seq=8, head_hash=forged[-1].hash)


def test_an_anchor_reads_back() -> None:
    """The printed line is the anchor; anything else is a usage error."""
    anchor = Anchor(seq=5, hash=CHAIN[4].hash)
    assert parse_anchor(f"{anchor}\n", source="the file x") == anchor
    with pytest.raises(UsageError, match="the file x is not an anchor"):
        parse_anchor("5 abc", source="the file x")


def test_a_kept_text_is_its_key() -> None:
    """A text that is not what its key says is named, and so is one that an event names and nothing keeps."""
    ref = MigrationRef(
        set="app",
        version="001",
        name="users",
        checksum="c",
        sources=(("file", sha256_hex("SELECT 1")), ("down", sha256_hex("SELECT 2"))),
    )
    event = Baselined(migrations=(ref,))
    body = encode_body(event)
    row = msgspec.structs.replace(CHAIN[0], seq=4, type="baselined", body=body)
    check = TextCheck()
    check.feed([row])
    check.check(sha256_hex("SELECT 1"), b"SELECT 1")
    check.check(sha256_hex("SELECT 3"), b"SELECT 4")
    other, missing = check.finish()
    assert (other.sha256, other.found) == (sha256_hex("SELECT 3"), sha256_hex("SELECT 4"))
    assert (missing.migration, missing.part, missing.seq) == ("app/001", "down", 4)
    assert missing.found is None and "missing" in missing.what and "was changed" in other.what
