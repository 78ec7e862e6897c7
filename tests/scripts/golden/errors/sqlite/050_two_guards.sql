-- skip-if: table b
-- skip-if: table c
CREATE TABLE a (x);
