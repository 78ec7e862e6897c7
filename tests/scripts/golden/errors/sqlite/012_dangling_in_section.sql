-- migrate:up
SELECT 1;
-- redo-safe
-- migrate:down
SELECT 2;
