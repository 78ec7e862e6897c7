"""Rolling back where a part of a statement was so already: columns, keys, rows, and what was to be dropped."""

from __future__ import annotations

import pytest

from tests.place import WITH_MYSQL, MakePlace, Place

ALL = "--all-tenants"
SEED = "(1, 'seed')"


@pytest.fixture(params=WITH_MYSQL)
def place(request: pytest.FixtureRequest, make_place: MakePlace) -> Place:
    """Two tenants; the first has more of the application's."""
    return make_place(request.param)


def columns(place: Place, tenant: str, table: str) -> set[str]:
    """Names."""
    sql = f"SELECT name FROM pragma_table_info('{table}')"
    if place.engine != "sqlite":
        sql = (
            "SELECT column_name FROM information_schema.columns"
            f" WHERE table_schema = DATABASE() AND table_name = '{table}'"
        )
    return {str(name) for (name,) in place.run(tenant, sql)}


ADD = """\
ALTER TABLE mine ADD COLUMN IF NOT EXISTS word VARCHAR(20), ADD COLUMN IF NOT EXISTS more INT,
  ADD INDEX IF NOT EXISTS by_word (word), ADD CONSTRAINT IF NOT EXISTS few CHECK (more < 5);
-- migrate:down
"""
APART = "".join(
    f"ALTER TABLE mine DROP {what};\n"
    for what in ("CONSTRAINT few", "INDEX by_word", "COLUMN more", "COLUMN word")
)


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
def test_a_column_that_an_alter_found_stays(place: Place) -> None:
    """Only what the ALTER has added is dropped; in the plan the others stand with its number."""
    first, second = place.names
    place.run(first, "ALTER TABLE mine ADD word VARCHAR(20), ADD INDEX by_word (id)")
    place.run(first, "INSERT INTO mine VALUES (1, 'ours')")
    place.migration("001_more.sql", ADD + APART)
    place.ok("migrate", ALL)
    planned = place.ok("rollback", ALL, "--dry-run", "--format", "json").json()["tenants"]
    assert [step["up_step"] for step in planned[0]["migrations"][0]["steps"]] == [None, 1, None, 1]
    place.ok("rollback", ALL, "-y")
    assert place.run(first, "SELECT * FROM mine") == [(1, "ours")]
    assert place.run(first, "SHOW INDEX FROM mine WHERE Key_name = 'by_word'")
    assert columns(place, second, "mine") == {"id"}
    place.ok("validate")


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
def test_one_alter_that_would_drop_both_is_not_decided(place: Place) -> None:
    """Refused by the names of what was there; where nothing was there it runs."""
    first, second = place.names
    place.run(first, "ALTER TABLE mine ADD word VARCHAR(20)")
    place.migration(
        "001_more.sql",
        ADD.replace(
            ",\n  ADD INDEX IF NOT EXISTS by_word (word), ADD CONSTRAINT IF NOT EXISTS few CHECK (more < 5)",
            "",
        )
        + "ALTER TABLE mine DROP COLUMN more, DROP COLUMN word;",
    )
    place.ok("migrate", ALL)
    ended = place.ended("rollback", ALL, "-y")
    assert ended.code == 3
    assert "column word" in ended.out
    assert columns(place, first, "mine") == {"id", "word", "more"}
    assert columns(place, second, "mine") == {"id"}


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
def test_a_found_column_that_an_update_has_filled_is_not_decided(place: Place) -> None:
    """Its values would stay changed; the backup has those of before."""
    first, second = place.names
    place.run(first, "ALTER TABLE mine ADD word VARCHAR(20)", "INSERT INTO mine VALUES (1, 'ours')")
    place.migration(
        "001_word.sql",
        "ALTER TABLE mine ADD COLUMN IF NOT EXISTS word VARCHAR(20);\nUPDATE mine SET word = 'new';\n"
        "-- migrate:down\nALTER TABLE mine DROP COLUMN word;\n",
    )
    place.ok("migrate", ALL)
    assert place.ended("rollback", ALL, "-y").code == 3
    assert columns(place, second, "mine") == {"id"}
    place.ok("rollback", "--tenant", first, "-y", "--by", "backup")
    assert place.run(first, "SELECT * FROM mine") == [(1, "ours")]


@pytest.mark.parametrize("hand", [True, False], ids=["by hand", "by backup"])
def test_a_down_step_that_is_refused_names_what_helps(place: Place, hand: bool) -> None:
    """Not to correct the file, whose text of then is what runs."""
    first, _ = place.names
    file = place.migration(
        "001_own.sql",
        "CREATE TABLE own (id INTEGER);\n-- migrate:down\nDROP TABLE own;\nDROP TABLE never;\n",
    )
    place.ok("migrate", "--tenant", first)
    file.write_text(file.read_text().replace("DROP TABLE never;", ""))
    for _ in range(2):
        ended = place.ended("rollback", "--tenant", first, "-y")
        assert ended.code == 3
        assert f"`ledger rollback app/001 --tenant {first} --by backup`" in ended.out
    if hand:
        place.run(first, "CREATE TABLE never (id INTEGER)")
        place.ok("rollback", "--tenant", first, "-y")
    else:
        place.ok("rollback", "app/001", "--tenant", first, "--by", "backup", "-y")
    assert place.objects(first) == {"mine"}


def test_a_column_that_a_section_sync_found_stays(place: Place) -> None:
    """In a table that was there, too: what it lacked is dropped."""
    first, second = place.names
    place.run(first, "CREATE TABLE shared (id INTEGER PRIMARY KEY, word VARCHAR(20))")
    place.run(first, "INSERT INTO shared VALUES (1, 'ours')")
    place.migration(
        "001_shared.sql",
        "-- migrate:sync\nCREATE TABLE shared (id INTEGER PRIMARY KEY, word VARCHAR(20), more INTEGER);\n"
        "-- migrate:down\nALTER TABLE shared DROP COLUMN more;\nALTER TABLE shared DROP COLUMN word;\n",
    )
    place.ok("migrate", ALL)
    place.ok("rollback", ALL, "-y")
    assert place.run(first, "SELECT * FROM shared") == [(1, "ours")]
    assert columns(place, second, "shared") == {"id"}


def insert(place: Place, how: str, rows: str) -> str:
    """An INSERT that does not fail where a row is there."""
    sqlite = place.engine == "sqlite"
    update = (
        "ON CONFLICT (id) DO UPDATE SET word = excluded.word"
        if sqlite
        else "ON DUPLICATE KEY UPDATE word = VALUES(word)"
    )
    return {
        "keeps": f"INSERT {'OR ' if sqlite else ''}IGNORE INTO words VALUES {rows}",
        "replaces": f"REPLACE INTO words VALUES {rows}",
        "updates": f"INSERT INTO words VALUES {rows} {update}",
        "asks": "INSERT INTO words SELECT 1, 'seed' WHERE NOT EXISTS (SELECT 1 FROM words WHERE id = 1)",
    }[how]


def words(place: Place, how: str, rows: str = f"{SEED}, (2, 'seed')") -> None:
    """A table `words` on both tenants, in which the first has a row of the application's; and a migration
    that fills it."""
    for name in place.names:
        place.run(name, "CREATE TABLE words (id INTEGER PRIMARY KEY, word VARCHAR(20))")
    place.run(place.names[0], "INSERT INTO words VALUES (1, 'ours')")
    place.migration(
        "001_words.sql",
        f"{insert(place, how, rows)};\n-- migrate:down\nDELETE FROM words WHERE id IN (1, 2);\n",
    )
    place.ok("migrate", ALL)


@pytest.mark.parametrize("how", ["keeps", "asks"])
def test_a_row_that_an_insert_found_stays(place: Place, how: str) -> None:
    """It inserted nothing, so that nothing is deleted; where it inserted the row it is."""
    first, second = place.names
    words(place, how, SEED)
    place.ok("rollback", ALL, "-y")
    assert place.run(first, "SELECT * FROM words") == [(1, "ours")]
    assert place.run(second, "SELECT * FROM words") == []


@pytest.mark.parametrize("how", ["keeps", "replaces", "updates"])
def test_where_some_rows_were_there_nothing_is_deleted(place: Place, how: str) -> None:
    """Refused with the number of rows; the other tenant goes back, and this one by its backup."""
    first, second = place.names
    words(place, how)
    ended = place.ended("rollback", ALL, "-y")
    assert ended.code == 3
    assert "found 1 of its rows there already" in ended.out
    assert len(place.run(first, "SELECT * FROM words")) == 2
    assert place.run(second, "SELECT * FROM words") == []
    place.ok("rollback", "--tenant", first, "-y", "--by", "backup")
    assert place.run(first, "SELECT * FROM words") == [(1, "ours")]


GONE = """\
DROP TABLE IF EXISTS old;
DROP VIEW IF EXISTS seen;
CREATE VIEW seen AS SELECT id, 1 AS one FROM mine;
-- migrate:down
DROP VIEW seen;
CREATE VIEW seen AS SELECT id FROM mine;
CREATE TABLE old (id INTEGER PRIMARY KEY);
INSERT INTO old VALUES (1);
CREATE INDEX by_id ON old (id);
"""


@pytest.mark.parametrize("transaction", ["", "-- migrate:up transaction:false\n"])
def test_what_was_never_there_is_not_made_again(place: Place, transaction: str) -> None:
    """A DROP … IF EXISTS found nothing on the second tenant; on the first all is as before."""
    first, second = place.names
    place.run(
        first,
        "CREATE TABLE old (id INTEGER PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT id FROM mine",
    )
    place.migration("001_gone.sql", transaction + GONE)
    place.ok("migrate", ALL)
    place.ok("rollback", ALL, "-y")
    assert place.objects(first) == {"mine", "old", "seen"}
    assert columns(place, first, "seen") == {"id"}
    assert place.run(first, "SELECT * FROM old") == [(1,)]
    assert place.objects(second) == {"mine"}
    place.ok("validate")


MISSING = """\
RENAME TABLE IF EXISTS old TO older;
ALTER TABLE mine DROP COLUMN IF EXISTS word, RENAME COLUMN IF EXISTS a TO b;
-- migrate:down
ALTER TABLE mine RENAME COLUMN b TO a;
ALTER TABLE mine ADD word VARCHAR(20);
UPDATE mine SET word = 'again';
RENAME TABLE older TO old;
"""


@pytest.mark.parametrize("place", ["mariadb"], indirect=True)
def test_what_was_not_there_to_be_renamed_is_not_renamed_back(place: Place) -> None:
    """Nor is a column added again that no tenant had, or filled."""
    first, second = place.names
    place.run(
        first, "CREATE TABLE old (id INT)", "ALTER TABLE mine ADD word VARCHAR(20), ADD a INT"
    )
    place.migration("001_missing.sql", MISSING)
    place.ok("migrate", ALL)
    place.ok("rollback", ALL, "-y")
    assert (place.objects(first), columns(place, first, "mine")) == (
        {"mine", "old"},
        {"id", "word", "a"},
    )
    assert (place.objects(second), columns(place, second, "mine")) == ({"mine"}, {"id"})
