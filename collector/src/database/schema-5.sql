-- From form 4 to form 5: which host was which before, by a person's signature; rings of commands.
BEGIN;
CREATE TABLE host_replacement (
    host BLOB PRIMARY KEY REFERENCES host (id),
    predecessor BLOB NOT NULL UNIQUE REFERENCES host (id),
    signed BLOB NOT NULL,
    added INTEGER NOT NULL
) STRICT;
-- The last ring that began, and the word of who asked that it did.
ALTER TABLE command ADD COLUMN ring INTEGER NOT NULL DEFAULT 0;
ALTER TABLE command ADD COLUMN start BLOB;
PRAGMA user_version = 5;
COMMIT;
