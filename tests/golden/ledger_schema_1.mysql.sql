-- A ledger of schema 1 on MySQL or MariaDB, as it was made. Never change this file.
CREATE TABLE IF NOT EXISTS meta (
    `key` VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    value VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE TABLE IF NOT EXISTS head (
    id   TINYINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT NOT NULL,
    hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE TABLE IF NOT EXISTS scripts (
    sha256    CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    algorithm VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    content   LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE TABLE IF NOT EXISTS projections (
    name    VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    `key`   VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    state   LONGBLOB NOT NULL,
    seq     BIGINT NOT NULL,
    PRIMARY KEY (name, `key`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE TABLE IF NOT EXISTS events (
    seq       BIGINT NOT NULL PRIMARY KEY,
    stream    VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    version   INT NOT NULL,
    event_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    type      VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at        CHAR(27) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    run       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    actor     VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    tenant    VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    body      LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    prev_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    hash      CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    UNIQUE KEY stream_version (stream, version),
    UNIQUE KEY event_id (event_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO meta (`key`, value) VALUES
    ('created_at', '2026-11-21T23:10:04.120311Z');
INSERT INTO meta (`key`, value) VALUES
    ('ledger_id', '00112233445566778899aabbccddeeff');
INSERT INTO meta (`key`, value) VALUES
    ('projection_seq:p', '1');
INSERT INTO meta (`key`, value) VALUES
    ('schema', '1');
INSERT INTO head (id, seq, hash) VALUES
    (1, 2, '8adb4a0126a5ec99d09cf358c3232bff3f64a0931a7def9073778072fbe09fff');
INSERT INTO scripts (sha256, algorithm, content) VALUES
    ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'sha256', 'SELECT 1');
INSERT INTO projections (name, `key`, state, seq) VALUES
    ('p', 'k', X'7b7d', 1);
INSERT INTO events (seq, stream, version, event_id, type, at, run, actor, tenant, body, prev_hash, hash) VALUES
    (1, 'run/run-1', 1, 'e0', 'lease_renewed', '2026-11-22T01:14:38.055040Z', 'run-1', 'ana@build-7', NULL, '{"type":"lease_renewed","schema":1,"lease_seconds":30}', '0000000000000000000000000000000000000000000000000000000000000000', 'eb814dffdec6e50610dd95feb3e3c38d8f7638f1b9548f9e846bfb207b2cb9d5');
INSERT INTO events (seq, stream, version, event_id, type, at, run, actor, tenant, body, prev_hash, hash) VALUES
    (2, 'tenant/acme', 1, 'e1', 'validated', '2026-11-22T01:14:38.056861Z', 'run-1', 'ana@build-7', 'acme', '{"type":"validated","schema":1,"passed":true,"checks":[{"name":"it''s fine","passed":true}]}', 'eb814dffdec6e50610dd95feb3e3c38d8f7638f1b9548f9e846bfb207b2cb9d5', '8adb4a0126a5ec99d09cf358c3232bff3f64a0931a7def9073778072fbe09fff');
CREATE TRIGGER IF NOT EXISTS events_refuse_update BEFORE UPDATE ON events
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: UPDATE on events is refused';
CREATE TRIGGER IF NOT EXISTS events_refuse_delete BEFORE DELETE ON events
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: DELETE on events is refused';
CREATE TRIGGER IF NOT EXISTS scripts_refuse_update BEFORE UPDATE ON scripts
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: UPDATE on scripts is refused';
CREATE TRIGGER IF NOT EXISTS scripts_refuse_delete BEFORE DELETE ON scripts
FOR EACH ROW SIGNAL SQLSTATE '45000'
SET MESSAGE_TEXT = 'the ledger is append-only: DELETE on scripts is refused';
