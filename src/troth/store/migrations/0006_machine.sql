-- State that is modelled: which state each object of a declared machine is in, and how it came there.
--
--   machine_object   where an object stands                       (a row each, updated by every change of it)
--   machine_history  every change, and every event that came late (append-only, numbered without a gap per object)
--
-- The machine itself is declared in code: which moves are legal is a parameter of each call. Whoever changes an object
-- holds its row, and looks for the cause in a statement after it got it: so a cause that two sessions bring at once is
-- applied by one, and found by the other. In REPEATABLE READ and SERIALIZABLE the second gets a serialization failure.

CREATE TABLE troth_schema.machine_object (
    machine  text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    state    text COLLATE "C" NOT NULL,
    version  bigint,                    -- the greatest that was brought; null: none yet
    seq      bigint NOT NULL,           -- of its latest entry in machine_history
    since    timestamptz NOT NULL,      -- when it came into this state
    PRIMARY KEY (machine, id)
) WITH (fillfactor = 80);
CREATE INDEX machine_object_state ON troth_schema.machine_object (machine, state, id);

CREATE TABLE troth_schema.machine_history (
    machine     text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    seq         bigint NOT NULL,        -- 1, 2, 3 … per object
    event       text COLLATE "C",       -- what was fired
    observed    text COLLATE "C",       -- or the state that another system said; null, too: the object was created
    from_state  text COLLATE "C",       -- null: there was no object
    to_state    text COLLATE "C" NOT NULL,  -- the state after it
    path        text[],                 -- of an observation: the events in between, which nobody has fired
    superseded  boolean NOT NULL,       -- a later version was known already: nothing changed
    version     bigint,                 -- that it brought
    cause       text COLLATE "C" NOT NULL,
    by          text,                   -- who
    why         text,
    data        jsonb,
    at          timestamptz NOT NULL,
    PRIMARY KEY (machine, id, seq),
    UNIQUE (machine, id, cause)         -- a cause counts once
);
CREATE INDEX machine_history_at ON troth_schema.machine_history USING brin (at);

CREATE FUNCTION troth_schema.machine_history_stays() RETURNS trigger
LANGUAGE plpgsql AS $$
-- Refuse any change of what is recorded, except by machine_forget.
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('troth.forgetting', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the history of machines is append-only: % is not possible', TG_OP
        USING ERRCODE = '55000', HINT = 'Old entries are forgotten by troth_schema.machine_forget.';
END $$;

CREATE TRIGGER stays BEFORE UPDATE OR DELETE ON troth_schema.machine_history
FOR EACH ROW EXECUTE FUNCTION troth_schema.machine_history_stays();
CREATE TRIGGER stays_whole BEFORE TRUNCATE ON troth_schema.machine_history
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.machine_history_stays();

CREATE FUNCTION troth_schema.machine_forget(p_machine text, p_before timestamptz, p_limit integer) RETURNS integer
LANGUAGE plpgsql SET troth.forgetting = 'on' AS $$
-- Forget up to p_limit entries of a machine that are older than a time; the latest entry of every object stays. Returns
-- how many. A cause that is forgotten is new if it comes again: keep history for longer than anybody delivers again.
DECLARE
    forgotten integer;
BEGIN
    DELETE FROM troth_schema.machine_history d USING (
        SELECT h.id, h.seq FROM troth_schema.machine_history h
        JOIN troth_schema.machine_object o ON o.machine = h.machine AND o.id = h.id
        WHERE h.machine = p_machine AND h.at < p_before AND h.seq < o.seq
        LIMIT p_limit) AS old
    WHERE d.machine = p_machine AND d.id = old.id AND d.seq = old.seq;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;

CREATE FUNCTION troth_schema.machine_move(
    p_machine text, p_id text,
    p_event text,       -- what is fired; or
    p_observed text,    -- the state that another system says; or neither: create
    p_begin text,       -- the state in which an object begins that is not there; null: it must be there
    p_moves jsonb,      -- legal moves: from each state to which
    p_paths jsonb,      -- the events on the way there, of an observation
    p_version bigint, p_cause text, p_by text, p_why text, p_data jsonb,
    OUT outcome text, OUT seq bigint, OUT from_state text, OUT to_state text, OUT path text[], OUT version bigint,
    OUT at timestamptz, OUT superseded boolean, OUT first_event text, OUT first_observed text
)
LANGUAGE plpgsql AS $$
-- Change one object, once per cause. The outcome: 'recorded' (a late event, too); 'repeated', with what was answered
-- first; and nothing was written if it is 'unknown' (no such object), 'exists' (created by another cause), 'conflict' (the
-- cause stands for something else: first_event, first_observed), or 'illegal' (from from_state).
DECLARE
    o troth_schema.machine_object;
    h troth_schema.machine_history;
    created boolean := false;
BEGIN
    SELECT * INTO o FROM troth_schema.machine_object x WHERE x.machine = p_machine AND x.id = p_id FOR NO KEY UPDATE;
    IF NOT FOUND AND p_begin IS NOT NULL THEN
        INSERT INTO troth_schema.machine_object AS x
        VALUES (p_machine, p_id, p_begin, p_version, 1, clock_timestamp()) ON CONFLICT DO NOTHING RETURNING * INTO o;
        created := FOUND;
        IF NOT created THEN
            SELECT * INTO o FROM troth_schema.machine_object x WHERE x.machine = p_machine AND x.id = p_id FOR NO KEY UPDATE;
        END IF;
    END IF;
    IF o.id IS NULL THEN
        outcome := 'unknown';
        RETURN;
    END IF;

    IF created THEN
        at := o.since;
        to_state := o.state;
        superseded := false;
    ELSE
        SELECT * INTO h FROM troth_schema.machine_history x WHERE x.machine = p_machine AND x.id = p_id AND x.cause = p_cause;
        IF FOUND THEN
            outcome := CASE WHEN h.event IS NOT DISTINCT FROM p_event AND h.observed IS NOT DISTINCT FROM p_observed
                       THEN 'repeated' ELSE 'conflict' END;
            seq := h.seq;
            from_state := h.from_state;
            to_state := h.to_state;
            path := h.path;
            version := h.version;
            at := h.at;
            superseded := h.superseded;
            first_event := h.event;
            first_observed := h.observed;
            RETURN;
        END IF;
        from_state := o.state;
        IF p_event IS NULL AND p_observed IS NULL THEN
            outcome := 'exists';
            RETURN;
        END IF;
        superseded := coalesce(p_version <= o.version, false);
        to_state := CASE WHEN superseded THEN o.state ELSE p_moves ->> o.state END;
        IF to_state IS NULL THEN
            outcome := 'illegal';
            RETURN;
        END IF;
        IF NOT superseded AND p_paths IS NOT NULL THEN
            path := ARRAY(SELECT jsonb_array_elements_text(p_paths -> o.state));
        END IF;
        at := greatest(clock_timestamp(), o.since);
        o.seq := o.seq + 1;
        UPDATE troth_schema.machine_object x
        SET state = to_state, seq = o.seq,
            version = CASE WHEN superseded THEN x.version ELSE coalesce(p_version, x.version) END,
            since = CASE WHEN to_state = from_state THEN x.since ELSE at END
        WHERE x.machine = p_machine AND x.id = p_id;
    END IF;

    outcome := 'recorded';
    seq := o.seq;
    version := p_version;
    INSERT INTO troth_schema.machine_history
    VALUES (p_machine, p_id, o.seq, p_event, p_observed, from_state, to_state, path, superseded, p_version, p_cause, p_by,
            p_why, p_data, at);
END $$;
