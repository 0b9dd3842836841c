-- One row per object, deleted ones included: this is the truth that an auditor reads.
CREATE TABLE IF NOT EXISTS object (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    type            TEXT NOT NULL,
    created         INTEGER NOT NULL,
    deleted         INTEGER NOT NULL DEFAULT 0,
    idempotency_key TEXT,
    body            TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS object_by_type ON object (type, seq);

-- What lists filter by and searches look for: the fields of an object that are indexed.
CREATE TABLE IF NOT EXISTS term (
    type  TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    seq   INTEGER NOT NULL REFERENCES object (seq),
    PRIMARY KEY (type, field, value, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS term_by_object ON term (seq);

-- The first answer to each idempotency key.
CREATE TABLE IF NOT EXISTS answer (
    api_key     TEXT NOT NULL,
    key         TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      INTEGER NOT NULL,
    body        BLOB NOT NULL,
    request_id  TEXT NOT NULL,
    created     INTEGER NOT NULL,
    PRIMARY KEY (api_key, key)
) WITHOUT ROWID;

-- How many requests there were: what the server did, and what the client was told.
CREATE TABLE IF NOT EXISTS request (
    endpoint TEXT NOT NULL,
    did      TEXT NOT NULL,
    told     TEXT NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (endpoint, did, told)
) WITHOUT ROWID;

-- The clock's distance from the machine's clock, in seconds.
CREATE TABLE IF NOT EXISTS clock (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    "offset" INTEGER NOT NULL
);
INSERT OR IGNORE INTO clock VALUES (1, 0);
