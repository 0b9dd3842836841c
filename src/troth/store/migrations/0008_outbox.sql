-- Events out: what was published, to whom it goes, and what came of each attempt.
--
--   outbox_endpoint  whom webhooks go to, as registered by customers           (a row each; written when its health changes)
--   outbox_message   what was published                                        (written at publish; forgotten when old)
--   outbox_delivery  one message on its way to one target                      (written at publish, claim and record)
--   outbox_attempt   what came of each attempt                                 (append-only; forgotten with its message)
--   outbox_act       what people did: resend, enable, disable                  (append-only)
--
-- A *target* is what has an order, a limit and a backlog of its own: an endpoint (its id), or a destination without
-- endpoints (outbox/destination). A *line* is the messages of one key at one target, which go out one after another.
--
-- Deliveries are made in the transaction that publishes: so nothing has to follow a log, and a message that becomes
-- visible late is one more pending row, which nobody has passed. Only pending rows are looked at, by partial indexes.

CREATE TABLE troth_schema.outbox_endpoint (
    id                uuid PRIMARY KEY,
    outbox            text NOT NULL,
    destination       text NOT NULL,
    url               text NOT NULL,
    types             text[] NOT NULL,               -- exact, or a beginning and *
    per_key           boolean NOT NULL,
    allow_private     boolean NOT NULL,
    secret            text NOT NULL,                 -- in clear: it signs, so a hash would not do
    old_secret        text,
    old_secret_until  timestamptz,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    failing_since     timestamptz,                   -- the first failure after the last success
    disabled_at       timestamptz,
    disabled_because  text,
    removed_at        timestamptz
);

CREATE INDEX ON troth_schema.outbox_endpoint (outbox, destination) WHERE removed_at IS NULL;

CREATE TABLE troth_schema.outbox_message (
    id            uuid PRIMARY KEY,
    outbox        text NOT NULL,
    type          text NOT NULL,
    key           text,
    payload       bytea NOT NULL,
    headers       bytea NOT NULL,                    -- a JSON object of texts
    published_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    kept_from     timestamptz NOT NULL DEFAULT clock_timestamp()  -- it is forgotten so long after that, if it has ended
);

CREATE INDEX outbox_message_kept ON troth_schema.outbox_message (outbox, kept_from);

CREATE TYPE troth_schema.outbox_state AS ENUM ('pending', 'delivered', 'dead', 'in_doubt', 'dropped');

CREATE TABLE troth_schema.outbox_delivery (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- the order of publication
    message      uuid NOT NULL,
    outbox       text NOT NULL,
    destination  text NOT NULL,
    endpoint     uuid,
    target       text NOT NULL,
    line         text,                               -- the key, if it is to be waited for; null: it waits for nobody
    state        troth_schema.outbox_state NOT NULL DEFAULT 'pending',
    held         text CHECK (held IN ('leased', 'behind')),  -- by a relay; behind another one of its line
    next_at      timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when it may be claimed: the end of a lease, or of a wait
    claim        integer NOT NULL DEFAULT 0,         -- grows with each claim, and fences what is recorded
    tries        integer NOT NULL DEFAULT 0,         -- since somebody last said that it be sent
    ended_at     timestamptz
);

CREATE INDEX outbox_delivery_message ON troth_schema.outbox_delivery (message);
CREATE INDEX outbox_delivery_due ON troth_schema.outbox_delivery (target, next_at) WHERE state = 'pending';
CREATE INDEX outbox_delivery_leased ON troth_schema.outbox_delivery (target) WHERE state = 'pending' AND held = 'leased';
CREATE INDEX outbox_delivery_line ON troth_schema.outbox_delivery (target, line, id)
    WHERE state = 'pending' AND line IS NOT NULL;
CREATE INDEX outbox_delivery_failed ON troth_schema.outbox_delivery (id) WHERE state IN ('dead', 'in_doubt');

CREATE TABLE troth_schema.outbox_attempt (
    delivery    bigint NOT NULL,
    claim       integer NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when it was recorded
    duration_s  double precision,
    outcome     text NOT NULL,                       -- a status, or the class of an exception and its words
    answer      bytea NOT NULL DEFAULT ''::bytea,    -- its first kilobyte
    PRIMARY KEY (delivery, claim)
);

CREATE TABLE troth_schema.outbox_act (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    act       text NOT NULL,
    endpoint  uuid,
    by        text NOT NULL,
    note      text,
    messages  uuid[] NOT NULL DEFAULT '{}'
);

CREATE FUNCTION troth_schema.outbox_publish(
    p_id uuid, p_outbox text, p_type text, p_key text, p_payload bytea, p_headers bytea,
    p_destinations text[], p_per_key boolean[], p_to_endpoints boolean[]
) RETURNS integer
LANGUAGE plpgsql AS $$
-- Write a message and its deliveries, in the caller's transaction; how many there are.
--
-- NOTIFY makes commits wait for each other, so it is left out when a delivery to the same target is due or under way:
-- then a relay has been told already, or looks again by itself.
DECLARE
    made bigint[];
BEGIN
    INSERT INTO troth_schema.outbox_message (id, outbox, type, key, payload, headers)
    VALUES (p_id, p_outbox, p_type, p_key, p_payload, p_headers);
    WITH asked AS (
        SELECT * FROM unnest(p_destinations, p_per_key, p_to_endpoints) AS a (destination, per_key, to_endpoints)
    ), target AS (
        SELECT a.destination, NULL::uuid AS endpoint, p_outbox || '/' || a.destination AS target, a.per_key
        FROM asked a WHERE NOT a.to_endpoints
        UNION ALL
        SELECT a.destination, e.id, e.id::text, e.per_key
        FROM asked a JOIN troth_schema.outbox_endpoint e ON e.outbox = p_outbox AND e.destination = a.destination
        WHERE a.to_endpoints AND e.removed_at IS NULL AND EXISTS (
            SELECT 1 FROM unnest(e.types) AS t (pattern)
            WHERE t.pattern = p_type
               OR (right(t.pattern, 1) = '*' AND starts_with(p_type, left(t.pattern, -1))))
    ), inserted AS (
        INSERT INTO troth_schema.outbox_delivery (message, outbox, destination, endpoint, target, line)
        SELECT p_id, p_outbox, t.destination, t.endpoint, t.target, CASE WHEN t.per_key THEN p_key END FROM target t
        RETURNING id
    )
    SELECT coalesce(array_agg(i.id), '{}') INTO made FROM inserted i;
    IF EXISTS (
        SELECT 1 FROM troth_schema.outbox_delivery d
        WHERE d.message = p_id AND NOT EXISTS (
            SELECT 1 FROM troth_schema.outbox_delivery o
            WHERE o.target = d.target AND o.state = 'pending' AND o.next_at <= clock_timestamp() AND o.id <> d.id
        ) AND NOT EXISTS (
            SELECT 1 FROM troth_schema.outbox_delivery o
            WHERE o.target = d.target AND o.state = 'pending' AND o.held = 'leased'
        )
    ) THEN
        PERFORM pg_notify('troth_schema' || '.outbox', '');
    END IF;
    RETURN cardinality(made);
END $$;

CREATE FUNCTION troth_schema.outbox_claim(
    p_targets text[], p_free integer[], p_lease_s double precision, p_once boolean
) RETURNS TABLE (
    delivery bigint, target text, line text, claim integer, tries integer, id uuid, type text, key text, payload bytea,
    headers bytea, published_at timestamptz, endpoint uuid, url text, secrets text[], allow_private boolean
)
LANGUAGE plpgsql AS $$
-- Lease what is due at some targets, as many as each has room for. A row without a delivery: there may be more.
--
-- Lock first, look then: whether something of the same line is before it is asked by a later statement, which sees all
-- that ended before the lock was had. Who stands behind waits until the one before it may be claimed, and is woken when
-- that has ended: so a backlog behind one failing message is not looked at all the time.
#variable_conflict use_column
DECLARE
    at_target record;
    due bigint[];
    taken bigint[];
    lost bigint[];
    mine bigint[] := '{}';
    more boolean := false;
BEGIN
    FOR at_target IN SELECT * FROM unnest(p_targets, p_free) AS t (name, free) ORDER BY 1 LOOP
        SELECT array_agg(d.id) INTO due FROM (
            SELECT o.id FROM troth_schema.outbox_delivery o
            WHERE o.target = at_target.name AND o.state = 'pending' AND o.next_at <= clock_timestamp()
            ORDER BY o.next_at, o.id LIMIT at_target.free + 200
            FOR UPDATE SKIP LOCKED) d;
        CONTINUE WHEN due IS NULL;

        -- A relay that had one of them has died, or is frozen: what became of its attempt nobody has said.
        SELECT coalesce(array_agg(d.id), '{}') INTO lost
        FROM troth_schema.outbox_delivery d WHERE d.id = ANY (due) AND d.held = 'leased';
        INSERT INTO troth_schema.outbox_attempt (delivery, claim, outcome)
        SELECT d.id, d.claim, 'nothing was recorded: the relay stopped' FROM troth_schema.outbox_delivery d
        WHERE d.id = ANY (lost) ON CONFLICT DO NOTHING;
        IF p_once THEN
            UPDATE troth_schema.outbox_delivery d SET state = 'in_doubt', held = NULL, ended_at = clock_timestamp()
            WHERE d.id = ANY (lost);
        END IF;

        WITH free AS (
            SELECT d.id FROM troth_schema.outbox_delivery d
            WHERE d.id = ANY (due) AND d.state = 'pending' AND (d.line IS NULL OR NOT EXISTS (
                SELECT 1 FROM troth_schema.outbox_delivery o
                WHERE o.target = d.target AND o.line = d.line AND o.id < d.id AND o.state = 'pending'))
            ORDER BY d.next_at, d.id LIMIT at_target.free
        ), leased AS (
            UPDATE troth_schema.outbox_delivery d
            SET held = 'leased', next_at = clock_timestamp() + make_interval(secs => p_lease_s), claim = d.claim + 1,
                tries = d.tries + 1
            FROM free f WHERE d.id = f.id RETURNING d.id
        )
        SELECT coalesce(array_agg(l.id), '{}') INTO taken FROM leased l;
        mine := mine || taken;

        UPDATE troth_schema.outbox_delivery d
        SET held = 'behind', next_at = greatest(o.next_at, clock_timestamp() + interval '1 second')
        FROM troth_schema.outbox_delivery o
        WHERE d.id = ANY (due) AND d.id <> ALL (taken) AND d.state = 'pending' AND o.id = (
            SELECT min(b.id) FROM troth_schema.outbox_delivery b
            WHERE b.target = d.target AND b.line = d.line AND b.id < d.id AND b.state = 'pending');
        more := more OR (FOUND AND cardinality(taken) < at_target.free);
    END LOOP;

    RETURN QUERY
    SELECT d.id, d.target, d.line, d.claim, d.tries, m.id, m.type, m.key, m.payload, m.headers, m.published_at, e.id, e.url,
           CASE WHEN e.old_secret_until > clock_timestamp() THEN ARRAY[e.secret, e.old_secret] ELSE ARRAY[e.secret] END,
           e.allow_private
    FROM troth_schema.outbox_delivery d
    JOIN troth_schema.outbox_message m ON m.id = d.message
    LEFT JOIN troth_schema.outbox_endpoint e ON e.id = d.endpoint
    WHERE d.id = ANY (mine) ORDER BY d.id;
    IF more THEN
        delivery := NULL;
        RETURN NEXT;
    END IF;
END $$;

CREATE FUNCTION troth_schema.outbox_record(
    p_delivery bigint, p_claim integer, p_state text, p_wait_s double precision, p_duration_s double precision,
    p_outcome text, p_answer bytea, p_endpoint uuid, p_works boolean, p_disable text, p_give_up_s double precision
) RETURNS boolean
LANGUAGE plpgsql AS $$
-- What came of an attempt. False: its claim is over, so the delivery is left as it is; the attempt is noted all the same.
DECLARE
    at timestamptz := clock_timestamp();
BEGIN
    -- The endpoint before its deliveries, as everybody locks them. Its row is written when its health changes only.
    IF p_endpoint IS NOT NULL AND p_works THEN
        UPDATE troth_schema.outbox_endpoint e SET failing_since = NULL
        WHERE e.id = p_endpoint AND e.failing_since IS NOT NULL;
    ELSIF p_endpoint IS NOT NULL THEN
        UPDATE troth_schema.outbox_endpoint e SET failing_since = at
        WHERE e.id = p_endpoint AND e.failing_since IS NULL;
        UPDATE troth_schema.outbox_endpoint e
        SET disabled_at = at, disabled_because = coalesce(p_disable, 'it has failed since ' || e.failing_since)
        WHERE e.id = p_endpoint AND e.disabled_at IS NULL
          AND (p_disable IS NOT NULL OR e.failing_since < at - make_interval(secs => p_give_up_s));
    END IF;
    INSERT INTO troth_schema.outbox_attempt AS a (delivery, claim, duration_s, outcome, answer)
    VALUES (p_delivery, p_claim, p_duration_s, p_outcome, p_answer)
    ON CONFLICT (delivery, claim) DO UPDATE
    SET duration_s = p_duration_s, outcome = p_outcome || ' (told late)', answer = p_answer WHERE a.duration_s IS NULL;
    UPDATE troth_schema.outbox_delivery d
    SET state = p_state::troth_schema.outbox_state, held = NULL, next_at = at + make_interval(secs => p_wait_s),
        ended_at = CASE WHEN p_state <> 'pending' THEN at END
    WHERE d.id = p_delivery AND d.claim = p_claim
      AND ((d.state = 'pending' AND d.held = 'leased') OR (d.state = 'in_doubt' AND p_state = 'delivered'));
    RETURN FOUND;
END $$;

CREATE FUNCTION troth_schema.outbox_wake_line(p_target text, p_line text) RETURNS void
LANGUAGE plpgsql AS $$
-- Let the next one of a line go. Called after the one before it has ended and that is committed: then either this
-- finds who waits behind it, or whoever sends that one behind finds that there is nothing before it.
DECLARE
    following bigint;
BEGIN
    SELECT d.id INTO following FROM troth_schema.outbox_delivery d
    WHERE d.target = p_target AND d.line = p_line AND d.state = 'pending' ORDER BY d.id LIMIT 1 FOR UPDATE;
    UPDATE troth_schema.outbox_delivery d SET held = NULL, next_at = clock_timestamp()
    WHERE d.id = following AND d.held = 'behind';
END $$;

CREATE FUNCTION troth_schema.outbox_resend(
    p_message uuid, p_endpoint uuid, p_since timestamptz, p_by text, p_note text
) RETURNS bigint
LANGUAGE plpgsql AS $$
-- Send again: all deliveries of one message, or dead ones of an endpoint or of a time; how many. Recorded.
DECLARE
    again bigint[];
BEGIN
    SELECT array_agg(o.id) INTO again FROM (
        SELECT d.id FROM troth_schema.outbox_delivery d
        LEFT JOIN troth_schema.outbox_endpoint e ON e.id = d.endpoint
        WHERE (p_message IS NULL OR d.message = p_message)
          AND (p_endpoint IS NULL OR d.endpoint = p_endpoint)
          AND (p_since IS NULL OR d.ended_at >= p_since)
          AND (d.state = 'dead' OR (p_message IS NOT NULL AND d.state IN ('in_doubt', 'delivered')))
          AND e.removed_at IS NULL
        ORDER BY d.id FOR UPDATE OF d) o;
    IF again IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE troth_schema.outbox_delivery d
    SET state = 'pending', held = NULL, tries = 0, next_at = clock_timestamp(), ended_at = NULL WHERE d.id = ANY (again);
    INSERT INTO troth_schema.outbox_act (act, endpoint, by, note, messages)
    SELECT 'resend', p_endpoint, p_by, p_note, array_agg(d.message ORDER BY d.id)
    FROM troth_schema.outbox_delivery d WHERE d.id = ANY (again);
    PERFORM pg_notify('troth_schema' || '.outbox', '');
    RETURN cardinality(again);
END $$;

CREATE FUNCTION troth_schema.outbox_switch(p_endpoint uuid, p_act text, p_by text, p_note text) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Enable, disable or remove an endpoint; false if there is none. Recorded. What waits goes out when it is enabled, in order,
-- each with all its tries before it; what waits when it is removed is dropped.
BEGIN
    UPDATE troth_schema.outbox_endpoint e
    SET disabled_at = CASE WHEN p_act = 'enable' THEN NULL ELSE coalesce(e.disabled_at, clock_timestamp()) END,
        disabled_because = CASE WHEN p_act <> 'enable' THEN coalesce(e.disabled_because, p_act || 'd by ' || p_by) END,
        failing_since = CASE WHEN p_act <> 'enable' THEN e.failing_since END,
        removed_at = CASE WHEN p_act = 'remove' THEN clock_timestamp() END
    WHERE e.id = p_endpoint AND e.removed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_act = 'enable' THEN
        UPDATE troth_schema.outbox_delivery d SET held = NULL, tries = 0, next_at = clock_timestamp()
        WHERE d.target = p_endpoint::text AND d.state = 'pending' AND d.held IS DISTINCT FROM 'leased';
        PERFORM pg_notify('troth_schema' || '.outbox', '');
    ELSIF p_act = 'remove' THEN
        UPDATE troth_schema.outbox_delivery d SET state = 'dropped', held = NULL, ended_at = clock_timestamp()
        WHERE d.target = p_endpoint::text AND d.state = 'pending';
    END IF;
    INSERT INTO troth_schema.outbox_act (act, endpoint, by, note) VALUES (p_act, p_endpoint, p_by, p_note);
    RETURN true;
END $$;

CREATE FUNCTION troth_schema.outbox_forget(
    p_outbox text, p_keep_s double precision, p_limit integer, OUT looked_at integer, OUT forgotten integer
)
LANGUAGE plpgsql AS $$
-- Forget messages all of whose deliveries ended so long ago, some at a time, and all that is known of them.
--
-- A message that has not ended, or not so long ago, is moved on, and not looked at again before that can have changed: so
-- what waits for months costs no more than what ends. Nobody is waited for: who sends a delivery again, or records one,
-- holds it.
DECLARE
    at timestamptz := clock_timestamp();
    until timestamptz := at - make_interval(secs => p_keep_s);
    old uuid[];
    free bigint[];
    over uuid[];
BEGIN
    SELECT coalesce(array_agg(o.id), '{}') INTO old FROM (
        SELECT m.id FROM troth_schema.outbox_message m WHERE m.outbox = p_outbox AND m.kept_from < until
        ORDER BY m.kept_from LIMIT p_limit FOR UPDATE SKIP LOCKED) o;
    looked_at := cardinality(old);

    SELECT coalesce(array_agg(o.id), '{}') INTO free FROM (
        SELECT d.id FROM troth_schema.outbox_delivery d
        WHERE d.message = ANY (old) AND d.state IN ('delivered', 'dead', 'dropped') AND d.ended_at < until
        FOR UPDATE SKIP LOCKED) o;
    SELECT coalesce(array_agg(m.id), '{}') INTO over FROM unnest(old) AS m (id)
    WHERE NOT EXISTS (
        SELECT 1 FROM troth_schema.outbox_delivery d LEFT JOIN unnest(free) AS f (id) ON f.id = d.id
        WHERE d.message = m.id AND f.id IS NULL);
    forgotten := cardinality(over);

    DELETE FROM troth_schema.outbox_attempt a USING troth_schema.outbox_delivery d
    WHERE d.message = ANY (over) AND a.delivery = d.id;
    DELETE FROM troth_schema.outbox_delivery d WHERE d.message = ANY (over);
    DELETE FROM troth_schema.outbox_message m WHERE m.id = ANY (over);

    -- What is open cannot be forgotten before it has been over for so long; of what has ended it is known when it can.
    UPDATE troth_schema.outbox_message m
    SET kept_from = (
        SELECT CASE WHEN bool_and(d.state IN ('delivered', 'dead', 'dropped')) AND max(d.ended_at) >= until
                    THEN max(d.ended_at) ELSE at END
        FROM troth_schema.outbox_delivery d WHERE d.message = m.id)
    WHERE m.id = ANY (old);
END $$;
