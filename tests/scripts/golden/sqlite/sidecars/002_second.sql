-- migrate:up
CREATE TABLE second (id INTEGER);
-- migrate:verify
SELECT 1;
