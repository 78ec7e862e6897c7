-- The schema before the preset assistants expansion: what an initialised database holds.
-- Databases that hold these tables already keep them: each step is skipped where it is done.
-- A rollback leaves out the down steps of what was skipped, so that these tables stay.

-- step: Create assistants table
-- skip-if: table assistants
CREATE TABLE assistants (
  id TEXT PRIMARY KEY NOT NULL,
  title TEXT NOT NULL,
  "desc" TEXT NOT NULL DEFAULT '',
  emoji TEXT,
  prompt TEXT NOT NULL,
  -- A JSON array of strings.
  tags TEXT NOT NULL DEFAULT '[]',
  status TEXT NOT NULL DEFAULT 'draft'
    CHECK (status IN ('draft', 'pending', 'published', 'rejected', 'archived')),
  author TEXT NOT NULL DEFAULT 'system',
  version INTEGER NOT NULL DEFAULT 1,
  is_public INTEGER NOT NULL DEFAULT 0 CHECK (is_public IN (0, 1)),
  -- Times are ISO 8601 in UTC.
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  submitted_at TEXT,
  reviewed_at TEXT,
  reviewed_by TEXT,
  review_note TEXT,
  published_at TEXT
);

-- step: Create backups table
-- skip-if: table backups
CREATE TABLE backups (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  file_name TEXT NOT NULL UNIQUE,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  checksum TEXT,
  note TEXT,
  created_at TEXT NOT NULL
);

-- The application's own record of its schema, for its own queries.
-- What ran when, and what is pending, is in the ledger.
-- step: Create migrations table
-- skip-if: table migrations
CREATE TABLE migrations (
  version TEXT PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  applied_at TEXT NOT NULL
);

-- step: Record migration version 1.0.0
-- skip-if: sql: SELECT count(*) > 0 FROM migrations WHERE version = '1.0.0'
INSERT INTO migrations (version, name, description, applied_at)
VALUES ('1.0.0', 'base_schema', 'Assistants, backups and migrations tables',
        strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));

-- migrate:down
-- step: Remove the record of version 1.0.0
DELETE FROM migrations WHERE version = '1.0.0';
-- step: Drop migrations table
DROP TABLE migrations;
-- step: Drop backups table
DROP TABLE backups;
-- step: Drop assistants table
DROP TABLE assistants;

-- migrate:verify
-- check: Assistants table exists
SELECT count(*) = 1 FROM sqlite_master WHERE type = 'table' AND name = 'assistants';
-- check: Backups table exists
SELECT count(*) = 1 FROM sqlite_master WHERE type = 'table' AND name = 'backups';
-- check: Migration 1.0.0 is recorded
SELECT count(*) = 1 FROM migrations WHERE version = '1.0.0';
