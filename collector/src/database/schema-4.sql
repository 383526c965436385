-- From form 3 to form 4: signed content and who may have it.
BEGIN;
CREATE TABLE content (
    kind INTEGER NOT NULL,
    version INTEGER NOT NULL,
    signed BLOB NOT NULL,
    added INTEGER NOT NULL,
    -- 1: every host may have it, those enrolled later too.
    everyone INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, version)
) STRICT;
CREATE TABLE content_release (
    kind INTEGER NOT NULL,
    version INTEGER NOT NULL,
    host BLOB NOT NULL,
    PRIMARY KEY (kind, version, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX content_release_of_host ON content_release (host, kind, version);
PRAGMA user_version = 4;
COMMIT;
