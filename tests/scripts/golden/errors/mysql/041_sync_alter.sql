-- migrate:sync
CREATE TABLE t (id INT);
ALTER TABLE t ADD COLUMN a INT;
