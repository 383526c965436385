-- From form 1 to form 2.
BEGIN;
CREATE TABLE checkpoint (
    number INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    signature BLOB NOT NULL,
    cursor BLOB NOT NULL
) STRICT;
CREATE TRIGGER checkpoint_is_never_changed BEFORE UPDATE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'checkpoints only grow'); END;
CREATE TRIGGER checkpoint_is_never_cut BEFORE DELETE ON checkpoint
BEGIN SELECT RAISE(ABORT, 'checkpoints only grow'); END;
PRAGMA user_version = 2;
COMMIT;
