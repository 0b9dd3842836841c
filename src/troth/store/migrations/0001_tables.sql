-- The tables of the journal, by the question that each answers:
--
--   worker        which processes may write now            (a row is never reused; takeover deletes it)
--   worker_gone   which of them died with work unreleased  (any peer finishes the release)
--   mark          which flushes have committed, and what they answered
--   start_key     which run a start key belongs to         (one unpartitioned table, so a key is unique for ever)
--   run           what is going on                         (the hot set: small, however long the history)
--   run_history   what has ended                           (append-only, partitioned by run id = by time)
--   journal       what happened inside each run            (append-only, partitioned by run id)
--   message       what was said to a run and not yet heard (cancellations too)
--   message_once  which messages had a key of their own    (so that it is one message; forgotten with the run)
--   run_waiter    which runs wait for the ends of which  (a message tells them; forgotten with the end)
--   run_progress  how far runs say that they are           (beside the hot row; not replayed; forgotten with the run)

CREATE TYPE troth_schema.run_state AS ENUM
    ('ready', 'running', 'waiting', 'undoing', 'attention', 'succeeded', 'failed', 'cancelled');

CREATE TABLE troth_schema.worker (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    executes    boolean NOT NULL,               -- false: a client, which starts runs and never claims one
    workflows   text[] NOT NULL,                -- what it can execute, with versions; only people ask
    lease_s     real NOT NULL,                  -- peers take over after this long without a beat
    beat        bigint NOT NULL DEFAULT 0,
    beat_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

CREATE TABLE troth_schema.worker_gone (
    id       bigint PRIMARY KEY,
    name     text NOT NULL,
    gone_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE troth_schema.mark (
    worker  bigint NOT NULL,
    n       bigint NOT NULL,
    reply   jsonb,
    asked   integer NOT NULL DEFAULT 1,         -- written again when the flush is sent again, see flush()
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (worker, n)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE troth_schema.start_key (
    key     text PRIMARY KEY,
    run_id  uuid NOT NULL,
    digest  bytea NOT NULL                      -- of workflow and input: the same key must mean the same request
);

CREATE TABLE troth_schema.run (
    id          uuid PRIMARY KEY,
    workflow    text NOT NULL,
    key         text,
    input       bytea NOT NULL,
    state       troth_schema.run_state NOT NULL,
    owner       bigint,                         -- worker.id; null: nobody is working on it
    claim       integer NOT NULL DEFAULT 0,     -- grows with every claim: the fencing token of step transactions
    wake_at     timestamptz NOT NULL,           -- when it may be claimed; infinity: only a message or a person wakes it
    starts_at   timestamptz NOT NULL,           -- when it was to begin; when it was made is in its id
    reason      text,                           -- why it stands in attention
    detail      bytea,
    queue       text COLLATE "C",               -- null: none, and so are the next two
    partition   text COLLATE "C",               -- whose run it is, for fairness; '' if nobody said
    priority    smallint,                       -- smaller is sooner
    in_line     boolean NOT NULL DEFAULT false, -- it has a queue, is due, and nobody is working on it
    parent      uuid,                           -- the run that has started it
    deadline    timestamptz                     -- it fails if it has not ended by then
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1);

-- Without a queue, a run is in the first of these alone. With one it is asleep, then in line, then in hand.
CREATE INDEX run_claimable ON troth_schema.run (wake_at, id) WHERE owner IS NULL AND queue IS NULL;
CREATE INDEX run_asleep ON troth_schema.run (wake_at) WHERE owner IS NULL AND queue IS NOT NULL AND NOT in_line;
CREATE INDEX run_in_line ON troth_schema.run (queue, priority, partition, wake_at, id) WHERE in_line;
CREATE INDEX run_of_parent ON troth_schema.run (parent) WHERE parent IS NOT NULL;
CREATE INDEX run_in_hand ON troth_schema.run (queue, partition) WHERE owner IS NOT NULL AND queue IS NOT NULL;

CREATE TABLE troth_schema.run_history (
    id          uuid NOT NULL,
    workflow    text NOT NULL,
    key         text,
    input       bytea NOT NULL,
    state       troth_schema.run_state NOT NULL,
    claim       integer NOT NULL,
    starts_at   timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome     bytea,                          -- the result, or {"type", "message", "args"} of the business error
    queue       text COLLATE "C",
    partition   text COLLATE "C",
    priority    smallint,
    parent      uuid,
    continued   uuid,                           -- it went on as this run: what is to be known of its end is known of that one's
    owes        boolean NOT NULL DEFAULT false, -- it did what its parent must undo if that fails
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX run_history_of_parent ON troth_schema.run_history (parent) WHERE parent IS NOT NULL;

CREATE TABLE troth_schema.journal (
    run_id   uuid NOT NULL,
    path     text NOT NULL,                     -- structural: branch, name, occurrence
    kind     smallint NOT NULL,                 -- 1 intent, 2 result, 3 wait, 4 failed attempt, 5 decision, 6 evidence, 7 child, 8 patch
    attempt  smallint NOT NULL,
    seq      integer,                           -- the order in which results were delivered to the workflow
    ok       boolean,                           -- of a result: false is a business error
    digest   bytea,                             -- of the arguments
    payload  bytea,
    at       timestamptz NOT NULL,
    PRIMARY KEY (run_id, path, kind, attempt)
) PARTITION BY RANGE (run_id);

CREATE TABLE troth_schema.message (
    id       uuid PRIMARY KEY,
    run_id   uuid,
    key      text,                              -- of a run that has not started yet
    topic    text NOT NULL,
    payload  bytea NOT NULL,
    sent_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((run_id IS NULL) <> (key IS NULL))
);
CREATE INDEX message_run ON troth_schema.message (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX message_key ON troth_schema.message (key) WHERE key IS NOT NULL;

CREATE TABLE troth_schema.message_once (
    addressee  text NOT NULL,                   -- '=' and the run's start key, or its id: one name for one run
    topic      text NOT NULL,
    key        text NOT NULL,
    digest     bytea NOT NULL,
    PRIMARY KEY (addressee, topic, key)
);

CREATE TABLE troth_schema.run_waiter (
    run     uuid NOT NULL,
    waiter  uuid NOT NULL,                      -- a run that wants to hear of the end of the other
    path    text NOT NULL,                      -- its call that waits
    PRIMARY KEY (run, waiter, path)
);

CREATE TABLE troth_schema.run_progress (
    run_id    uuid PRIMARY KEY,
    position  bigint NOT NULL,                  -- in the order of deliveries: a replay does not move it back
    payload   bytea NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);


-- Partitions --------------------------------------------------------------------------------------------------------

CREATE FUNCTION troth_schema.first_id(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    -- The smallest run id of a moment: its milliseconds, then zeros.
    SELECT rpad(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

CREATE FUNCTION troth_schema.ensure_partitions(since timestamptz, until timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    week timestamptz := date_trunc('week', since, 'UTC');
    parent text;
    child text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('troth_schema.partitions', 0));
    WHILE week <= until LOOP
        FOREACH parent IN ARRAY ARRAY['journal', 'run_history'] LOOP
            child := parent || '_' || to_char(week AT TIME ZONE 'UTC', 'IYYY"w"IW');
            IF to_regclass(format('troth_schema.%I', child)) IS NULL THEN
                -- ATTACH locks the parent less than CREATE ... PARTITION OF: flushes go on meanwhile.
                EXECUTE format('CREATE TABLE troth_schema.%I (LIKE troth_schema.%I INCLUDING ALL)', child, parent);
                EXECUTE format('ALTER TABLE troth_schema.%I ATTACH PARTITION troth_schema.%I FOR VALUES FROM (%L) TO (%L)',
                    parent, child, troth_schema.first_id(week), troth_schema.first_id(week + interval '7 days'));
                made := made + 1;
            END IF;
        END LOOP;
        week := week + interval '7 days';
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION troth_schema.drop_partitions(before timestamptz) RETURNS text[]
LANGUAGE plpgsql
-- A DROP queues behind an open reader, and every flush behind the DROP: rather fail, and be called again.
SET lock_timeout = '1s'
AS $$
-- Forget whole weeks that ended before the given moment. A week in which a run is still alive stays: its journal is
-- needed to go on. Keys are forgotten with their runs, so they may be used anew.
DECLARE
    week timestamptz;
    child text;
    dropped text[] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('troth_schema.partitions', 0));
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'troth_schema.journal'::regclass ORDER BY c.relname
    LOOP
        week := to_date(right(child, 7), 'IYYY"w"IW')::timestamp AT TIME ZONE 'UTC';
        CONTINUE WHEN week + interval '7 days' > before;
        CONTINUE WHEN EXISTS (
            SELECT 1 FROM troth_schema.run r
            WHERE r.id >= troth_schema.first_id(week) AND r.id < troth_schema.first_id(week + interval '7 days'));
        EXECUTE format('DROP TABLE troth_schema.%I', child);
        EXECUTE format('DROP TABLE IF EXISTS troth_schema.%I', replace(child, 'journal', 'run_history'));
        DELETE FROM troth_schema.start_key k
        WHERE k.run_id >= troth_schema.first_id(week) AND k.run_id < troth_schema.first_id(week + interval '7 days');
        dropped := dropped || child;
    END LOOP;
    RETURN dropped;
END $$;

SELECT troth_schema.ensure_partitions(clock_timestamp() - interval '7 days', clock_timestamp() + interval '28 days');
