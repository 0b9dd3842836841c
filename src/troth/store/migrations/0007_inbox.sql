-- Events from other systems: taken in once, applied once, in order for each of their objects.
--
--   inbox_event     every event that was taken in, and what became of it
--   inbox_object    objects of which something is still to be done: the hot set, and the lock for serial work
--   inbox_conflict  other contents that came under an id that was taken
--   inbox_replay    who put an event back, and why
--   inbox_sweep     how far the provider's own list of events has been read (a row per source)
--
-- Who applies an event holds its object's row FOR NO KEY UPDATE, from the claim to the commit. Who takes an event in holds
-- it FOR KEY SHARE, which that does not keep waiting. Before the row is deleted or put off, it is locked FOR UPDATE, which
-- excludes both: so an event that is being taken in is either seen, or finds the row gone and makes a new one.
--
-- Events are one plain table, not partitions: an id must be unique over all of it.

CREATE TABLE troth_schema.inbox_event (
    source        text NOT NULL,
    event_id      text NOT NULL,
    seq           bigint GENERATED ALWAYS AS IDENTITY,  -- the order of arrival, where the provider's times are equal
    type          text NOT NULL,
    object_key    text NOT NULL,
    created_at    timestamptz NOT NULL,              -- by the provider's clock
    version       bigint,                            -- only where the newest wins
    state         text NOT NULL DEFAULT 'received' CHECK (state IN
                  ('received', 'parked', 'applied', 'superseded', 'ignored', 'quarantined')),
    due_at        timestamptz NOT NULL,              -- not tried before
    failures      integer NOT NULL DEFAULT 0,
    parks         integer NOT NULL DEFAULT 0,        -- how often it came too early
    parked_since  timestamptz,
    blocks        boolean NOT NULL DEFAULT true,     -- later events of its object wait for it while it fails
    reason        text,                              -- of its state: an error, or why it was superseded
    received_at   timestamptz NOT NULL,
    last_seen     timestamptz NOT NULL,
    delivered     integer NOT NULL,                  -- how often it came by webhook
    found_by      text NOT NULL CHECK (found_by IN ('webhook', 'sweep')),
    verified_by   text,                              -- the fingerprint of the secret
    settled_at    timestamptz,
    digest        bytea NOT NULL,                    -- of what it says; of the first delivery, once there is one
    headers       text NOT NULL,                     -- JSON
    body          bytea,                             -- as it came; null once it is forgotten
    PRIMARY KEY (source, event_id)
);
CREATE INDEX inbox_event_open ON troth_schema.inbox_event (source, object_key, created_at, seq)
    WHERE state IN ('received', 'parked', 'quarantined');
CREATE INDEX inbox_event_settled ON troth_schema.inbox_event (source, state, received_at)
    WHERE state IN ('applied', 'superseded', 'ignored');
CREATE INDEX inbox_event_quarantined ON troth_schema.inbox_event (source, seq) WHERE state = 'quarantined';
CREATE INDEX inbox_event_bodies ON troth_schema.inbox_event (source, received_at)
    WHERE state IN ('applied', 'superseded') AND body IS NOT NULL;
CREATE INDEX inbox_event_swept ON troth_schema.inbox_event (source) WHERE delivered = 0;
CREATE INDEX inbox_event_version ON troth_schema.inbox_event (source, object_key, version)
    WHERE state = 'applied' AND version IS NOT NULL;

CREATE TABLE troth_schema.inbox_object (
    source          text NOT NULL,
    object_key      text NOT NULL,
    due_at          timestamptz NOT NULL,            -- infinity: a quarantined event blocks it
    fetching_until  timestamptz,                     -- somebody asks the provider for it: others need not
    PRIMARY KEY (source, object_key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX inbox_object_due ON troth_schema.inbox_object (source, due_at);

CREATE TABLE troth_schema.inbox_conflict (
    source      text NOT NULL,
    event_id    text NOT NULL,
    digest      bytea NOT NULL,
    type        text NOT NULL,
    found_by    text NOT NULL,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    seen        integer NOT NULL,
    body        bytea NOT NULL,
    PRIMARY KEY (source, event_id, digest),
    FOREIGN KEY (source, event_id) REFERENCES troth_schema.inbox_event ON DELETE CASCADE
);

CREATE TABLE troth_schema.inbox_replay (
    source      text NOT NULL,
    event_id    text NOT NULL,
    n           bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    by          text NOT NULL,
    note        text,
    was         text NOT NULL,                       -- the state that it was in
    reason      text,                                -- and why it was
    PRIMARY KEY (source, event_id, n),
    FOREIGN KEY (source, event_id) REFERENCES troth_schema.inbox_event ON DELETE CASCADE
);

CREATE TABLE troth_schema.inbox_sweep (
    source      text PRIMARY KEY,
    turn        bigint NOT NULL,                     -- grows when somebody begins: only the last one may write
    due_at      timestamptz NOT NULL,                -- nobody else begins before
    trail       text NOT NULL DEFAULT '[]',          -- JSON: [seconds since 1970, cursor], the oldest first
    swept_at    timestamptz,                         -- when it last came to the end of the list
    failures    integer NOT NULL DEFAULT 0,          -- in a row
    error       text
);

CREATE FUNCTION troth_schema.inbox_enqueue(p_source text, p_object text) RETURNS void
LANGUAGE plpgsql AS $$
-- An event of the object is to be done, now; it is in this transaction, or committed.
DECLARE
    at timestamptz := clock_timestamp();
    due timestamptz;
BEGIN
    LOOP
        INSERT INTO troth_schema.inbox_object (source, object_key, due_at) VALUES (p_source, p_object, at)
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        SELECT o.due_at INTO due FROM troth_schema.inbox_object o
        WHERE o.source = p_source AND o.object_key = p_object FOR KEY SHARE;
        IF FOUND THEN
            IF due > at THEN  -- nobody works on it, so this waits for nobody
                UPDATE troth_schema.inbox_object o SET due_at = at WHERE o.source = p_source AND o.object_key = p_object;
            END IF;
            EXIT;
        END IF;  -- it was deleted just now
    END LOOP;
    -- Where another object is due, somebody is at work and looks again by himself.
    IF NOT EXISTS (SELECT 1 FROM troth_schema.inbox_object o
                   WHERE o.source = p_source AND o.due_at <= at AND o.object_key <> p_object) THEN
        PERFORM pg_notify('troth_schema' || '.inbox', '');
    END IF;
END $$;

CREATE FUNCTION troth_schema.inbox_accept(
    p_source text, p_event text, p_type text, p_object text, p_created double precision, p_version bigint,
    p_found_by text, p_verified_by text, p_digest bytea, p_headers text, p_body bytea,
    OUT outcome text, OUT stands text
)
LANGUAGE plpgsql AS $$
-- Take an event in, once. *outcome*: new, duplicate or conflict; *stands*: the state of the event that has the id.
DECLARE
    at timestamptz := clock_timestamp();
    by_webhook boolean := p_found_by = 'webhook';
    known record;
BEGIN
    LOOP
        INSERT INTO troth_schema.inbox_event (source, event_id, type, object_key, created_at, version, due_at, received_at,
            last_seen, delivered, found_by, verified_by, digest, headers, body)
        VALUES (p_source, p_event, p_type, p_object, coalesce(to_timestamp(p_created), at), p_version, at, at,
            at, by_webhook::integer, p_found_by, p_verified_by, p_digest, p_headers, p_body)
        ON CONFLICT (source, event_id) DO NOTHING;
        IF FOUND THEN
            PERFORM troth_schema.inbox_enqueue(p_source, p_object);
            outcome := 'new';
            stands := 'received';
            RETURN;
        END IF;
        IF by_webhook THEN
            SELECT e.state, e.type, e.digest, e.delivered INTO known FROM troth_schema.inbox_event e
            WHERE e.source = p_source AND e.event_id = p_event FOR NO KEY UPDATE;
        ELSE  -- a sweep sees the same events again and again, and leaves no trace
            SELECT e.state, e.type, e.digest, e.delivered INTO known FROM troth_schema.inbox_event e
            WHERE e.source = p_source AND e.event_id = p_event;
        END IF;
        EXIT WHEN FOUND;  -- otherwise it was forgotten just now
    END LOOP;
    stands := known.state;
    -- The list of a provider may word an event otherwise than its webhooks do (another version of its API).
    IF known.type <> p_type OR (by_webhook AND known.delivered > 0 AND known.digest <> p_digest) THEN
        outcome := 'conflict';
        INSERT INTO troth_schema.inbox_conflict AS c (source, event_id, digest, type, found_by, first_seen, last_seen, seen, body)
        VALUES (p_source, p_event, p_digest, p_type, p_found_by, at, at, 1, p_body)
        ON CONFLICT (source, event_id, digest) DO UPDATE SET last_seen = at, seen = c.seen + 1;
        RETURN;
    END IF;
    outcome := 'duplicate';
    IF by_webhook THEN
        UPDATE troth_schema.inbox_event e
        SET delivered = e.delivered + 1, last_seen = at, verified_by = coalesce(e.verified_by, p_verified_by),
            digest = p_digest
        WHERE e.source = p_source AND e.event_id = p_event;
    END IF;
END $$;

CREATE FUNCTION troth_schema.inbox_head(
    p_source text, p_object text, p_at timestamptz,
    OUT head text, OUT next_at timestamptz, OUT waiting boolean
)
LANGUAGE plpgsql STABLE AS $$
-- The event of an object whose turn it is; if there is none, when there may be one, and whether any waits at all.
DECLARE
    e record;
BEGIN
    waiting := false;
    FOR e IN SELECT x.event_id, x.state, x.due_at, x.blocks FROM troth_schema.inbox_event x
             WHERE x.source = p_source AND x.object_key = p_object AND x.state IN ('received', 'parked', 'quarantined')
             ORDER BY x.created_at, x.seq LOOP
        IF e.state = 'quarantined' THEN
            IF e.blocks THEN
                -- Whatever comes after it waits for a person.
                waiting := waiting OR EXISTS (SELECT 1 FROM troth_schema.inbox_event x
                    WHERE x.source = p_source AND x.object_key = p_object AND x.state IN ('received', 'parked'));
                EXIT;
            END IF;
        ELSE
            waiting := true;
            IF e.due_at <= p_at THEN
                head := e.event_id;
                EXIT;
            END IF;
            next_at := least(next_at, e.due_at);
            EXIT WHEN e.state = 'received' AND e.blocks;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION troth_schema.inbox_rest(p_source text, p_object text) RETURNS void
LANGUAGE plpgsql AS $$
-- The last thing done to an object whose row is held: when to look at it again, if ever.
DECLARE
    at timestamptz := clock_timestamp();
    alone boolean;
    h record;
    due timestamptz;
BEGIN
    PERFORM 1 FROM troth_schema.inbox_object o WHERE o.source = p_source AND o.object_key = p_object FOR UPDATE SKIP LOCKED;
    alone := FOUND;
    SELECT * INTO h FROM troth_schema.inbox_head(p_source, p_object, at);  -- a later statement: it sees what came meanwhile
    IF alone AND NOT h.waiting THEN
        DELETE FROM troth_schema.inbox_object o WHERE o.source = p_source AND o.object_key = p_object;
        RETURN;
    END IF;
    due := CASE WHEN h.head IS NOT NULL THEN at ELSE coalesce(h.next_at, 'infinity') END;
    IF NOT alone THEN  -- an event is being taken in, and not to be seen yet
        due := least(due, at + interval '200 milliseconds');
    END IF;
    UPDATE troth_schema.inbox_object o SET due_at = due, fetching_until = NULL
    WHERE o.source = p_source AND o.object_key = p_object;
END $$;

CREATE FUNCTION troth_schema.inbox_claim(
    p_source text, p_object text, p_idle_s double precision,
    OUT head text, OUT object text, OUT wait_s double precision, OUT type text, OUT created_at timestamptz,
    OUT version bigint, OUT body bytea, OUT headers text, OUT received_at timestamptz, OUT found_by text,
    OUT failures integer, OUT parks integer, OUT parked_s double precision, OUT overtaken boolean
)
LANGUAGE plpgsql AS $$
-- Hold an object (p_object, or the one that has been due for longest) and read the event whose turn it is. Without one,
-- *wait_s* says when there may be one. A process that stands still with an object is ended by the server.
--
-- The event is read here, and not by the statement that calls this: that one sees what was committed before it began, and
-- who held the object before may have committed after that.
#variable_conflict use_column
DECLARE
    at timestamptz := clock_timestamp();
    h record;
BEGIN
    PERFORM set_config('idle_in_transaction_session_timeout', round(p_idle_s * 1000)::text, true);
    LOOP
        IF p_object IS NULL THEN
            SELECT o.object_key INTO object FROM troth_schema.inbox_object o
            WHERE o.source = p_source AND o.due_at <= at AND (o.fetching_until IS NULL OR o.fetching_until <= at)
            ORDER BY o.due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
        ELSE
            SELECT o.object_key INTO object FROM troth_schema.inbox_object o
            WHERE o.source = p_source AND o.object_key = p_object FOR NO KEY UPDATE SKIP LOCKED;
        END IF;
        EXIT WHEN NOT FOUND;
        SELECT * INTO h FROM troth_schema.inbox_head(p_source, object, clock_timestamp());
        head := h.head;
        EXIT WHEN head IS NOT NULL;
        PERFORM troth_schema.inbox_rest(p_source, object);
        EXIT WHEN p_object IS NOT NULL;
    END LOOP;
    IF head IS NULL THEN
        SELECT extract(epoch FROM min(greatest(o.due_at, o.fetching_until)) - clock_timestamp()) INTO wait_s
        FROM troth_schema.inbox_object o
        WHERE o.source = p_source AND o.due_at < 'infinity' AND (o.due_at > at OR o.fetching_until > at);
        RETURN;
    END IF;
    SELECT e.type, e.created_at, e.version, e.body, e.headers, e.received_at, e.found_by, e.failures, e.parks,
           extract(epoch FROM clock_timestamp() - e.parked_since),
           e.version < (SELECT max(x.version) FROM troth_schema.inbox_event x
                        WHERE x.source = e.source AND x.object_key = e.object_key AND x.state = 'applied'
                          AND x.version IS NOT NULL)
    INTO type, created_at, version, body, headers, received_at, found_by, failures, parks, parked_s, overtaken
    FROM troth_schema.inbox_event e WHERE e.source = p_source AND e.event_id = head;
END $$;

CREATE FUNCTION troth_schema.inbox_settle(
    p_source text, p_object text, p_event text, p_failures integer, p_parks integer,
    p_state text, p_reason text, p_wait_s double precision, p_new_failures integer, p_new_parks integer, p_blocks boolean
) RETURNS boolean
LANGUAGE plpgsql AS $$
-- What became of an event that had failed and come too early so often; false if somebody else has it, or was faster.
DECLARE
    at timestamptz := clock_timestamp();
BEGIN
    PERFORM 1 FROM troth_schema.inbox_object o
    WHERE o.source = p_source AND o.object_key = p_object FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE troth_schema.inbox_event e
    SET state = p_state, reason = p_reason, due_at = at + make_interval(secs => p_wait_s),
        failures = p_new_failures, parks = p_new_parks, blocks = p_blocks,
        parked_since = CASE WHEN p_state = 'parked' THEN coalesce(e.parked_since, at) ELSE e.parked_since END,
        settled_at = CASE WHEN p_state IN ('applied', 'superseded', 'ignored') THEN at END
    WHERE e.source = p_source AND e.event_id = p_event AND e.state IN ('received', 'parked')
      AND e.failures = p_failures AND e.parks = p_parks;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_state = 'applied' THEN  -- what came too early may be in time now
        UPDATE troth_schema.inbox_event e SET due_at = at
        WHERE e.source = p_source AND e.object_key = p_object AND e.state = 'parked';
    END IF;
    PERFORM troth_schema.inbox_rest(p_source, p_object);
    RETURN true;
END $$;
