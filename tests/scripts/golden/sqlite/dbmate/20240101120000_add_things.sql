-- migrate:up transaction:false
PRAGMA foreign_keys = OFF;
VACUUM;
BEGIN;
CREATE TABLE things (id INTEGER)
-- migrate:down
DROP TABLE things
