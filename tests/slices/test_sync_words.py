"""Literals that MySQL writes with one character set or another when it makes a table anew: no difference."""

from __future__ import annotations

import pytest

from ledger.engines.mysql.schema.objects import without_introducers
from tests.place import WITH_MYSQL, MakePlace, Place

TABLE = """\
CREATE TABLE words (
  id INT PRIMARY KEY,
  word VARCHAR(20) CHARACTER SET latin1,
  both_words VARCHAR(40) GENERATED ALWAYS AS (concat(word, 'x')) STORED,
  made VARCHAR(20) DEFAULT (concat('a', 'b')),
  CONSTRAINT few CHECK (word IN ('a', 'b\\\\c') AND word <> '_utf8mb4''x')
);
"""
ANEW = ("ALTER TABLE words ADD n INT", "ALTER TABLE words DROP n")
ALL = "--all-tenants"


@pytest.fixture(params=WITH_MYSQL[1:])
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants with the table; the first one's was made anew."""
    place = make_place(request.param, head='backup = "never"')
    place.migration("001_words.sql", TABLE)
    place.ok("migrate", ALL)
    place.run(place.names[0], *ANEW)
    return place


def test_it_is_no_drift(place: Place) -> None:
    """Nor in a table that another connection's character set made; a changed literal is."""
    first, second = place.names
    made_again = "ALTER TABLE words ALTER made SET DEFAULT (concat('a', 'b'))"
    place.run(second, "SET NAMES latin1", made_again)
    place.ok("validate")
    place.run(first, "ALTER TABLE words ALTER made SET DEFAULT (concat('a', 'c'))")
    assert first in place.ended("validate").out


def test_it_is_nothing_that_a_section_sync_reports(place: Place) -> None:
    """Nothing is lacking, and nothing differs."""
    place.migration("002_same.sql", f"-- migrate:sync\n{TABLE}")
    place.ok("migrate", ALL)
    assert not place.events(place.names[0], "drift_detected")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (r"(`c` in (_latin1\'a\',_utf8mb4\'b\\\\c\'))", r"(`c` in (\'a\',\'b\\\\c\'))"),
        (r"`c` <> _latin1\'_utf8mb4\\\'x\'", r"`c` <> \'_utf8mb4\\\'x\'"),
        (r"_binary\'a\' = _utf8mb3'a'", r"_binary\'a\' = 'a'"),
        (r"'_latin1\'x' and `_latin1'x`", r"'_latin1\'x' and `_latin1'x`"),
    ],
)
def test_only_what_stands_before_a_literal_is_left_out(text: str, same: str) -> None:
    """Never a part of a literal or of a name."""
    assert without_introducers(text) == same
