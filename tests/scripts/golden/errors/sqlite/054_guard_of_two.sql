-- skip-if: sql: SELECT 1; DROP TABLE b
CREATE TABLE a (x);
