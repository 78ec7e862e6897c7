PRAGMA foreign_keys=off;
-- step: Start
BEGIN TRANSACTION;
-- step: Make the new table
CREATE TABLE new_parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
INSERT INTO new_parent SELECT id, name FROM parent;
DROP TABLE parent;
SAVEPOINT half;
ALTER TABLE new_parent RENAME TO parent;
ROLLBACK TRANSACTION TO half;
RELEASE half;
PRAGMA user_version = 4;
PRAGMA page_size = 8192;
PRAGMA foreign_key_check;
COMMIT;
PRAGMA foreign_keys=on;
