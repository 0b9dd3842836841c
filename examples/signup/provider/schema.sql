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
    mark  INTEGER NOT NULL DEFAULT 0,   -- given by the server: no field of the object, and kept when that changes
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

-- What the clock will bring: one row for each thing that is to happen to an object.
CREATE TABLE IF NOT EXISTS due (
    object TEXT NOT NULL,
    what   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (object, what)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due_by_time ON due (at);

-- The secrets of webhook endpoints, which the API shows only once.
CREATE TABLE IF NOT EXISTS secret (
    endpoint TEXT PRIMARY KEY,
    secret   TEXT NOT NULL
) WITHOUT ROWID;

-- What is to be paid to the bank. `tried`: an attempt has begun, so the bank is asked before the next one.
CREATE TABLE IF NOT EXISTS wire (
    payout TEXT PRIMARY KEY,
    tried  INTEGER NOT NULL DEFAULT 0,
    done   INTEGER NOT NULL DEFAULT 0
);

-- Each event on its way to each endpoint. Times are the machine's, as receivers compare them with theirs.
-- state: new (its fate is not drawn yet), waiting, held, delivered, dropped, failed, skipped
CREATE TABLE IF NOT EXISTS delivery (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    event    TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    copy     INTEGER NOT NULL DEFAULT 1,
    state    TEXT NOT NULL DEFAULT 'new',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at  REAL NOT NULL DEFAULT 0,
    answer   INTEGER
);
CREATE INDEX IF NOT EXISTS delivery_by_state ON delivery (state, next_at, seq);
CREATE INDEX IF NOT EXISTS delivery_by_event ON delivery (event);
