-- From form 6 to form 7: event keys that branch off, for hosts that were copied.
BEGIN;
CREATE TABLE branch (
    host BLOB NOT NULL REFERENCES host (id),
    -- From 1 on. The first branch of a host is 0; it has no row, and its keys are in epoch_key.
    number INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    -- The last epoch that it shares with its parent.
    fork_epoch INTEGER NOT NULL,
    name BLOB NOT NULL,
    begun INTEGER NOT NULL,
    -- 0: nobody has decided; 1: it is not the host; 2: it is the host.
    state INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (host, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE branch_key (
    host BLOB NOT NULL REFERENCES host (id),
    branch INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    body BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (host, branch, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX branch_key_of_epoch ON branch_key (host, epoch);
PRAGMA user_version = 7;
COMMIT;
