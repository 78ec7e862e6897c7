"""Whole histories through our splitter end as they do through the plain clients.

The histories are written here, with the difficulties of real ones: triggers
with CASE … END, procedures under DELIMITER, CRLF, a BOM, rebuilds, comments
with quotes, strings with comments, and a statement of ten megabytes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from ledger.scripts.model import Migration
from ledger.scripts.parse import parse_migration
from ledger.scripts.source import read_source
from tests.conftest import MakeDatabase
from tests.servers import Server, connect

SQLITE = {
    "001_tables.sql": b"""\xef\xbb\xbf-- It's the first; "really"\r
CREATE TABLE parent (\r
  id INTEGER PRIMARY KEY, -- the key; of 'all'\r
  name TEXT NOT NULL DEFAULT 'a;b -- no comment',\r
  note TEXT DEFAULT 'it''s /* no comment */'\r
);\r
CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER NOT NULL\r
  REFERENCES parent(id) ON DELETE CASCADE, "odd;name" TEXT, [odd;er] TEXT);\r
INSERT INTO parent (id, name) VALUES (1, 'one;'), (2, '--two'), (3, '/*three');\r
INSERT INTO child (id, parent_id, [odd;er]) VALUES (10, 1, 'x'), (20, 2, 'y;''');\r
""",
    "002_triggers.sql": b"""/* triggers; with 'quotes' */
CREATE TABLE log (line TEXT);
CREATE TRIGGER parent_update AFTER UPDATE OF name ON parent
WHEN CASE WHEN old.name = 'END;' THEN 0 ELSE 1 END
BEGIN
  INSERT INTO log VALUES (CASE new.name WHEN 'x' THEN 'END;' ELSE old.name END);
  -- END;
  UPDATE parent SET note = 'BEGIN; END;' WHERE id = new.id;
END /* it's over */ ;
create temp table scratch (n);
CREATE TRIGGER child_delete BEFORE DELETE ON child BEGIN SELECT RAISE(ABORT, 'no;no'); END;
UPDATE parent SET name = 'x' WHERE id = 1;
CREATE VIEW report AS SELECT p.name || ';' AS "a;b" FROM parent p -- the end; of it
;
""",
    "003_rebuild.sql": b"""PRAGMA foreign_keys=off;
BEGIN TRANSACTION;
DROP VIEW report;
CREATE TABLE parent_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, note TEXT, extra INT DEFAULT 7);
INSERT INTO parent_new (id, name, note) SELECT id, name, note FROM parent;
DROP TABLE parent;
ALTER TABLE parent_new RENAME TO parent;
CREATE INDEX parent_note ON parent (note) WHERE note <> ';';
PRAGMA foreign_key_check;
COMMIT;
PRAGMA foreign_keys=on
""",
}
MYSQL = {
    "001_tables.sql": b"""\xef\xbb\xbf-- It's the first; "really"\r
# and `another\r
/*!40101 SET NAMES utf8mb4 */;\r
CREATE TABLE parent (\r
  id INT PRIMARY KEY AUTO_INCREMENT, -- the key; of 'all'\r
  name VARCHAR(90) NOT NULL DEFAULT 'a;b -- no # comment',\r
  note VARCHAR(90) DEFAULT 'it\\'s "quoted"; \\\\' COMMENT "it's; here"\r
) ENGINE=InnoDB /*!50100 COMMENT 'x;y' */;\r
CREATE TABLE `odd;name` (id INT PRIMARY KEY, parent_id INT NOT NULL, KEY (parent_id),\r
  CONSTRAINT odd FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE);\r
INSERT INTO parent (id, name) VALUES (1, 'one;'), (5--2, '--two'), (4, '/*three');\r
""",
    "002_routines.sql": b"""DROP PROCEDURE IF EXISTS fill;
DELIMITER $$
CREATE PROCEDURE fill(IN n INT)
BEGIN
  DECLARE i INT DEFAULT 10;  # from ten; on
  WHILE i < n DO
    INSERT INTO parent (id, name) VALUES (i, CONCAT('a$b;', i));
    SET i = i + 1;
  END WHILE;
END $$
CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC
BEGIN
  RETURN CASE WHEN n > 0 THEN n * 2 ELSE 0 END; -- it's $ and ;
END$$
delimiter //
CREATE TRIGGER parent_insert BEFORE INSERT ON parent FOR EACH ROW
BEGIN
  IF NEW.note IS NULL THEN SET NEW.note = 'BEGIN; END;'; END IF;
END//
DELIMITER ;
CALL fill(13);
UPDATE parent SET note = twice(id) WHERE id > 10;
DROP PROCEDURE fill;
""",
    "003_more.sql": b"""ALTER TABLE parent ADD COLUMN extra INT DEFAULT 7, \\
  ADD KEY parent_name (name);
CREATE OR REPLACE VIEW report AS SELECT p.name AS `a;b` /* which; */ FROM parent p;
/* nothing; at all */
-- nothing; at all
CREATE EVENT IF NOT EXISTS clean ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE
  DO DELETE FROM parent WHERE id < 0;
INSERT INTO `odd;name` VALUES (1, 1), (2, 4)
""",
}
MEGABYTES = 10


def _client(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"the client `{name}` is not installed, and these tests compare with it: "
            "sudo apt-get install sqlite3 mariadb-client",
            pytrace=False,
        )
    return found


def _run(command: list[str], *, data: bytes = b"", password: str = "") -> bytes:
    environment = os.environ | ({"MYSQL_PWD": password} if password else {})
    done = subprocess.run(command, input=data, capture_output=True, check=False, env=environment)
    if done.returncode != 0:
        pytest.fail(f"{command[0]}: {done.stderr[-500:].decode()}", pytrace=False)
    return done.stdout


def _big(table: str) -> bytes:
    """One statement of ten megabytes, each row with what could mislead a splitter."""
    row = "('it''s; -- no /* comment */ " + "x" * 900 + "')"
    rows = ",\n".join([row] * (MEGABYTES * 1_000_000 // len(row)))
    return f"CREATE TABLE {table} (a TEXT);\nINSERT INTO {table} (a) VALUES\n{rows};\n".encode()


def _parsed(name: str, data: bytes, dialect: str) -> Migration:
    source = read_source(data, file=name)
    return parse_migration(source, "sqlite" if dialect == "sqlite" else "mysql", set_name="history")


def _apply_sqlite(path: Path, history: dict[str, bytes]) -> None:
    """As the engine promises: the pragma outside, everything else in one transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    for name, data in history.items():
        section = _parsed(name, data, "sqlite").up
        wanted = "OFF" if section.foreign_keys is False else "ON"
        connection.execute(f"PRAGMA foreign_keys = {wanted}")
        connection.execute("BEGIN IMMEDIATE")
        for step in section.steps:
            connection.execute(step.sql).fetchall()
        connection.execute("COMMIT")
    connection.close()


def test_a_sqlite_history_ends_as_with_the_sqlite3_client(tmp_path: Path) -> None:
    """Schema and rows are those that the sqlite3 shell makes of the same files."""
    client = _client("sqlite3")
    history = SQLITE | {"004_big.sql": _big("big")}
    theirs, ours = tmp_path / "theirs.db", tmp_path / "ours.db"
    for data in history.values():
        _run([client, "-bail", str(theirs)], data=data.removeprefix(b"\xef\xbb\xbf"))
    _apply_sqlite(ours, history)
    dumps = [_run([client, str(path), ".dump"]) for path in (theirs, ours)]
    same = (
        dumps[0] == dumps[1]
    )  # Not compared in the assertion: a difference of 10 MB is not to be shown.
    assert same
    assert b"'y;'''" in dumps[0]
    assert len(dumps[0]) > MEGABYTES * 500_000


def _options(server: Server) -> list[str]:
    url = server.url
    where = (
        [f"--socket={url.unix_socket}"]
        if url.unix_socket
        else [f"--host={url.host}", f"--port={url.port}"]
    )
    return ["--no-defaults", *where, f"--user={url.user}", "--default-character-set=utf8mb4"]


def _dump(server: Server, database: str) -> list[str]:
    command = [_client("mariadb-dump"), *_options(server), "--routines", "--triggers", "--events"]
    text = _run([*command, "--skip-comments", database], password=server.password).decode()
    return text.replace(database, "DATABASE").splitlines()


def test_a_mariadb_history_ends_as_with_the_mariadb_client(
    mariadb: Server, make_database: MakeDatabase
) -> None:
    """Tables, rows, routines, triggers, events and views are those of the mariadb client."""
    client = [_client("mariadb"), *_options(mariadb), "--comments"]
    history = MYSQL | {"004_big.sql": _big("big")}
    theirs, ours = make_database(mariadb), make_database(mariadb)
    for data in history.values():
        _run([*client, theirs], data=data, password=mariadb.password)
    with connect(mariadb, ours) as connection, connection.cursor() as cursor:
        for name, data in history.items():
            for step in _parsed(name, data, "mysql").up.steps:
                cursor.execute(step.sql)
    expected, found = _dump(mariadb, theirs), _dump(mariadb, ours)
    different = [pair for pair in zip(expected, found, strict=False) if pair[0] != pair[1]]
    assert [(left[:200], right[:200]) for left, right in different] == []
    assert len(found) == len(expected)
    assert any("CREATE DEFINER" in line and "twice" in line for line in found)
