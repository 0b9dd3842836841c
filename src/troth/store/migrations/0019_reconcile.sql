-- Reconciliation, first part: what was read, and what was found to be the same.
--
--   reconcile        which reconciliations programs declare          (a row each, confirmed by workers)
--   reconcile_run    which comparisons were asked for, how far they are, what they came to   (a row each, kept)
--   reconcile_page   which parts of a feed were read, and what they said of completeness     (kept)
--   reconcile_item   the items that were read                        (a partition for each run; the last runs of each are kept)
--   reconcile_match  what a rule has found to be the same, and why   (kept; what a key says is not written down again)
--
-- Items are staged before anything is compared: so a run that was killed goes on where it was, its result can be computed
-- again from the same input, and neither side has to fit into memory.
--
-- A run is held by a lease: `turn` grows with every taking up, and is compared in each transaction that writes for the run.
-- So of two that work at it, also by mistake, one writes.

CREATE TABLE troth_schema.reconcile (
    name      text PRIMARY KEY,
    ours      text NOT NULL,
    theirs    text NOT NULL,
    every     interval,                              -- null: only when somebody asks
    lookback  interval NOT NULL,
    margin    interval NOT NULL,
    seen_at   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);

CREATE TABLE troth_schema.reconcile_run (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reconciliation  text NOT NULL,
    since           timestamptz NOT NULL,
    until           timestamptz NOT NULL,
    margin          interval NOT NULL,
    asked_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked_by        text,                            -- null: it was due
    note            text,
    phase           text NOT NULL DEFAULT 'asked',
    turn            integer NOT NULL DEFAULT 0,      -- the fencing token of whoever works at it
    held_until      timestamptz NOT NULL DEFAULT '-infinity',
    due_at          timestamptz NOT NULL DEFAULT '-infinity',
    failures        integer NOT NULL DEFAULT 0,
    error           text,
    began_at        timestamptz,
    ended_at        timestamptz,
    readings        smallint[] NOT NULL DEFAULT '{1,1}',  -- of ours and theirs: 2 while or after it is read again
    rules           jsonb,
    ours            jsonb,                           -- the feeds, once they are read
    theirs          jsonb,
    verdict         text,
    counts          jsonb,
    result          bytea,                           -- a digest of all that was found
    CHECK (since < until),
    CHECK ((ended_at IS NULL) = (verdict IS NULL))
) WITH (fillfactor = 50);

-- One at a time.
CREATE UNIQUE INDEX reconcile_run_alive ON troth_schema.reconcile_run (reconciliation) WHERE ended_at IS NULL;
CREATE INDEX reconcile_run_latest ON troth_schema.reconcile_run (reconciliation, id);

CREATE TABLE troth_schema.reconcile_page (
    run      bigint NOT NULL,
    side     smallint NOT NULL,                      -- 1 ours, 2 theirs
    n        integer NOT NULL,
    cursor   text,
    next     text,
    digest   bytea NOT NULL,
    said     jsonb NOT NULL,
    checked  boolean NOT NULL DEFAULT false,         -- it gave the same when it was read again
    PRIMARY KEY (run, side, n)
);

CREATE TABLE troth_schema.reconcile_item (
    run        bigint NOT NULL,
    side       smallint NOT NULL,
    n          integer NOT NULL,
    id         text COLLATE "C" NOT NULL,
    key        text COLLATE "C",
    amount     bigint NOT NULL,
    fee        bigint NOT NULL,
    currency   text COLLATE "C" NOT NULL,
    standing   smallint NOT NULL,
    at         timestamptz NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    reference  text COLLATE "C" NOT NULL,
    "group"    text COLLATE "C" NOT NULL,
    evidence   text NOT NULL
) PARTITION BY LIST (run);

CREATE TABLE troth_schema.reconcile_match (
    run      bigint NOT NULL,
    n        integer NOT NULL,
    rule     text NOT NULL,
    version  integer NOT NULL,
    ours     integer[] NOT NULL,
    theirs   integer[] NOT NULL,
    why      text NOT NULL,
    PRIMARY KEY (run, n)
);

CREATE FUNCTION troth_schema.reconcile_open(p_run bigint) RETURNS void
LANGUAGE plpgsql AS $$
-- Make room for the items of a run; nothing, if there is.
BEGIN
    IF to_regclass(format('troth_schema.reconcile_item_%s', p_run)) IS NULL THEN
        -- ATTACH locks the parent less than CREATE ... PARTITION OF: other runs go on meanwhile.
        EXECUTE format('CREATE TABLE troth_schema.reconcile_item_%s (LIKE troth_schema.reconcile_item INCLUDING ALL, CHECK (run = %s))',
            p_run, p_run);
        EXECUTE format('ALTER TABLE troth_schema.reconcile_item ATTACH PARTITION troth_schema.reconcile_item_%s FOR VALUES IN (%s)',
            p_run, p_run);
    END IF;
END $$;

CREATE FUNCTION troth_schema.reconcile_sorted(p_run bigint) RETURNS void
LANGUAGE plpgsql AS $$
-- Everything is staged: let the planner know, and let items be found by their places.
BEGIN
    EXECUTE format('CREATE UNIQUE INDEX IF NOT EXISTS reconcile_item_%s_place ON troth_schema.reconcile_item_%s (side, n)', p_run, p_run);
    EXECUTE format('ANALYZE troth_schema.reconcile_item_%s', p_run);
END $$;

CREATE FUNCTION troth_schema.reconcile_once(p_run bigint, p_side smallint) RETURNS text[]
LANGUAGE plpgsql AS $$
-- Of items that a side gave more than once, the first is kept; the ids of these, up to a hundred.
DECLARE
    twice text[];
BEGIN
    CREATE TEMP TABLE reconcile_twice ON COMMIT DROP AS
        SELECT i.id, min(i.n) AS first FROM troth_schema.reconcile_item i
        WHERE i.run = p_run AND i.side = p_side GROUP BY i.id HAVING count(*) > 1;
    DELETE FROM troth_schema.reconcile_item i USING pg_temp.reconcile_twice t
    WHERE i.run = p_run AND i.side = p_side AND i.id = t.id AND i.n > t.first;
    SELECT coalesce(array_agg(l.id ORDER BY l.id), '{}') INTO twice
    FROM (SELECT t.id FROM pg_temp.reconcile_twice t ORDER BY t.id LIMIT 100) l;
    DROP TABLE pg_temp.reconcile_twice;
    RETURN twice;
END $$;

CREATE FUNCTION troth_schema.reconcile_forget(p_reconciliation text, p_keep integer) RETURNS integer
LANGUAGE plpgsql
-- A DROP waits for whoever reads, and everybody waits for the DROP: rather fail, and be called again.
SET lock_timeout = '1s'
AS $$
-- Forget the items of ended runs, but for the latest; what they came to is kept.
DECLARE
    old bigint;
    gone integer := 0;
BEGIN
    FOR old IN
        SELECT r.id FROM troth_schema.reconcile_run r
        WHERE r.reconciliation = p_reconciliation AND r.ended_at IS NOT NULL ORDER BY r.id DESC OFFSET p_keep
    LOOP
        IF to_regclass(format('troth_schema.reconcile_item_%s', old)) IS NOT NULL THEN
            EXECUTE format('DROP TABLE troth_schema.reconcile_item_%s', old);
            gone := gone + 1;
        END IF;
    END LOOP;
    RETURN gone;
END $$;

CREATE FUNCTION troth_schema.reconcile_fee(amount bigint, numerator bigint, denominator bigint, fixed bigint) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- What is expected of the other side to keep: rounded half up, as `FeeTerms.of` computes it.
    SELECT div(2 * abs(amount::numeric) * numerator + denominator, 2 * denominator::numeric) + fixed
$$;
