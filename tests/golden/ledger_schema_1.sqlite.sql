-- A ledger of schema 1 in SQLite, as it was made. Never change this file.
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY,
    stream    TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    event_id  TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    at        TEXT    NOT NULL,
    run       TEXT    NOT NULL,
    actor     TEXT    NOT NULL,
    tenant    TEXT,
    body      TEXT    NOT NULL,
    prev_hash TEXT    NOT NULL,
    hash      TEXT    NOT NULL,
    UNIQUE (stream, version),
    UNIQUE (event_id)
);
CREATE TABLE head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash TEXT    NOT NULL
);
CREATE TABLE scripts (
    sha256    TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    content   TEXT NOT NULL
);
CREATE TABLE projections (
    name  TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    state BLOB    NOT NULL,
    seq   INTEGER NOT NULL,
    PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES
    ('created_at', '2026-11-21T23:10:04.120311Z');
INSERT INTO meta (key, value) VALUES
    ('ledger_id', '00112233445566778899aabbccddeeff');
INSERT INTO meta (key, value) VALUES
    ('projection_seq:p', '1');
INSERT INTO meta (key, value) VALUES
    ('schema', '1');
INSERT INTO head (id, seq, hash) VALUES
    (1, 2, '3f6197c27a29bfff6742aa37857341fd1a9bff6188b8e11d7d75894a1fbee67f');
INSERT INTO scripts (sha256, algorithm, content) VALUES
    ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'sha256', 'SELECT 1');
INSERT INTO projections (name, key, state, seq) VALUES
    ('p', 'k', X'7b7d', 1);
INSERT INTO events (seq, stream, version, event_id, type, at, run, actor, tenant, body, prev_hash, hash) VALUES
    (1, 'run/run-1', 1, 'e0', 'lease_renewed', '2026-11-22T01:14:38.028092Z', 'run-1', 'ana@build-7', NULL, '{"type":"lease_renewed","schema":1,"lease_seconds":30}', '0000000000000000000000000000000000000000000000000000000000000000', '565694c08c46b144feeb81d55ef9ce37496b04ca8d00aaca91a9506dc1688eef');
INSERT INTO events (seq, stream, version, event_id, type, at, run, actor, tenant, body, prev_hash, hash) VALUES
    (2, 'tenant/acme', 1, 'e1', 'validated', '2026-11-22T01:14:38.028774Z', 'run-1', 'ana@build-7', 'acme', '{"type":"validated","schema":1,"passed":true,"checks":[{"name":"it''s fine","passed":true}]}', '565694c08c46b144feeb81d55ef9ce37496b04ca8d00aaca91a9506dc1688eef', '3f6197c27a29bfff6742aa37857341fd1a9bff6188b8e11d7d75894a1fbee67f');
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE on events is refused'); END;
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE on events is refused'); END;
CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events
WHEN NEW.seq <= (SELECT seq FROM head)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: REPLACE on events is refused'); END;
CREATE TRIGGER scripts_refuse_update BEFORE UPDATE ON scripts
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE on scripts is refused'); END;
CREATE TRIGGER scripts_refuse_delete BEFORE DELETE ON scripts
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE on scripts is refused'); END;
CREATE TRIGGER scripts_keep_first BEFORE INSERT ON scripts
WHEN EXISTS (SELECT 1 FROM scripts WHERE sha256 = NEW.sha256)
BEGIN SELECT RAISE(IGNORE); END;
COMMIT;
