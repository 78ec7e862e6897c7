-- migrate:up
SELECT 1;
-- migrate:verify
-- redo-safe
SELECT 1;
