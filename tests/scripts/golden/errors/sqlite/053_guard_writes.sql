-- skip-if: sql: DELETE FROM b
CREATE TABLE a (x);
