-- migrate:up
SELECT 1;
-- migrate:verify
DELETE FROM t;
