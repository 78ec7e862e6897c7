"""The chain check names the first append that is not what was written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit import Anchor, ChainCheck, TextCheck, parse_anchor
from ledger.dialects.steps import sha256_hex
from ledger.errors import ChainBrokenError, UsageError
from ledger.events import GENESIS_HASH, Baselined, MigrationRef
from ledger.stores.base import Head, Row
from ledger.stores.chain import chain_batch, prepare
from ledger.stores.known import Known
from ledger.stores.reading import COLUMNS
from tests.stores.ledgers import request

EMPTY = Head(seq=0, hash=GENESIS_HASH)
Chain = tuple[list[Row], list[Row], list[Row]]


def chain(*streams: str) -> Chain:
    """Stored rows of events, names and parts of a valid chain: an append of one event per name, of
    two per name in capitals."""
    batch = [prepare(request(stream, 2 if stream.isupper() else 1)) for stream in streams]
    known = Known()
    wanted = known.missing(batch, prove=True)
    known.learn([(-kind, 0, None, None) for kind in wanted])
    chained = chain_batch(EMPTY, batch, known, 1_795_882_332_257_271)
    return chained.rows, sorted(chained.names), chained.parts


def end(rows: list[Row]) -> Head:
    """The head row of these events."""
    return Head(seq=rows[-1][0], hash=rows[-1][-1].hex()) if rows else EMPTY


def first_bad(
    rows: list[Row], head: Head, names: list[Row] | None = None, *, page: int = 100
) -> int:
    """Where the check stops; 0 if all is well."""
    check = ChainCheck()
    names = NAMES if names is None else names
    try:
        for start in range(0, len(rows), page):
            some = rows[start : start + page]
            first, last = some[0][0], some[-1][0]
            check.feed(
                some,
                [row for row in names if first <= row[-1] <= last],
                [row for row in PARTS if first <= row[-1] <= last],
            )
        check.finish(head_seq=head.seq, head_hash=head.hash)
    except ChainBrokenError as error:
        return error.seq
    return 0


ROWS, NAMES, PARTS = chain(*"abAcaBad")
HEAD = end(ROWS)
FIRST = {row[0]: row[0] for row in ROWS} | {4: 3, 8: 7}
"""The first seq of the append that an event is of."""
OTHER: dict[str, Any] = {
    "seq": 99,
    "stream": 77,
    "version": 9,
    "type": 9,
    "at": 7,
    "run": 9,
    "actor": 9,
    "part": 9,
    "body": '{"lease_seconds":31.0}',
    "hash": b"1" * 32,
}


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_a_chain_as_it_was_written_holds(page: int) -> None:
    """An empty ledger and an untouched chain pass, fed at once or piece by piece."""
    assert first_bad([], EMPTY) == 0
    assert first_bad(ROWS, HEAD, page=page) == 0
    second = Anchor(seq=2, hash=ROWS[1][-1].hex())
    check = ChainCheck([second, Anchor(seq=0, hash=GENESIS_HASH)])
    check.feed(ROWS, NAMES, PARTS)
    check.finish(head_seq=HEAD.seq, head_hash=HEAD.hash)


@given(index=st.integers(0, len(ROWS) - 1), field=st.sampled_from(sorted(OTHER)))
def test_any_changed_field_is_located(index: int, field: str) -> None:
    """Whichever field of whichever event is changed, its append is named (for seq: the one missing)."""
    rows = list(ROWS)
    changed = list(rows[index])
    changed[COLUMNS.index(field)] = OTHER[field]
    rows[index] = tuple(changed)
    found = first_bad(rows, HEAD)
    assert found in (index + 1, FIRST[index + 1])


@given(index=st.integers(0, len(NAMES) - 1), field=st.integers(0, 3))
def test_any_changed_name_is_located(index: int, field: int) -> None:
    """A name is chained with the append that brought it."""
    names = list(NAMES)
    changed = list(names[index])
    changed[field] = "other" if field == 2 else 9
    names[index] = tuple(changed)
    assert first_bad(ROWS, HEAD, names) == min(NAMES[index][-1], changed[-1])


@given(index=st.integers(0, len(ROWS) - 1))
def test_a_missing_event_is_located(index: int) -> None:
    """A deleted event is named, the last one through the head row."""
    assert first_bad(ROWS[:index] + ROWS[index + 1 :], HEAD) == index + 1


def test_values_that_no_store_writes_are_a_broken_chain() -> None:
    """NULLs and bytes put in by hand are located, not a crash of the check."""
    for place in range(1, 9):
        for value in (None, b"\xff", 1.5):
            rows = list(ROWS)
            rows[1] = (*rows[1][:place], value, *rows[1][place + 1 :])
            assert first_bad(rows, HEAD) == 2


def test_a_head_row_that_was_edited_is_noticed() -> None:
    """A head row behind the events, or with another hash, breaks the chain at its end."""
    assert first_bad(ROWS, end(ROWS[:6])) == 7
    assert first_bad(ROWS, msgspec.structs.replace(HEAD, hash="1" * 64)) == HEAD.seq


def test_a_rewritten_history_is_caught_by_an_anchor() -> None:
    """A chain that was forged as a whole is consistent; an anchor from before tells."""
    for anchor in (Anchor(seq=2, hash="a" * 64), Anchor(seq=3, hash=ROWS[3][-1].hex())):
        with pytest.raises(ChainBrokenError, match="history up to here was rewritten") as caught:
            ChainCheck([anchor]).feed(ROWS, NAMES, PARTS)
        assert caught.value.seq == anchor.seq
    check = ChainCheck([Anchor(seq=20, hash="a" * 64)])
    check.feed(ROWS, NAMES, PARTS)
    with pytest.raises(ChainBrokenError, match="anchor was taken at seq 20"):
        check.finish(head_seq=HEAD.seq, head_hash=HEAD.hash)


def test_an_anchor_reads_back() -> None:
    """The printed line is the anchor; anything else is a usage error."""
    anchor = Anchor(seq=5, hash=ROWS[4][-1].hex())
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
    check = TextCheck()
    check.feed([(4, 1, "", "run", "actor", "acme", event)])
    check.check(sha256_hex("SELECT 1"), b"SELECT 1")
    check.check(sha256_hex("SELECT 3"), b"SELECT 4")
    other, missing = check.finish()
    assert (other.sha256, other.found) == (sha256_hex("SELECT 3"), sha256_hex("SELECT 4"))
    assert (missing.migration, missing.part, missing.seq) == ("app/001", "down", 4)
    assert missing.found is None and "missing" in missing.what and "was changed" in other.what
