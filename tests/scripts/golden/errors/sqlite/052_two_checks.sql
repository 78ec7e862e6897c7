CREATE TABLE a (x);
-- migrate:verify
-- check: One
-- SELECT 0;
-- check: Two
SELECT 1;
