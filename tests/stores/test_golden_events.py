"""A sample of every stored body shape: what was once written stays readable, and means the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.errors import NewerLedgerError
from ledger.events import EVENT_TYPES, decode_body, encode_body

GOLDEN = Path(__file__).parent.parent / "golden" / "events"
SAMPLES = sorted(GOLDEN.glob("*.json"))


def plain(content: bytes) -> dict[str, Any]:
    """The JSON as Python values."""
    value: dict[str, Any] = msgspec.json.decode(content)
    return value


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_stored_body_reads_back_the_same(sample: Path) -> None:
    """A sample decodes, and encoding it gives equal values: no field was renamed, dropped or retyped."""
    stored = sample.read_bytes()
    event = decode_body(stored)
    assert plain(encode_body(event)) == plain(stored)
    assert decode_body(encode_body(event)) == event


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_shows_every_field(sample: Path) -> None:
    """No field of the event is left at its default, so that the sample pins all of them.

    A direction of `up` is the default and may be left out.
    """
    stored = plain(sample.read_bytes())
    fields = set(decode_body(sample.read_bytes()).__struct_fields__)
    assert fields - set(stored) <= {"direction"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_what_a_newer_version_added_is_ignored(sample: Path) -> None:
    """A field that this version does not know is dropped; a newer schema number is refused."""
    stored = plain(sample.read_bytes())
    with_more = msgspec.json.encode({**stored, "added_later": {"x": 1}})
    assert decode_body(with_more) == decode_body(sample.read_bytes())
    with pytest.raises(NewerLedgerError):
        decode_body(msgspec.json.encode({**stored, "schema": 2}))


def test_every_event_type_has_a_sample() -> None:
    """Samples and event types cover each other (a later shape is `TYPE.2.json`)."""
    assert {re.sub(r"\.\d+$", "", sample.stem) for sample in SAMPLES} == set(EVENT_TYPES)
