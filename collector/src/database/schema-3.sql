-- From form 2 to form 3: approvals, trust roots, signed audit entries.
BEGIN;
-- 1: waits for approvals and is handed to nobody.
ALTER TABLE command ADD COLUMN requested INTEGER NOT NULL DEFAULT 0;
-- When the last approval came that it waited for; 0: it waited for none.
ALTER TABLE command ADD COLUMN approved INTEGER NOT NULL DEFAULT 0;
-- When it was denied; 0: never.
ALTER TABLE command ADD COLUMN denied INTEGER NOT NULL DEFAULT 0;
-- The signed denial or cancellation.
ALTER TABLE command ADD COLUMN ended BLOB;
-- 1: went out on one person's word and counts towards what they may do in an hour.
ALTER TABLE command ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN proof BLOB;
CREATE TABLE trust_root (
    version INTEGER PRIMARY KEY,
    signed BLOB NOT NULL,
    added INTEGER NOT NULL
) STRICT;
CREATE TRIGGER trust_root_is_never_changed BEFORE UPDATE ON trust_root
BEGIN SELECT RAISE(ABORT, 'trust roots only follow'); END;
CREATE TRIGGER trust_root_is_never_cut BEFORE DELETE ON trust_root
BEGIN SELECT RAISE(ABORT, 'trust roots only follow'); END;
PRAGMA user_version = 3;
COMMIT;
