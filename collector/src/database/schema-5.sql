-- From form 4 to form 5: which host was which before, by a person's signature.
BEGIN;
CREATE TABLE host_replacement (
    host BLOB PRIMARY KEY REFERENCES host (id),
    predecessor BLOB NOT NULL UNIQUE REFERENCES host (id),
    signed BLOB NOT NULL,
    added INTEGER NOT NULL
) STRICT;
PRAGMA user_version = 5;
COMMIT;
