-- step: One
-- step: Two
CREATE TABLE a (x);
