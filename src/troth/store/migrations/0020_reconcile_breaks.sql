-- Reconciliation, second part: differences, what became of them, and periods that are closed.
--
--   reconcile_break   what the two sides differ in, and how that stands   (a row for each subject, for ever)
--   reconcile_event   what happened to each break                        (append-only)
--   reconcile_period  which periods were closed, by whom                 (append-only)
--
-- A break is about a *subject*, which is the same in every run: so it is found again rather than found anew, keeps its age
-- and its owner, and may become another kind of difference.

CREATE TABLE troth_schema.reconcile_break (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reconciliation  text NOT NULL,
    subject         text NOT NULL,
    kind            text NOT NULL,
    state           text NOT NULL DEFAULT 'open',
    at              timestamptz NOT NULL,            -- when what it is about counts
    minor           bigint NOT NULL,                 -- money at risk
    currency        text NOT NULL,
    note            text NOT NULL,
    action          text NOT NULL,                   -- what is proposed
    evidence        jsonb NOT NULL,
    first_seen      timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen       timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_run        bigint NOT NULL,
    owner           text,
    until           timestamptz,                     -- of an accepted one: when that ends
    explained_by    text,
    explanation     text,
    correction      text,                            -- what was booked for it
    wanted          text,                            -- who wants it corrected; the program does it
    UNIQUE (reconciliation, subject),
    CHECK (state IN ('open', 'accepted', 'corrected', 'resolved')),
    CHECK (minor >= 0),
    CHECK (state <> 'accepted' OR until IS NOT NULL AND explained_by IS NOT NULL)
) WITH (fillfactor = 70);

CREATE INDEX reconcile_break_standing ON troth_schema.reconcile_break (reconciliation, at) WHERE state <> 'resolved';
CREATE INDEX reconcile_break_open ON troth_schema.reconcile_break (id) WHERE state <> 'resolved';
CREATE INDEX reconcile_break_until ON troth_schema.reconcile_break (until) WHERE state = 'accepted';
CREATE INDEX reconcile_break_wanted ON troth_schema.reconcile_break (reconciliation, id) WHERE wanted IS NOT NULL;

CREATE TABLE troth_schema.reconcile_event (
    break  bigint NOT NULL,
    n      integer NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    what   text NOT NULL,                            -- found, became, accepted, expired, reopened, owned, settled …
    run    bigint,
    by     text,
    kind   text NOT NULL,
    minor  bigint NOT NULL,
    state  text NOT NULL,
    note   text,
    PRIMARY KEY (break, n)
);

CREATE TABLE troth_schema.reconcile_period (
    reconciliation  text NOT NULL,
    until           timestamptz NOT NULL,
    since           timestamptz,                     -- null: from the beginning
    run             bigint NOT NULL,                 -- the one that was looked at
    result          bytea NOT NULL,
    accepted        integer NOT NULL,                -- breaks that are explained and not resolved
    prepared_by     text NOT NULL,
    approved_by     text NOT NULL,
    closed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    note            text,
    PRIMARY KEY (reconciliation, until),
    CHECK (prepared_by <> approved_by)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON troth_schema.reconcile_event
    FOR EACH ROW EXECUTE FUNCTION troth_schema.refuse_rewriting();
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON troth_schema.reconcile_event
    FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON troth_schema.reconcile_period
    FOR EACH ROW EXECUTE FUNCTION troth_schema.refuse_rewriting();
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON troth_schema.reconcile_period
    FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.refuse_rewriting();

CREATE FUNCTION troth_schema.reconcile_tell(p_break bigint, p_what text, p_run bigint, p_by text, p_note text) RETURNS void
LANGUAGE sql AS $$
    -- Add to the history of a break, as it stands now. Whoever does holds its row.
    INSERT INTO troth_schema.reconcile_event (break, n, what, run, by, kind, minor, state, note)
    SELECT b.id, (SELECT coalesce(max(e.n), 0) + 1 FROM troth_schema.reconcile_event e WHERE e.break = b.id),
           p_what, p_run, p_by, b.kind, b.minor, b.state, p_note
    FROM troth_schema.reconcile_break b WHERE b.id = p_break
$$;
