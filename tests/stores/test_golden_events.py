"""A sample of every stored body shape: what was once written stays readable, and means the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.errors import NewerLedgerError
from ledger.events import EVENT_TYPES, StepApplied, decode_body, encode_body

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


@pytest.mark.parametrize(
    ("warning", "existed"),
    [
        ("Note 1050: Table 'users' already exists", True),
        ("Note 1050: Tabelle 'users' bereits vorhanden", True),
        ("Note 1061: Duplicate key name 'i'", True),
        ("Note 1304: PROCEDURE p already exists", True),
        ("table users already exists", True),
        ("Note 1051: Unknown table 'a already exists'", False),
        ("Warning 1265: Data truncated, Note 1050: ", False),
    ],
)
def test_an_older_body_says_what_was_there_in_its_warnings(warning: str, existed: bool) -> None:
    """Bodies from before `existed` are read by the server's numbers; where it is given, it counts."""
    stored = plain((GOLDEN / "step_applied.json").read_bytes()) | {"warnings": [warning]}
    for said, expected in ((None, existed), (True, True), (False, False)):
        event = decode_body(msgspec.json.encode(stored | {"existed": said}))
        assert isinstance(event, StepApplied) and event.found_existing is expected
    del stored["existed"]
    event = decode_body(msgspec.json.encode(stored))
    assert isinstance(event, StepApplied) and event.found_existing is existed
