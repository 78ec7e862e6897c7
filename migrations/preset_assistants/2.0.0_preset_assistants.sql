-- Preset assistants expansion: categories, usage statistics, favorites, ratings and usage logs.
-- A database that has some of it already is completed: each step is skipped where it is done.

-- depends: 1.0.0

-- step: Step 1: Add category column to assistants table
-- skip-if: column assistants.category
ALTER TABLE assistants ADD COLUMN category TEXT;

-- step: Step 2: Add usage_count column to assistants table
-- skip-if: column assistants.usage_count
ALTER TABLE assistants ADD COLUMN usage_count INTEGER DEFAULT 0;

-- step: Step 3: Add rating column to assistants table
-- skip-if: column assistants.rating
ALTER TABLE assistants ADD COLUMN rating REAL DEFAULT 0.0;

-- step: Step 4: Create favorites table
-- skip-if: table favorites
CREATE TABLE favorites (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id TEXT NOT NULL,
  assistant_id TEXT NOT NULL,
  created_at TEXT NOT NULL,
  UNIQUE(user_id, assistant_id),
  FOREIGN KEY (assistant_id) REFERENCES assistants(id) ON DELETE CASCADE
);

-- step: Step 5: Create ratings table
-- skip-if: table ratings
CREATE TABLE ratings (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id TEXT NOT NULL,
  assistant_id TEXT NOT NULL,
  rating INTEGER NOT NULL CHECK(rating >= 1 AND rating <= 5),
  feedback TEXT,
  created_at TEXT NOT NULL,
  UNIQUE(user_id, assistant_id),
  FOREIGN KEY (assistant_id) REFERENCES assistants(id) ON DELETE CASCADE
);

-- step: Step 6: Create usage_logs table
-- skip-if: table usage_logs
CREATE TABLE usage_logs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id TEXT NOT NULL,
  assistant_id TEXT NOT NULL,
  duration INTEGER,
  created_at TEXT NOT NULL,
  FOREIGN KEY (assistant_id) REFERENCES assistants(id) ON DELETE CASCADE
);

-- step: Step 7: Create index on assistants.category
-- skip-if: index idx_assistants_category
CREATE INDEX idx_assistants_category ON assistants(category);

-- step: Step 8: Create index on assistants.rating
-- skip-if: index idx_assistants_rating
CREATE INDEX idx_assistants_rating ON assistants(rating);

-- step: Step 9: Create index on assistants.usage_count
-- skip-if: index idx_assistants_usage_count
CREATE INDEX idx_assistants_usage_count ON assistants(usage_count);

-- step: Step 10: Create index on favorites.user_id
-- skip-if: index idx_favorites_user
CREATE INDEX idx_favorites_user ON favorites(user_id);

-- step: Step 11: Create index on favorites.assistant_id
-- skip-if: index idx_favorites_assistant
CREATE INDEX idx_favorites_assistant ON favorites(assistant_id);

-- step: Step 12: Create index on ratings.assistant_id
-- skip-if: index idx_ratings_assistant
CREATE INDEX idx_ratings_assistant ON ratings(assistant_id);

-- step: Step 13: Create index on ratings.user_id
-- skip-if: index idx_ratings_user
CREATE INDEX idx_ratings_user ON ratings(user_id);

-- step: Step 14: Create index on usage_logs.assistant_id
-- skip-if: index idx_usage_logs_assistant
CREATE INDEX idx_usage_logs_assistant ON usage_logs(assistant_id);

-- step: Step 15: Create index on usage_logs.user_id
-- skip-if: index idx_usage_logs_user
CREATE INDEX idx_usage_logs_user ON usage_logs(user_id);

-- Columns that were there before this migration may have been added without a default.
-- step: Step 16: Set default values for existing assistants
UPDATE assistants
SET category = coalesce(category, '[]'),
    usage_count = coalesce(usage_count, 0),
    rating = coalesce(rating, 0.0)
WHERE category IS NULL OR usage_count IS NULL OR rating IS NULL;

-- step: Step 17: Record migration version 2.0.0
-- skip-if: sql: SELECT count(*) > 0 FROM migrations WHERE version = '2.0.0'
INSERT INTO migrations (version, name, description, applied_at)
VALUES ('2.0.0', 'preset_assistants',
        'Categories, usage statistics, favorites, ratings and usage logs',
        strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

-- migrate:down
-- Dropping columns needs SQLite 3.35; with an older one, roll back by the backup.
-- step: Remove the record of version 2.0.0
DELETE FROM migrations WHERE version = '2.0.0';
-- step: Drop index on usage_logs.user_id
DROP INDEX idx_usage_logs_user;
-- step: Drop index on usage_logs.assistant_id
DROP INDEX idx_usage_logs_assistant;
-- step: Drop index on ratings.user_id
DROP INDEX idx_ratings_user;
-- step: Drop index on ratings.assistant_id
DROP INDEX idx_ratings_assistant;
-- step: Drop index on favorites.assistant_id
DROP INDEX idx_favorites_assistant;
-- step: Drop index on favorites.user_id
DROP INDEX idx_favorites_user;
-- step: Drop index on assistants.usage_count
DROP INDEX idx_assistants_usage_count;
-- step: Drop index on assistants.rating
DROP INDEX idx_assistants_rating;
-- step: Drop index on assistants.category
DROP INDEX idx_assistants_category;
-- step: Drop usage_logs table
DROP TABLE usage_logs;
-- step: Drop ratings table
DROP TABLE ratings;
-- step: Drop favorites table
DROP TABLE favorites;
-- step: Drop rating column from assistants table
ALTER TABLE assistants DROP COLUMN rating;
-- step: Drop usage_count column from assistants table
ALTER TABLE assistants DROP COLUMN usage_count;
-- step: Drop category column from assistants table
ALTER TABLE assistants DROP COLUMN category;

-- migrate:verify
-- check: Assistants table structure
SELECT count(*) = 3 FROM pragma_table_info('assistants')
WHERE name IN ('category', 'usage_count', 'rating');
-- check: Favorites table exists
SELECT count(*) = 1 FROM sqlite_master WHERE type = 'table' AND name = 'favorites';
-- check: Ratings table exists
SELECT count(*) = 1 FROM sqlite_master WHERE type = 'table' AND name = 'ratings';
-- check: Usage logs table exists
SELECT count(*) = 1 FROM sqlite_master WHERE type = 'table' AND name = 'usage_logs';
-- check: All assistants have default values
SELECT count(*) = 0 FROM assistants WHERE usage_count IS NULL OR rating IS NULL;
-- check: Indexes created
SELECT count(*) = 9 FROM sqlite_master
WHERE type = 'index' AND name IN (
  'idx_assistants_category', 'idx_assistants_rating', 'idx_assistants_usage_count',
  'idx_favorites_user', 'idx_favorites_assistant',
  'idx_ratings_assistant', 'idx_ratings_user',
  'idx_usage_logs_assistant', 'idx_usage_logs_user'
);
