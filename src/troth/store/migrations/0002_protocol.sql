-- The journal protocol, as far as it must hold for every writer.
--
-- Entry points: register, beat, takeover, release_gone (membership); start_run, send_message, finish_step (in the user's
-- transaction); tell_waiters and await_ends (of runs that wait for runs). The group commit and the queues have files of their own. Errors of our own have SQLSTATE class TR: TR001
-- fenced, TR002 history lost.
--
-- Everything runs in READ COMMITTED and fences in one statement, then reads in later ones: in a single statement, or on
-- an older snapshot, a takeover would wait for the last flush and then not see its rows.

CREATE FUNCTION troth_schema.require_fresh_reads() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the journal protocol runs in read committed, not in %', current_setting('transaction_isolation')
            USING HINT = 'A default_transaction_isolation was set for this connection.';
    END IF;
END $$;


-- Membership --------------------------------------------------------------------------------------------------------

CREATE FUNCTION troth_schema.register(p_name text, p_executes boolean, p_lease_s real, p_workflows text[]) RETURNS bigint
LANGUAGE sql AS $$
    -- Mark 0: so that flush 1 has a predecessor like all others, and cannot be executed again when its own mark is gone.
    WITH joined AS (
        INSERT INTO troth_schema.worker (name, executes, lease_s, workflows)
        VALUES (p_name, p_executes, p_lease_s, p_workflows) RETURNING id)
    INSERT INTO troth_schema.mark (worker, n) SELECT id, 0 FROM joined RETURNING worker
$$;

CREATE FUNCTION troth_schema.queues_in_use() RETURNS jsonb
LANGUAGE sql STABLE AS $$
    -- The queues in which somebody stands in line: one look at the index for each.
    WITH RECURSIVE line (queue) AS (
        (SELECT r.queue FROM troth_schema.run r WHERE r.in_line ORDER BY r.queue LIMIT 1)
        UNION ALL
        SELECT (SELECT r.queue FROM troth_schema.run r WHERE r.in_line AND r.queue > line.queue ORDER BY r.queue LIMIT 1)
        FROM line WHERE line.queue IS NOT NULL)
    SELECT coalesce(jsonb_agg(line.queue) FILTER (WHERE line.queue IS NOT NULL), '[]') FROM line
$$;

CREATE FUNCTION troth_schema.beat(p_worker bigint, p_n bigint) RETURNS jsonb
LANGUAGE plpgsql AS $$
-- One heartbeat of a worker whose flush p_n was acknowledged, which also carries home all that an idle worker wants to know, so that nothing else polls.
DECLARE
    executing boolean;
BEGIN
    UPDATE troth_schema.worker SET beat = beat + 1, beat_at = clock_timestamp()
    WHERE id = p_worker RETURNING executes INTO executing;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'worker % was taken over', p_worker USING ERRCODE = 'TR001';
    END IF;
    -- A failover that lost the last flush must not go unnoticed because this worker is idle: its runs would be nobody's.
    -- Not by equality, since flushes go on beside the heart.
    PERFORM 1 FROM troth_schema.mark m WHERE m.worker = p_worker AND m.n >= p_n;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'flush % of worker % was acknowledged and is not in the database', p_n, p_worker
            USING ERRCODE = 'TR002';
    END IF;
    IF NOT executing THEN
        RETURN jsonb_build_object('now', extract(epoch FROM clock_timestamp()));
    END IF;
    RETURN jsonb_build_object(
        'now', extract(epoch FROM clock_timestamp()),
        'peers', (SELECT coalesce(jsonb_agg(jsonb_build_array(w.id, w.beat, w.lease_s)), '[]')
                  FROM troth_schema.worker w WHERE w.id <> p_worker),
        'gone', (SELECT coalesce(jsonb_agg(g.id), '[]') FROM troth_schema.worker_gone g),
        'due', (SELECT extract(epoch FROM min(next.wake_at)) FROM (
                (SELECT r.wake_at FROM troth_schema.run r
                 WHERE r.owner IS NULL AND r.queue IS NULL AND r.wake_at < 'infinity' ORDER BY r.wake_at LIMIT 1)
                UNION ALL
                (SELECT r.wake_at FROM troth_schema.run r
                 WHERE r.owner IS NULL AND r.queue IS NOT NULL AND NOT r.in_line AND r.wake_at < 'infinity'
                 ORDER BY r.wake_at LIMIT 1)) AS next),
        'queues', troth_schema.queues_in_use(),
        'mail', (SELECT coalesce(jsonb_agg(DISTINCT r.id), '[]') FROM troth_schema.message m
                 JOIN troth_schema.run r ON r.id = m.run_id WHERE r.owner = p_worker));
END $$;

CREATE FUNCTION troth_schema.session_lock(p_worker bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended('troth_schema.worker:' || p_worker, 0) $$;

CREATE FUNCTION troth_schema.end_sessions(p_worker bigint) RETURNS void
LANGUAGE plpgsql AS $$
-- End the step transactions that a dead worker has open: if it is frozen, they hold rows of the user's that its
-- successor needs, and would hold them for ever. A session in which it runs steps holds this advisory lock.
BEGIN
    PERFORM pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND a.xact_start IS NOT NULL AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = troth_schema.session_lock(p_worker);
EXCEPTION WHEN insufficient_privilege THEN
    -- It works under another role than we do. The takeover itself must not fail over that.
    RAISE WARNING 'the sessions of worker % cannot be ended: %', p_worker, SQLERRM;
END $$;

CREATE FUNCTION troth_schema.release_gone(p_worker bigint) RETURNS integer
LANGUAGE plpgsql AS $$
-- Hand the runs of a dead worker to whoever claims them. Returns how many are still locked by its open transactions.
DECLARE
    held integer;
BEGIN
    PERFORM troth_schema.end_sessions(p_worker);
    UPDATE troth_schema.run SET owner = NULL, state = 'ready', wake_at = clock_timestamp(), in_line = queue IS NOT NULL
    WHERE id IN (SELECT r.id FROM troth_schema.run r WHERE r.owner = p_worker FOR NO KEY UPDATE SKIP LOCKED);
    SELECT count(*) INTO held FROM troth_schema.run r WHERE r.owner = p_worker;
    IF held = 0 THEN
        -- Its marks stay for a day: should it live after all, they tell it what became of its last flush.
        DELETE FROM troth_schema.worker_gone WHERE id = p_worker;
    END IF;
    RETURN held;
END $$;

CREATE FUNCTION troth_schema.takeover(p_peer bigint, p_beat bigint) RETURNS integer
LANGUAGE plpgsql AS $$
-- Declare a peer dead, unless it has beaten since (null: however often it has). The DELETE waits for a flush of the peer
-- that holds the row, and excludes every later one. Returns how many runs are still locked, or null if the peer is alive
-- or already gone.
BEGIN
    PERFORM troth_schema.require_fresh_reads();
    WITH dead AS (
        DELETE FROM troth_schema.worker WHERE id = p_peer AND beat = coalesce(p_beat, beat) RETURNING id, name)
    INSERT INTO troth_schema.worker_gone (id, name) SELECT id, name FROM dead;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN troth_schema.release_gone(p_peer);
END $$;


-- Keys and messages -------------------------------------------------------------------------------------------------

CREATE FUNCTION troth_schema.key_lock(p_key text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended('troth_schema:' || p_key, 0) $$;

CREATE FUNCTION troth_schema.due(at double precision) RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$
    -- Clocks differ by a little: what is due in less than a second is due now, and is not missed by the first claim.
    SELECT CASE WHEN to_timestamp(at) < clock_timestamp() + interval '1 second' THEN clock_timestamp()
                ELSE to_timestamp(at) END
$$;

CREATE FUNCTION troth_schema.start_run(
    p_id uuid, p_workflow text, p_key text, p_input bytea, p_digest bytea, p_starts_at double precision,
    p_queue text, p_partition text, p_priority smallint, p_deadline double precision DEFAULT NULL
) RETURNS TABLE (run_id uuid, fresh boolean, same boolean)
LANGUAGE plpgsql AS $$
-- Start a run inside the caller's transaction: both commit, or neither.
BEGIN
    IF p_key IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(troth_schema.key_lock(p_key));
        RETURN QUERY SELECT k.run_id, false, k.digest = p_digest FROM troth_schema.start_key k WHERE k.key = p_key;
        IF FOUND THEN
            RETURN;
        END IF;
        -- No conflict is possible but with a start that an older snapshot does not see: that is a serialization failure.
        INSERT INTO troth_schema.start_key (key, run_id, digest) VALUES (p_key, p_id, p_digest) ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO troth_schema.run (id, workflow, key, input, state, starts_at, wake_at, queue, partition, priority, in_line,
                                  deadline)
    VALUES (p_id, p_workflow, p_key, p_input, 'ready', to_timestamp(p_starts_at), troth_schema.due(p_starts_at),
            p_queue, p_partition, p_priority, p_queue IS NOT NULL AND troth_schema.due(p_starts_at) <= clock_timestamp(),
            to_timestamp(p_deadline));
    PERFORM pg_notify('troth_schema' || '.ready', '');
    RETURN QUERY SELECT p_id, true, true;
END $$;

CREATE FUNCTION troth_schema.addressee(p_run uuid, p_key text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce('=' || p_key, p_run::text) $$;

CREATE FUNCTION troth_schema.said_before(
    p_addressee text, p_topic text, p_once text, p_payload bytea, p_waits boolean
) RETURNS text
LANGUAGE plpgsql AS $$
-- A message with a key of its own is one message, however often it is sent. Null: it is new, and remembered now. Else
-- 'sent', 'conflict' (the key belongs to another value) or 'busy'. On an older snapshot, a twin that was sent since makes
-- the insert a serialization failure.
DECLARE
    twin bigint := hashtextextended('troth_schema.once:' || p_addressee || chr(1) || p_topic || chr(1) || p_once, 0);
    known bytea;
BEGIN
    IF p_waits THEN
        PERFORM pg_advisory_xact_lock(twin);
    ELSIF NOT pg_try_advisory_xact_lock(twin) THEN
        RETURN 'busy';
    END IF;
    INSERT INTO troth_schema.message_once (addressee, topic, key, digest)
    VALUES (p_addressee, p_topic, p_once, sha256(p_payload)) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT o.digest INTO known FROM troth_schema.message_once o
    WHERE o.addressee = p_addressee AND o.topic = p_topic AND o.key = p_once;
    RETURN CASE WHEN known = sha256(p_payload) THEN 'sent' ELSE 'conflict' END;
END $$;

CREATE FUNCTION troth_schema.latest(p_run uuid) RETURNS uuid
LANGUAGE plpgsql AS $$
-- The run that a run goes on as by now: itself, unless its code has said continue_as. Never in one statement with what
-- ends runs.
DECLARE
    last uuid := p_run;
    successor uuid;
BEGIN
    LOOP
        SELECT h.continued INTO successor FROM troth_schema.run_history h WHERE h.id = last;
        EXIT WHEN successor IS NULL;
        last := successor;
    END LOOP;
    RETURN last;
END $$;

CREATE FUNCTION troth_schema.send_message(
    p_id uuid, p_run uuid, p_key text, p_topic text, p_payload bytea, p_once text, p_waits boolean DEFAULT true
) RETURNS text
LANGUAGE plpgsql AS $$
-- Leave a message for a run, by id or by start key; the run may not have started yet. Returns 'sent', 'ended' or
-- 'missing'; 'conflict', see said_before; and 'busy', if it may not wait, where somebody's open transaction is in the way. Order matters: lock the
-- run against release and completion, then look at its owner in a later statement. Whoever releases or completes the
-- run takes a conflicting lock first and looks for messages after.
DECLARE
    target uuid := p_run;
    stale boolean := current_setting('transaction_isolation') <> 'read committed';  -- reads on an older snapshot
    alive boolean;
    idle boolean;
    before text;
    successor uuid;
BEGIN
    IF target IS NULL THEN
        -- A start of this key that is under way must be seen, or must see the message.
        IF p_waits THEN
            PERFORM pg_advisory_xact_lock_shared(troth_schema.key_lock(p_key));
        ELSIF NOT pg_try_advisory_xact_lock_shared(troth_schema.key_lock(p_key)) THEN
            RETURN 'busy';
        END IF;
        SELECT k.run_id INTO target FROM troth_schema.start_key k WHERE k.key = p_key;
        IF target IS NULL AND stale THEN
            BEGIN  -- A start since would be overlooked. An insert that comes to nothing makes that one, too.
                INSERT INTO troth_schema.start_key (key, run_id, digest) VALUES (p_key, p_id, '') ON CONFLICT DO NOTHING;
                RAISE SQLSTATE 'TR000';
            EXCEPTION WHEN SQLSTATE 'TR000' THEN
            END;
        END IF;
        IF target IS NULL THEN
            IF p_once IS NOT NULL THEN
                before := troth_schema.said_before(troth_schema.addressee(NULL, p_key), p_topic, p_once, p_payload, p_waits);
                IF before IS NOT NULL THEN
                    RETURN before;
                END IF;
            END IF;
            INSERT INTO troth_schema.message (id, key, topic, payload) VALUES (p_id, p_key, p_topic, p_payload)
            ON CONFLICT (id) DO NOTHING;
            RETURN 'sent';
        END IF;
    END IF;
    IF stale THEN
        -- A run that was released since would look owned. FOR SHARE makes that a serialization failure.
        PERFORM 1 FROM troth_schema.run r WHERE r.id = target FOR SHARE;
        alive := FOUND;
    ELSIF p_waits THEN
        PERFORM 1 FROM troth_schema.run r WHERE r.id = target FOR KEY SHARE;
        alive := FOUND;
    ELSE
        PERFORM 1 FROM troth_schema.run r WHERE r.id = target FOR KEY SHARE SKIP LOCKED;
        alive := FOUND;
        -- To wake it, its row has to be free, too.
        PERFORM 1 FROM troth_schema.run r WHERE r.id = target AND r.owner IS NULL FOR NO KEY UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            PERFORM 1 FROM troth_schema.run r WHERE r.id = target AND (r.owner IS NULL OR NOT alive);
            IF FOUND THEN
                RETURN 'busy';
            END IF;
        END IF;
    END IF;
    IF NOT alive THEN
        SELECT h.continued INTO successor FROM troth_schema.run_history h WHERE h.id = target;
        IF NOT FOUND THEN
            RETURN 'missing';
        ELSIF successor IS NULL THEN
            RETURN 'ended';
        END IF;
        RETURN troth_schema.send_message(
            p_id, troth_schema.latest(successor), NULL, p_topic, p_payload, p_once, p_waits);
    END IF;
    IF p_once IS NOT NULL THEN
        SELECT troth_schema.said_before(troth_schema.addressee(r.id, r.key), p_topic, p_once, p_payload, p_waits)
        INTO before FROM troth_schema.run r WHERE r.id = target;
        IF before IS NOT NULL THEN
            RETURN before;
        END IF;
    END IF;
    INSERT INTO troth_schema.message (id, run_id, topic, payload) VALUES (p_id, target, p_topic, p_payload)
    ON CONFLICT (id) DO NOTHING;
    -- Who stands in line already keeps the place.
    UPDATE troth_schema.run r SET wake_at = least(r.wake_at, clock_timestamp()), in_line = r.queue IS NOT NULL,
        state = CASE WHEN r.state = 'waiting' THEN 'ready' ELSE r.state END
    WHERE r.id = target AND r.owner IS NULL AND (r.state <> 'attention' OR p_topic = '!cancel');
    idle := FOUND;
    PERFORM pg_notify(CASE WHEN idle THEN 'troth_schema' || '.ready' ELSE 'troth_schema' || '.mail' END, target::text);
    RETURN 'sent';
END $$;


-- Runs that wait for runs -------------------------------------------------------------------------------------------

CREATE FUNCTION troth_schema.end_told(
    p_path text, p_run uuid, p_state text, p_owes boolean, p_outcome bytea
) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    -- What a waiting call is told of an end. The outcome is JSON already, and stays as it is, digit for digit.
    SELECT convert_to(format('{"path":%s,"run":"%s","state":"%s","owes":%s,"outcome":',
               to_json(p_path), p_run, p_state, to_json(coalesce(p_owes, false))), 'UTF8')
           || coalesce(p_outcome, 'null'::bytea) || '}'::bytea
$$;

CREATE FUNCTION troth_schema.tell_waiters(
    p_worker bigint, p_run uuid[], p_state text[], p_outcome bytea[], p_owes boolean[], OUT busy uuid[], OUT mine uuid[]
)
LANGUAGE plpgsql AS $$
-- These runs end with this transaction: leave a message for each call that waits for one, and wake whose it is. It is
-- send_message for many, and in the same order: lock the waiters against release and completion, then look whether
-- somebody owns them. Waits for no row: of the runs in *busy* a waiter is locked, and they must end later. *mine*:
-- waiters that the caller has in hand.
DECLARE
    waiters uuid[];
    present uuid[];
    idle uuid[];
    woken uuid[];
    waiter uuid;
BEGIN
    waiters := ARRAY(SELECT DISTINCT w.waiter FROM troth_schema.run_waiter w WHERE w.run = ANY (p_run));
    mine := '{}';
    busy := '{}';
    IF waiters = '{}' THEN
        RETURN;
    END IF;
    present := ARRAY(SELECT r.id FROM troth_schema.run r WHERE r.id = ANY (waiters) FOR KEY SHARE SKIP LOCKED);
    idle := ARRAY(SELECT r.id FROM troth_schema.run r
                  WHERE r.id = ANY (present) AND r.owner IS NULL FOR NO KEY UPDATE SKIP LOCKED);
    busy := ARRAY(
        SELECT DISTINCT w.run FROM troth_schema.run_waiter w JOIN troth_schema.run r ON r.id = w.waiter
        WHERE w.run = ANY (p_run) AND (r.id <> ALL (present) OR (r.owner IS NULL AND r.id <> ALL (idle))));
    WITH told AS (
        DELETE FROM troth_schema.run_waiter w WHERE w.run = ANY (p_run) AND w.run <> ALL (busy)
        RETURNING w.run, w.waiter, w.path
    )
    INSERT INTO troth_schema.message (id, run_id, topic, payload)
    SELECT gen_random_uuid(), told.waiter, '!ended', troth_schema.end_told(told.path, e.run, e.state, e.owes, e.outcome)
    FROM told JOIN unnest(p_run, p_state, p_outcome, p_owes) AS e (run, state, outcome, owes) ON e.run = told.run
    WHERE told.waiter = ANY (present);
    mine := ARRAY(SELECT r.id FROM troth_schema.run r WHERE r.id = ANY (present) AND r.owner = p_worker);
    WITH told AS (
        UPDATE troth_schema.run r SET wake_at = least(r.wake_at, clock_timestamp()), in_line = r.queue IS NOT NULL,
            state = CASE WHEN r.state = 'waiting' THEN 'ready' ELSE r.state END
        WHERE r.id = ANY (idle) AND r.owner IS NULL AND r.state <> 'attention' RETURNING r.id
    )
    SELECT array_agg(told.id) INTO woken FROM told;
    IF woken IS NOT NULL THEN
        PERFORM pg_notify('troth_schema' || '.ready', '');
    END IF;
    FOREACH waiter IN ARRAY present LOOP
        IF waiter <> ALL (mine) AND waiter <> ALL (idle) THEN
            PERFORM pg_notify('troth_schema' || '.mail', waiter::text);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION troth_schema.await_ends(p_run uuid[], p_waiter uuid[], p_path text[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
-- Calls that want to hear of the ends of runs. Of those that have ended there is a message at once. Whoever ends a run
-- locks its row, then looks who waits; so it is locked here, too. Returns the paths that must ask again, with their runs:
-- a row was locked.
DECLARE
    runs uuid[] := ARRAY(SELECT troth_schema.latest(x.run) FROM unnest(p_run) WITH ORDINALITY AS x (run, n) ORDER BY x.n);
    alive uuid[];
    busy jsonb;
BEGIN
    alive := ARRAY(SELECT r.id FROM troth_schema.run r WHERE r.id = ANY (runs) FOR KEY SHARE SKIP LOCKED);
    SELECT coalesce(jsonb_agg(jsonb_build_array(x.waiter, x.path)), '[]') INTO busy
    FROM unnest(runs, p_waiter, p_path) AS x (run, waiter, path) LEFT JOIN troth_schema.run r ON r.id = x.run
    WHERE x.run <> ALL (alive) AND (r.id IS NOT NULL OR troth_schema.latest(x.run) <> x.run);
    INSERT INTO troth_schema.run_waiter (run, waiter, path)
    SELECT x.run, x.waiter, x.path FROM unnest(runs, p_waiter, p_path) AS x (run, waiter, path)
    WHERE x.run = ANY (alive) ON CONFLICT DO NOTHING;
    INSERT INTO troth_schema.message (id, run_id, topic, payload)
    SELECT gen_random_uuid(), x.waiter, '!ended',
           troth_schema.end_told(x.path, x.run, coalesce(h.state::text, 'missing'), h.owes, h.outcome)
    FROM unnest(runs, p_waiter, p_path) AS x (run, waiter, path)
    LEFT JOIN troth_schema.run_history h ON h.id = x.run
    WHERE x.run <> ALL (alive) AND NOT busy @> jsonb_build_array(jsonb_build_array(x.waiter, x.path));
    RETURN busy;
END $$;


-- Steps in the user's transaction -----------------------------------------------------------------------------------

CREATE FUNCTION troth_schema.finish_step(
    p_run uuid, p_owner bigint, p_claim integer, p_path text, p_attempt smallint, p_seq integer,
    p_ok boolean, p_digest bytea, p_payload bytea, p_at double precision
) RETURNS void
LANGUAGE plpgsql AS $$
-- The last statement of a transaction step: the fence and the journal entry, committed with the user's rows. FOR SHARE
-- holds off a takeover until this transaction has ended.
BEGIN
    PERFORM 1 FROM troth_schema.run r WHERE r.id = p_run AND r.owner = p_owner AND r.claim = p_claim FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % is not owned by worker % any more', p_run, p_owner USING ERRCODE = 'TR001';
    END IF;
    INSERT INTO troth_schema.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
    VALUES (p_run, p_path, 2, p_attempt, p_seq, p_ok, p_digest, p_payload, to_timestamp(p_at));
END $$;
