-- From form 5 to form 6: what hosts say that they have, for the fleet's prior.
BEGIN;
CREATE TABLE sketch (
    host BLOB PRIMARY KEY REFERENCES host (id),
    taken INTEGER NOT NULL,
    -- Sorted, each once: context u64 le, value u64 le.
    pairs BLOB NOT NULL
) STRICT;
PRAGMA user_version = 6;
COMMIT;
