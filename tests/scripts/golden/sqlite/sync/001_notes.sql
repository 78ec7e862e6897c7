-- migrate:sync
CREATE TABLE notes (
  id INTEGER PRIMARY KEY,
  body TEXT NOT NULL DEFAULT '', -- what was written
  CHECK (length(body) < 1000)
);
CREATE UNIQUE INDEX IF NOT EXISTS notes_body ON notes (body) WHERE body <> '';
