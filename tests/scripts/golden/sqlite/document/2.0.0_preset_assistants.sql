-- migrate:up
-- depends: 1.0
-- step: Add category column to assistants table
-- skip-if: column assistants.category
ALTER TABLE assistants ADD COLUMN category TEXT;

-- Words between a directive and its statement do no harm.
-- step: Create favorites table
-- skip-if: table favorites
-- redo-safe
CREATE TABLE favorites (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  assistant_id TEXT NOT NULL REFERENCES assistants(id) ON DELETE CASCADE
);
-- skip-if: sql: SELECT count(*) > 0 FROM favorites;
-- secret
INSERT INTO favorites (assistant_id) VALUES ('hidden');
-- skip-if: index idx_favorites_assistant
-- verify-step: SELECT count(*) = 1 FROM sqlite_master WHERE name = 'idx_favorites_assistant';
CREATE INDEX idx_favorites_assistant ON favorites (assistant_id);
-- skip-if: view favorite_count
CREATE VIEW favorite_count AS SELECT count(*) AS n FROM favorites;

-- migrate:down
DROP VIEW favorite_count;
DROP TABLE favorites;

-- migrate:verify
-- check: Favorites table exists
SELECT count(*) = 1 FROM sqlite_master WHERE name = 'favorites';
-- check: All assistants have default values
WITH wrong AS (SELECT 1 FROM assistants WHERE category = '')
SELECT count(*) = 0 FROM wrong;
SELECT 1;
