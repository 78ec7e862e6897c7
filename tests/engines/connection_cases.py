"""Migrations whose later steps read what earlier ones left in their connection."""

from __future__ import annotations

SETUP = (
    "CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), score DECIMAL(12,4))"
    " ENGINE=InnoDB AUTO_INCREMENT=7",
    "CREATE TABLE posts (id INT AUTO_INCREMENT PRIMARY KEY, author BIGINT, note VARCHAR(200)"
    " CHARACTER SET utf8mb4) ENGINE=InnoDB AUTO_INCREMENT=100",
    "CREATE TABLE plain (a INT) ENGINE=MyISAM",
    "INSERT INTO users (name, score) VALUES ('ann', 1.5), ('bob', 2.25), ('eve', 3)",
    "CREATE PROCEDURE who (OUT found INT) BEGIN SELECT MAX(id) INTO found FROM users;"
    " SET @inner_found = found * 10; SET SESSION group_concat_max_len = 2048; END",
    "CREATE PROCEDURE write_inner () INSERT INTO posts (author, note) VALUES (@inner_found, 'inner')",
    "CREATE FUNCTION twice (n INT) RETURNS INT NO SQL RETURN n * 2",
)
LOG = "INSERT INTO posts (author, note) VALUES ({}, '{}')"

CASES: dict[str, tuple[str, ...]] = {
    "select into": ("SELECT MAX(id), MIN(name) INTO @id, @name FROM users",
                    "UPDATE users SET name = 'x'",
                    "INSERT INTO posts (author, note) VALUES (@id, CONCAT(@name, @id))"),
    "assignments in a query": ("SET @n := 0", "UPDATE users SET score = (@n := @n + 10) ORDER BY id",
                               "DELETE FROM users WHERE name = 'ann'", LOG.format("@n", "n")),
    "a subquery of what is dropped later": (
        "CREATE TABLE gone AS SELECT 42 AS answer", "SET @n = (SELECT answer FROM gone)",
        "DROP TABLE gone", LOG.format("@n", "n"), "ALTER TABLE posts ADD z INT", LOG.format("@n", "m")),
    "types and collations": (
        "SET @i = -5, @u = CAST(18446744073709551615 AS UNSIGNED), @d = 1.50, @f = 1e-3, @n = NULL,"
        " @s = 'grün\\'s \"\\\\', @b = x'00ff80', @l = _latin1 x'e4' COLLATE latin1_german1_ci, @e = '',"
        " @`odd name` = 2, @'q.x' = 3",
        "UPDATE users SET score = 0",
        "CREATE TABLE kinds AS SELECT @i AS i, @u AS u, @d AS d, @f AS f, @s AS s, @b AS b, @l AS l",
        "INSERT INTO posts (author, note) SELECT @`odd name` + @'q.x', CONCAT_WS('|', HEX(@b), @s,"
        " HEX(@l), CHARSET(@l), COLLATION(@l), COLLATION(@s), @n IS NULL, @u, @d * 2, @f, @e = '')"),
    "comparing with columns": (
        "CREATE TABLE own (name VARCHAR(20)) CHARACTER SET utf8mb4", "INSERT INTO own VALUES ('a'), ('Ä'), ('b')",
        "SET @x = 'A'", "UPDATE own SET name = CONCAT(name, '!') WHERE name = @x",
        "CREATE TABLE made AS SELECT 'text' AS a, @x AS b, CONCAT(name, @x) AS c, _utf8mb4'x' AS d FROM own",
        "CREATE PROCEDURE mend (given VARCHAR(20) CHARACTER SET utf8mb4)"
        " UPDATE own SET name = 'found' WHERE name = given AND name = 'Ä'",
        "CREATE FUNCTION same (given VARCHAR(20) CHARACTER SET utf8mb4) RETURNS INT READS SQL DATA"
        " RETURN (SELECT COUNT(*) FROM own WHERE name = given)",
        "CREATE VIEW seen AS SELECT CONCAT(name, 'z') AS a, 'literal' AS b FROM own WHERE name > 'a'",
        "CREATE TRIGGER noted BEFORE INSERT ON own FOR EACH ROW SET NEW.name = CONCAT(NEW.name, 't')",
        "CREATE EVENT later ON SCHEDULE AT '2036-01-01 00:00:00' DO DELETE FROM own WHERE name = 'x'",
        "CALL mend('ä')", "INSERT INTO own VALUES ('ü')", LOG.format("same('ÜT')", "same")),
    "last_insert_id": ("INSERT INTO users (name) VALUES ('new')", "UPDATE users SET score = 1",
                       "ALTER TABLE users ADD y INT", "SET @id = LAST_INSERT_ID()",
                       LOG.format("LAST_INSERT_ID()", "of"), "DELETE FROM users WHERE id = 8",
                       LOG.format("@id", "both"), "SET @i = @@identity",
                       "SET @m = (SELECT MAX(id) FROM posts)", LOG.format("@i = @m", "own")),
    "last_insert_id set": ("UPDATE users SET id = LAST_INSERT_ID(id + 50) WHERE name = 'bob'",
                           "UPDATE users SET score = 1", LOG.format("LAST_INSERT_ID()", "set")),
    "row_count": ("UPDATE users SET score = score + 1 WHERE name <> 'eve'", LOG.format("ROW_COUNT()", "two"),
                  LOG.format("ROW_COUNT()", "one"), "DELETE FROM users", "SET @n = row_count ( )",
                  LOG.format("@n", "three"), "SELECT * FROM posts", LOG.format("ROW_COUNT()", "minus"),
                  "CREATE TABLE copy AS SELECT * FROM posts", LOG.format("ROW_COUNT()", "copied"),
                  "ALTER TABLE copy ADD w INT", "SELECT ROW_COUNT() INTO @n", LOG.format("@n", "altered"),
                  "DELETE FROM copy", "CREATE TABLE counted AS SELECT ROW_COUNT()"),
    "row_count of other statements": (
        "INSERT INTO plain VALUES (1), (2)", LOG.format("ROW_COUNT()", "myisam"),
        "CALL who(@a)", LOG.format("ROW_COUNT()", "call"), "START TRANSACTION",
        "UPDATE users SET name = CONCAT(name, 'x')", LOG.format("ROW_COUNT()", "within"), "COMMIT",
        LOG.format("ROW_COUNT()", "committed"), "UPDATE users SET name = 'y'",
        "GET DIAGNOSTICS @rows = ROW_COUNT", LOG.format("@rows", "ROW_COUNT() in a text")),
    "found_rows": ("SELECT SQL_CALC_FOUND_ROWS * FROM users LIMIT 1", LOG.format("FOUND_ROWS()", "all"),
                   "SELECT id FROM users LIMIT 2", "UPDATE users SET score = 9", "SET @f = FOUND_ROWS()",
                   LOG.format("@f", "two")),
    "warnings": ("INSERT IGNORE INTO users (id, name) VALUES (7, 'twice'), (8, 'twice')",
                 LOG.format("@@warning_count", "two"),
                 "INSERT IGNORE INTO users (id, name) VALUES (7, 'twice')",
                 "SET @w = @@session.warning_count + 10 * @@error_count", LOG.format("@w", "one")),
    "what programs set and read": (
        "CREATE TRIGGER noted AFTER INSERT ON users FOR EACH ROW SET @noted = NEW.id",
        "CREATE PROCEDURE count_it () INSERT INTO posts (author, note) VALUES (ROW_COUNT(), 'counted')",
        "INSERT INTO users (name) VALUES ('t')", "UPDATE users SET score = 2", "CALL count_it()",
        "SET @x = 1", "CALL count_it()", LOG.format("@noted", "by a trigger")),
    "locks": (
        "DO GET_LOCK('of the file', 5)", "UPDATE users SET score = 1",
        LOG.format("IS_USED_LOCK('of the file') = CONNECTION_ID()", "held"),
        "SELECT RELEASE_LOCK('of the file')", LOG.format("IS_FREE_LOCK('of the file')", "free")),
    "isolation": (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "UPDATE users SET score = 1",
        "INSERT INTO posts (note) VALUES (@@session.ISOLATION)",
        "SELECT id FROM users", "SET @f = FOUND_ROWS()", LOG.format("@f", "found")),
    "call": ("CALL who(@found)", "UPDATE users SET score = 1", LOG.format("@found", "out"),
             "CALL write_inner()", LOG.format("@@group_concat_max_len", "set inside"),
             "SET @twice = twice(@found)", LOG.format("@twice", "f")),
    "prepared": ("SET @table = 'posts'", "SET @sql = CONCAT('INSERT INTO ', @table, ' (author) VALUES (?)')",
                 "PREPARE put FROM @sql", "SET @sql = NULL, @v = 5", "UPDATE users SET score = 2",
                 "EXECUTE put USING @v", "PREPARE count_up FROM 'UPDATE users SET score = ROW_COUNT()'",
                 "DELETE FROM posts WHERE author = 1", "EXECUTE count_up", "DEALLOCATE PREPARE put",
                 "PREPARE put FROM 'INSERT INTO posts (author, note) VALUES (ROW_COUNT(), ''o''''k'')'",
                 "UPDATE users SET name = 'z'", "EXECUTE put", "DROP PREPARE put"),
    "settings": ("SET @old = @@sql_mode, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
                 "INSERT INTO users (id, name) VALUES (0, 'zero')", "SET sql_mode = @old",
                 "SET SESSION group_concat_max_len = (SELECT 4000 + COUNT(*) FROM users)",
                 "DELETE FROM users", LOG.format("@@group_concat_max_len", "len"),
                 "INSERT INTO posts (note) VALUES (@@sql_mode)",
                 "SET group_concat_max_len = DEFAULT", LOG.format("@@group_concat_max_len", "len"),
                 "SET NAMES latin1", "UPDATE users SET score = 3",
                 "INSERT INTO posts (note) VALUES (@@collation_connection)"),
    "plain settings": ("SET foreign_key_checks = 0, time_zone = '+05:00'", "UPDATE users SET score = 3",
                       LOG.format("@@foreign_key_checks", "off"),
                       "INSERT INTO posts (note) VALUES (@@time_zone)", "SET time_zone = '-02:00'",
                       "INSERT INTO posts (note) VALUES (@@time_zone)",
                       "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                       "INSERT INTO posts (note) VALUES (@@time_zone)"),
    "timestamp": ("SET timestamp = UNIX_TIMESTAMP('2020-02-02 02:02:02')", "UPDATE users SET score = 3",
                  "INSERT INTO posts (note) VALUES (NOW())", "SET timestamp = DEFAULT",
                  "INSERT INTO posts (author) VALUES (YEAR(NOW()) > 2020)"),
    "insert_id": ("SET insert_id = 500", "UPDATE users SET score = 1",
                  "INSERT INTO users (name) VALUES ('forced')", "INSERT INTO users (name) VALUES ('next')",
                  LOG.format("LAST_INSERT_ID()", "x")),
    "temporary": ("CREATE TEMPORARY TABLE pile AS SELECT id FROM users", "DELETE FROM users WHERE id = 7",
                  "INSERT INTO posts (author, note) SELECT id, 'piled' FROM pile",
                  "DROP TEMPORARY TABLE pile", LOG.format("1", "after")),
}  # fmt: skip
MARIADB: dict[str, tuple[str, ...]] = {
    "sequences": ("CREATE SEQUENCE ids START WITH 30 INCREMENT BY 3",
                  "INSERT INTO posts (author, note) VALUES (NEXT VALUE FOR ids, 'next')",
                  "UPDATE users SET score = 1", LOG.format("LASTVAL(ids)", "last"),
                  LOG.format("PREVIOUS VALUE FOR ids", "previous"),
                  LOG.format("NEXTVAL(ids)", "next"), LOG.format("LASTVAL(`ids`)", "last")),
    "seeds": ("SET rand_seed1 = 11, rand_seed2 = 12", "UPDATE users SET score = RAND() * 1000",
              "DELETE FROM users WHERE id = 7", "INSERT INTO posts (author) VALUES (RAND() * 100000)",
              "EXECUTE IMMEDIATE 'SET @im = 9'", "DELETE FROM users WHERE id = 8",
              LOG.format("@im", "immediate")),
}  # fmt: skip
