"""SQLite: a migration is answerable for references that it makes dangle, whatever was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.world import Fleet

SHOP = """\
CREATE TABLE customers (id INTEGER PRIMARY KEY, code TEXT UNIQUE, a INT, b INT, UNIQUE (a, b));
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), note TEXT);
CREATE TABLE carts (name TEXT PRIMARY KEY, x INT, y INT, FOREIGN KEY (y, x) REFERENCES customers (b, a))
  WITHOUT ROWID;
INSERT INTO customers VALUES (1, 'one', 1, 10), (2, 'two', 2, 20);
INSERT INTO orders VALUES (1, 1, ''), (2, 2, ''), (3, 77, 'old'), (4, 78, 'old');
INSERT INTO carts VALUES ('good', 1, 10), ('old', 7, 70);
"""
NEW_ORDERS = "CREATE TABLE {name} (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), note TEXT);"
TOLERATED = {
    "rename": "ALTER TABLE orders RENAME TO purchases;",
    "rename without rowid, two columns": "ALTER TABLE carts RENAME TO baskets;",
    "rename the parent": "ALTER TABLE customers RENAME TO clients;",
    "rename both": "ALTER TABLE orders RENAME TO purchases; ALTER TABLE customers RENAME TO clients;",
    "rename columns": "ALTER TABLE orders RENAME COLUMN customer_id TO client;"
    "ALTER TABLE customers RENAME COLUMN id TO number; ALTER TABLE carts RENAME COLUMN x TO z;"
    "ALTER TABLE customers RENAME COLUMN b TO c;",
    "copy": NEW_ORDERS.format(name="archive") + "INSERT INTO archive SELECT * FROM orders;",
    "move": NEW_ORDERS.format(name="archive")
    + "INSERT INTO archive SELECT * FROM orders WHERE note = 'old'; DELETE FROM orders WHERE note = 'old';",
    "rebuild": "PRAGMA foreign_keys = OFF;"
    + NEW_ORDERS.format(name="new_orders")
    + "INSERT INTO new_orders SELECT * FROM orders; DROP TABLE orders;"
    "ALTER TABLE new_orders RENAME TO orders;",
    "rebuild with another type": "CREATE TABLE new_orders (id INTEGER PRIMARY KEY, customer_id TEXT"
    " REFERENCES customers); INSERT INTO new_orders SELECT id, customer_id FROM orders;"
    "DROP TABLE orders; ALTER TABLE new_orders RENAME TO orders;",
    "rebuild the parent": "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON;"
    "CREATE TABLE new_customers (id INTEGER PRIMARY KEY, code TEXT, a INT, b INT, UNIQUE (a, b));"
    "INSERT INTO new_customers SELECT * FROM customers; DROP TABLE customers;"
    "ALTER TABLE new_customers RENAME TO customers;",
    "replace parent and child": "CREATE TABLE clients (id INTEGER PRIMARY KEY, a INT, b INT, UNIQUE (a, b));"
    "INSERT INTO clients SELECT id, a, b FROM customers;"
    "CREATE TABLE purchases (id INTEGER PRIMARY KEY, client INTEGER REFERENCES clients (id));"
    "INSERT INTO purchases SELECT id, customer_id FROM orders; DROP TABLE orders;"
    "DROP TABLE carts; DROP TABLE customers;",
    "mend some": "UPDATE orders SET customer_id = 1 WHERE id = 3;",
    "change other columns": "UPDATE orders SET note = 'seen';",
}
REFUSED = {
    "another row dangles": (
        "DELETE FROM customers WHERE id = 2;",
        "1 row of 'orders'",
        "referred to",
    ),
    "one mended, another broken": (
        "UPDATE orders SET customer_id = 1 WHERE id = 3; DELETE FROM customers WHERE id = 2;",
        "1 row of 'orders'",
        "referred to",
    ),
    "a new row like an old one": (
        "INSERT INTO orders VALUES (5, 77, 'new');",
        "1 row of 'orders'",
        "referred to",
    ),
    "renamed, and another dangles": (
        "ALTER TABLE orders RENAME TO purchases; DELETE FROM customers WHERE id = 2;",
        "1 row of 'purchases'",
        "refer to nothing",
    ),
    "two columns": ("UPDATE customers SET b = 11 WHERE id = 1;", "1 row of 'carts'", "referred to"),
    "a rename that takes references along": (
        "ALTER TABLE customers RENAME TO old_customers;"
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, a INT, b INT, UNIQUE (a, b));"
        "INSERT INTO customers SELECT id, a, b FROM old_customers; DROP TABLE old_customers;",
        "in 'old_customers'",
        "took the references along",
    ),
    "the parent is dropped": ("DROP TABLE customers;", "'customers'", "is gone"),
    "a foreign key is new": (
        "CREATE TABLE reviews (order_id INTEGER, customer INTEGER); INSERT INTO reviews VALUES (1, 5);"
        "CREATE TABLE new_reviews (order_id INTEGER REFERENCES orders, customer INTEGER REFERENCES customers);"
        "INSERT INTO new_reviews SELECT * FROM reviews;",
        "1 row of 'new_reviews'",
        "foreign key is new",
    ),
    "no such table": (
        "CREATE TABLE reviews (of INTEGER REFERENCES produkts); INSERT INTO reviews VALUES (1);",
        "'produkts'",
        "create it first",
    ),
    "not unique": (
        "CREATE TABLE tags (name TEXT); CREATE TABLE tagged (tag TEXT REFERENCES tags (name));",
        "'tags' that 'tagged' refers to are not unique",
        "UNIQUE",
    ),
}


def _shop(root: Path) -> Fleet:
    fleet = Fleet(root, tenants=1)
    (fleet.migrations / "001_notes.sql").unlink()
    fleet.run("t0", SHOP)
    return fleet


@pytest.mark.parametrize("head", ["", "-- migrate:up transaction:false\n"])
@pytest.mark.parametrize("case", TOLERATED)
async def test_what_dangled_before_does_not_block(tmp_path: Path, case: str, head: str) -> None:
    """Old orphans may be renamed, copied, moved and rebuilt; they are compared by what they refer to."""
    fleet = _shop(tmp_path)
    fleet.write("001_x.sql", head + TOLERATED[case])
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]


@pytest.mark.parametrize("head", ["", "-- migrate:up transaction:false\n"])
@pytest.mark.parametrize("case", REFUSED)
async def test_what_dangles_anew_is_refused_with_its_cause(
    tmp_path: Path, case: str, head: str
) -> None:
    """The rows are counted, and the hint fits the cause; with the directive nothing is checked."""
    sql, message, hint = REFUSED[case]
    fleet = _shop(tmp_path)
    fleet.write("001_x.sql", head + sql)
    before = fleet.schema("t0")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    outcome = report.outcomes[0]
    assert message in outcome.message
    assert hint in outcome.message + outcome.hint
    assert "-- foreign-key-check: off" in outcome.hint
    assert head or fleet.schema("t0") == before
    fleet.write("001_x.sql", f"-- foreign-key-check: off\n{head}{sql}")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert [one.message for one in report.outcomes] == [""]


async def test_names_of_any_kind(tmp_path: Path) -> None:
    """Names with other letters, quotes and spaces; a table that refers to itself; generated columns."""
    fleet = _shop(tmp_path)
    fleet.run(
        "t0",
        'CREATE TABLE "Gr""ößen Ä" (id INTEGER PRIMARY KEY, "of Ü" INT REFERENCES "Gr""ößen Ä",'
        ' "Twice" AS ("of Ü" * 2) REFERENCES "Gr""ößen Ä" (id));'
        'INSERT INTO "Gr""ößen Ä" ("of Ü") VALUES (NULL), (1), (40);',
    )
    fleet.write(
        "001_x.sql",
        'ALTER TABLE "Gr""ößen Ä" RENAME TO "Ö""x y";\nALTER TABLE "Ö""x y" RENAME "of Ü" TO "Ü";',
    )
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""]
        fleet.write("002_y.sql", 'DELETE FROM "Ö""x y" WHERE id = 1;')
        report = await ledger.migrate()
    assert "would refer to nothing" in report.outcomes[0].message


async def test_thousands_of_old_orphans_may_be_renamed(tmp_path: Path) -> None:
    """Too many values to keep: they are counted, and one more is noticed all the same."""
    fleet = _shop(tmp_path)
    fleet.run(
        "t0",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        " INSERT INTO orders SELECT 100 + i, 100 + i, 'old' FROM n;",
    )
    fleet.write("001_x.sql", "ALTER TABLE orders RENAME TO purchases;")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""]
        fleet.write("002_y.sql", "DELETE FROM customers WHERE id = 2;")
        report = await ledger.migrate()
    assert "1 row of 'purchases'" in report.outcomes[0].message


async def test_enforced_keys_are_named_as_the_cause(tmp_path: Path) -> None:
    """What SQLite itself refuses in a rebuild is answered with the PRAGMA that a rebuild needs."""
    fleet = _shop(tmp_path)
    fleet.write("001_x.sql", "PRAGMA foreign_keys = ON;\nDROP TABLE customers;")
    async with fleet.open() as ledger:
        report = await ledger.migrate()
    assert "PRAGMA foreign_keys = OFF" in report.outcomes[0].hint


async def test_the_down_part_and_python_take_the_word_too(tmp_path: Path) -> None:
    """`-- foreign-key-check: off` holds for a file's down part; a `.py` file has a constant."""
    fleet = _shop(tmp_path)
    fleet.config.write_text("allow_python = true\n" + fleet.config.read_text())
    fleet.write(
        "001_x.sql",
        "-- foreign-key-check: off\nSELECT 1;\n-- migrate:down\nDELETE FROM customers WHERE id = 1;\n",
    )
    fleet.write(
        "002_y.py",
        "foreign_key_check = False\nasync def up(tenant):\n"
        "    await tenant.execute('DELETE FROM customers WHERE id = 2')\n"
        "async def down(tenant):\n    await tenant.execute('DELETE FROM customers')\n",
    )
    async with fleet.open() as ledger:
        report = await ledger.migrate()
        assert [one.message for one in report.outcomes] == [""]
        report = await ledger.rollback(to="0")
    assert [one.message for one in report.outcomes] == [""]
    assert fleet.query("t0", "SELECT count(*) FROM customers") == [(0,)]
