-- verify-step: DELETE FROM b
CREATE TABLE a (x INT);
