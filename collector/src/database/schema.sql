-- Times are nanoseconds since 1970. Identifiers, keys and hashes are exact bytes.
BEGIN;
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
CREATE TABLE operator (
    name TEXT PRIMARY KEY,
    signing_key BLOB NOT NULL,
    added INTEGER NOT NULL
) STRICT;
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    host_group TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    revoked INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
CREATE TABLE host (
    id BLOB PRIMARY KEY,
    event_key BLOB NOT NULL,
    name TEXT NOT NULL,
    host_group TEXT NOT NULL,
    token TEXT NOT NULL,
    enrolled INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0,
    facts BLOB NOT NULL,
    heartbeat BLOB,
    last_seen INTEGER NOT NULL DEFAULT 0,
    host_epoch INTEGER NOT NULL DEFAULT 0
) STRICT;
-- Epoch keys. Epoch 0 is the host's event_key and stands here with an empty body.
CREATE TABLE epoch_key (
    host BLOB NOT NULL REFERENCES host (id),
    epoch INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    body BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (host, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE command (
    id BLOB PRIMARY KEY,
    signed BLOB NOT NULL,
    action TEXT NOT NULL,
    requester TEXT NOT NULL,
    reason TEXT NOT NULL,
    submitted INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX command_submitted ON command (submitted);
CREATE TABLE command_host (
    command BLOB NOT NULL REFERENCES command (id),
    host BLOB NOT NULL REFERENCES host (id),
    delivered INTEGER NOT NULL DEFAULT 0,
    receipt BLOB,
    received INTEGER NOT NULL DEFAULT 0,
    final INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (command, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX command_host_open ON command_host (host) WHERE final = 0;
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END;
PRAGMA user_version = 1;
COMMIT;
