-- migrate:sync
-- skip-if: table t
CREATE TABLE t (id INT);
