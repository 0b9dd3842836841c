-- The journal protocol, as far as it must hold for every writer.
--
-- Entry points: register, beat, takeover, release_gone (membership); start_run, send_message, finish_step (in the user's
-- transaction); flush (the group commit). Errors of our own have SQLSTATE class TR: TR001 fenced, TR002 history lost.
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

CREATE FUNCTION troth_schema.register(p_name text, p_executes boolean, p_lease_s real) RETURNS bigint
LANGUAGE sql AS $$
    -- Mark 0: so that flush 1 has a predecessor like all others, and cannot be executed again when its own mark is gone.
    WITH joined AS (
        INSERT INTO troth_schema.worker (name, executes, lease_s) VALUES (p_name, p_executes, p_lease_s) RETURNING id)
    INSERT INTO troth_schema.mark (worker, n) SELECT id, 0 FROM joined RETURNING worker
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
        'due', (SELECT extract(epoch FROM r.wake_at) FROM troth_schema.run r
                WHERE r.owner IS NULL AND r.wake_at < 'infinity' ORDER BY r.wake_at LIMIT 1),
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
    UPDATE troth_schema.run SET owner = NULL, state = 'ready', wake_at = clock_timestamp()
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
    p_id uuid, p_workflow text, p_key text, p_input bytea, p_digest bytea, p_starts_at double precision
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
    INSERT INTO troth_schema.run (id, workflow, key, input, state, starts_at, wake_at)
    VALUES (p_id, p_workflow, p_key, p_input, 'ready', to_timestamp(p_starts_at), troth_schema.due(p_starts_at));
    PERFORM pg_notify('troth_schema' || '.ready', '');
    RETURN QUERY SELECT p_id, true, true;
END $$;

CREATE FUNCTION troth_schema.send_message(
    p_id uuid, p_run uuid, p_key text, p_topic text, p_payload bytea, p_waits boolean DEFAULT true
) RETURNS text
LANGUAGE plpgsql AS $$
-- Leave a message for a run, by id or by start key; the run may not have started yet. Returns 'sent', 'ended' or
-- 'missing'; and 'busy', if it may not wait, where somebody's open transaction is in the way. Order matters: lock the
-- run against release and completion, then look at its owner in a later statement. Whoever releases or completes the
-- run takes a conflicting lock first and looks for messages after.
DECLARE
    target uuid := p_run;
    stale boolean := current_setting('transaction_isolation') <> 'read committed';  -- reads on an older snapshot
    alive boolean;
    idle boolean;
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
        PERFORM 1 FROM troth_schema.run_history h WHERE h.id = target;
        RETURN CASE WHEN FOUND THEN 'ended' ELSE 'missing' END;
    END IF;
    INSERT INTO troth_schema.message (id, run_id, topic, payload) VALUES (p_id, target, p_topic, p_payload)
    ON CONFLICT (id) DO NOTHING;
    UPDATE troth_schema.run r SET wake_at = clock_timestamp(),
        state = CASE WHEN r.state = 'waiting' THEN 'ready' ELSE r.state END
    WHERE r.id = target AND r.owner IS NULL AND (r.state <> 'attention' OR p_topic = '!cancel');
    idle := FOUND;
    PERFORM pg_notify(CASE WHEN idle THEN 'troth_schema' || '.ready' ELSE 'troth_schema' || '.mail' END, target::text);
    RETURN 'sent';
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
    VALUES (p_run, p_path, 2, 0, p_seq, p_ok, p_digest, p_payload, to_timestamp(p_at));
END $$;


-- The group commit --------------------------------------------------------------------------------------------------

CREATE FUNCTION troth_schema.flush(
    p_worker bigint, p_n bigint,
    -- messages to send (of every group of arrays: NULL if there is nothing)
    g_id uuid[], g_run uuid[], g_key text[], g_topic text[], g_payload bytea[],
    -- runs to start; s_claim: by this worker, at once
    s_id uuid[], s_workflow text[], s_key text[], s_input bytea[], s_digest bytea[], s_starts_at double precision[],
    s_claim boolean[],
    -- journal entries
    e_run uuid[], e_path text[], e_kind smallint[], e_attempt smallint[], e_seq integer[], e_ok boolean[],
    e_digest bytea[], e_payload bytea[], e_at double precision[],
    -- messages that were heard
    h_id uuid[],
    -- runs that ended; f_final: a cancellation was already heard
    f_run uuid[], f_state text[], f_outcome bytea[], f_final boolean[],
    -- runs to let go of, until a time (null: until a message or a person wakes them)
    r_run uuid[], r_state text[], r_wake_at double precision[], r_reason text[], r_detail bytea[], r_topics text[],
    -- runs whose messages to read
    l_run uuid[],
    -- how many runs to claim, of which workflows
    c_limit integer, c_workflows text[]
) RETURNS jsonb
LANGUAGE plpgsql
-- The tables are empty when a plan is first cached and full when it is used: allow only plans that use the indexes.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    answer jsonb;
    busy text[] := '{}';
    fresh uuid[];
    known jsonb := '[]';
    sent jsonb := '[]';
    locked uuid[];
    all_locked boolean;
    some_mail boolean;
    cancelled uuid[] := '{}';
    heard uuid[] := '{}';
    mail jsonb := '[]';
    claimed jsonb := '[]';
BEGIN
    PERFORM troth_schema.require_fresh_reads();
    -- The fence. KEY SHARE lets the heartbeat update the row, and makes a takeover, which deletes it, wait.
    PERFORM 1 FROM troth_schema.worker w WHERE w.id = p_worker FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'worker % was taken over', p_worker USING ERRCODE = 'TR001';
    END IF;

    -- The mark. If this very flush is still in flight on a lost connection, the insert waits for its end.
    INSERT INTO troth_schema.mark (worker, n) VALUES (p_worker, p_n) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        -- Written, not only read: the commit of this answer must wait for a synchronous standby, too.
        UPDATE troth_schema.mark m SET asked = asked + 1 WHERE m.worker = p_worker AND m.n = p_n
        RETURNING coalesce(m.reply, '{}') INTO answer;
        RETURN answer;
    END IF;
    PERFORM 1 FROM troth_schema.mark m WHERE m.worker = p_worker AND m.n = p_n - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'flush % of worker % was acknowledged and is not in the database', p_n - 1, p_worker
            USING ERRCODE = 'TR002';
    END IF;
    -- By equality: a range would walk over every dead mark while an old snapshot is open.
    DELETE FROM troth_schema.mark m WHERE m.worker = p_worker AND m.n = p_n - 2;

    -- From here on a flush waits for no row and no key: what an open transaction holds goes to a later flush.
    IF g_id IS NOT NULL THEN
        SELECT jsonb_agg(jsonb_build_array(
            g.id, troth_schema.send_message(g.id, g.run, g.key, g.topic, g.payload, false)))
        INTO sent FROM unnest(g_id, g_run, g_key, g_topic, g_payload) AS g (id, run, key, topic, payload);
    END IF;

    IF s_id IS NOT NULL THEN
        -- A key that a user's open transaction holds must not stall everybody: it goes to the next flush.
        IF array_remove(s_key, NULL) <> '{}' THEN
            SELECT array_agg(DISTINCT s.key) INTO busy FROM unnest(s_key) AS s (key)
            WHERE s.key IS NOT NULL AND NOT pg_try_advisory_xact_lock(troth_schema.key_lock(s.key));
            busy := coalesce(busy, '{}');
            WITH taken AS (
                INSERT INTO troth_schema.start_key (key, run_id, digest)
                SELECT DISTINCT ON (s.key) s.key, s.id, s.digest
                FROM unnest(s_id, s_key, s_digest) AS s (id, key, digest)
                WHERE s.key IS NOT NULL AND s.key <> ALL (busy)
                ORDER BY s.key, s.id
                ON CONFLICT DO NOTHING RETURNING start_key.run_id)
            SELECT coalesce(array_agg(taken.run_id), '{}') INTO fresh FROM taken;
            SELECT coalesce(jsonb_agg(jsonb_build_array(s.id, k.run_id, k.digest = s.digest)), '[]') INTO known
            FROM unnest(s_id, s_key, s_digest) AS s (id, key, digest)
            JOIN troth_schema.start_key k ON k.key = s.key
            WHERE s.id <> ALL (fresh) AND s.key <> ALL (busy);
        END IF;
        INSERT INTO troth_schema.run (id, workflow, key, input, state, owner, claim, starts_at, wake_at)
        SELECT s.id, s.workflow, s.key, s.input,
               CASE WHEN s.claim THEN 'running' ELSE 'ready' END::troth_schema.run_state,
               CASE WHEN s.claim THEN p_worker END, CASE WHEN s.claim THEN 1 ELSE 0 END,
               to_timestamp(s.starts_at), troth_schema.due(s.starts_at)
        FROM unnest(s_id, s_workflow, s_key, s_input, s_starts_at, s_claim)
            AS s (id, workflow, key, input, starts_at, claim)
        WHERE s.key IS NULL OR s.id = ANY (fresh);
    END IF;

    IF e_run IS NOT NULL THEN
        INSERT INTO troth_schema.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
        SELECT e.run, e.path, e.kind, e.attempt, e.seq, e.ok, e.digest, e.payload, to_timestamp(e.at)
        FROM unnest(e_run, e_path, e_kind, e_attempt, e_seq, e_ok, e_digest, e_payload, e_at)
            AS e (run, path, kind, attempt, seq, ok, digest, payload, at);
    END IF;

    IF h_id IS NOT NULL THEN
        DELETE FROM troth_schema.message m WHERE m.id = ANY (h_id);
    END IF;

    IF f_run IS NOT NULL THEN
        -- A sender holds KEY SHARE until it commits: skip its run now and end it in a later flush.
        locked := ARRAY(SELECT r.id FROM troth_schema.run r
                        WHERE r.id = ANY (f_run) AND r.owner = p_worker FOR UPDATE SKIP LOCKED);
        all_locked := cardinality(locked) = cardinality(f_run);
        -- A new statement, so that it sees what was sent before the lock was granted. Mostly there is no mail at all.
        some_mail := EXISTS (SELECT 1 FROM troth_schema.message m ORDER BY m.id LIMIT 1);
        IF some_mail THEN
            SELECT coalesce(array_agg(DISTINCT m.run_id), '{}') INTO cancelled FROM troth_schema.message m
            WHERE m.run_id = ANY (locked) AND m.topic = '!cancel';
            cancelled := cancelled || ARRAY(
                SELECT r.id FROM troth_schema.run r JOIN troth_schema.message m ON m.key = r.key
                WHERE r.id = ANY (locked) AND r.key IS NOT NULL AND m.topic = '!cancel');
        END IF;
        WITH ended AS (
            SELECT f.run, f.state, f.outcome FROM unnest(f_run, f_state, f_outcome, f_final)
                AS f (run, state, outcome, final)
            WHERE (all_locked OR f.run = ANY (locked)) AND (f.final OR f.run <> ALL (cancelled))
        ), gone AS (
            DELETE FROM troth_schema.run r USING ended WHERE r.id = ended.run
            RETURNING r.id, r.workflow, r.key, r.input, ended.state, r.claim, r.starts_at, ended.outcome
        ), unheard AS (
            DELETE FROM troth_schema.message m USING gone WHERE some_mail AND m.key = gone.key
        )
        INSERT INTO troth_schema.run_history (id, workflow, key, input, state, claim, starts_at, outcome)
        SELECT g.id, g.workflow, g.key, g.input, g.state::troth_schema.run_state, g.claim, g.starts_at, g.outcome
        FROM gone g;
        IF some_mail THEN
            -- Nobody will hear what was still addressed to them.
            DELETE FROM troth_schema.message m
            WHERE m.run_id = ANY (locked) AND (m.run_id <> ALL (cancelled) OR m.run_id = ANY (
                SELECT f.run FROM unnest(f_run, f_final) AS f (run, final) WHERE f.final));
            cancelled := ARRAY(
                SELECT f.run FROM unnest(f_run, f_final) AS f (run, final)
                WHERE f.run = ANY (cancelled) AND NOT f.final);
        END IF;
        IF NOT all_locked THEN
            heard := ARRAY(SELECT f.run FROM unnest(f_run) AS f (run) WHERE f.run <> ALL (locked));
        END IF;
    END IF;

    IF r_run IS NOT NULL THEN
        locked := ARRAY(SELECT r.id FROM troth_schema.run r
                        WHERE r.id = ANY (r_run) AND r.owner = p_worker FOR UPDATE SKIP LOCKED);
        heard := heard || ARRAY(SELECT x.run FROM unnest(r_run) AS x (run) WHERE x.run <> ALL (locked));
        -- Look again before letting go: a run with unread messages stays, and its messages come with the answer.
        l_run := coalesce(l_run, '{}') || ARRAY(
            SELECT x.run FROM unnest(r_run, r_topics) AS x (run, topics)
            WHERE x.topics IS NOT NULL AND x.run = ANY (locked) AND EXISTS (
                SELECT 1 FROM troth_schema.run r JOIN troth_schema.message m ON m.run_id = r.id OR m.key = r.key
                WHERE r.id = x.run AND m.topic = ANY (string_to_array(x.topics, ','))));
        UPDATE troth_schema.run r
        SET owner = NULL, state = x.state::troth_schema.run_state, reason = x.reason, detail = x.detail,
            wake_at = CASE WHEN x.wake_at IS NULL THEN 'infinity' ELSE to_timestamp(x.wake_at) END
        FROM unnest(r_run, r_state, r_wake_at, r_reason, r_detail) AS x (run, state, wake_at, reason, detail)
        WHERE r.id = x.run AND r.id = ANY (locked) AND r.id <> ALL (l_run);
    END IF;

    IF cardinality(l_run) > 0 THEN
        SELECT coalesce(jsonb_agg(jsonb_build_array(r.id, m.id, m.topic, encode(m.payload, 'base64')) ORDER BY m.id), '[]')
        INTO mail FROM troth_schema.run r JOIN troth_schema.message m ON m.run_id = r.id OR m.key = r.key
        WHERE r.id = ANY (l_run);
    END IF;

    IF c_limit > 0 THEN
        WITH free AS (
            SELECT r.id FROM troth_schema.run r
            WHERE r.owner IS NULL AND r.wake_at <= clock_timestamp() AND r.workflow = ANY (c_workflows)
            ORDER BY r.wake_at, r.id LIMIT c_limit FOR NO KEY UPDATE SKIP LOCKED
        ), mine AS (
            UPDATE troth_schema.run r SET owner = p_worker, claim = r.claim + 1, state = 'running', reason = NULL, detail = NULL
            FROM free WHERE r.id = free.id RETURNING r.id
        )
        SELECT coalesce(jsonb_agg(mine.id), '[]') INTO claimed FROM mine;
    END IF;

    IF sent = '[]' AND busy = '{}' AND known = '[]' AND cancelled = '{}' AND heard = '{}' AND mail = '[]'
       AND claimed = '[]' AND coalesce(l_run, '{}') = '{}' THEN
        RETURN '{}';  -- nothing to say, and so nothing to store with the mark
    END IF;
    answer := jsonb_strip_nulls(jsonb_build_object(
        'sent', nullif(sent, '[]'), 'busy_keys', nullif(to_jsonb(busy), '[]'), 'known', nullif(known, '[]'),
        'cancelled', nullif(to_jsonb(cancelled), '[]'), 'busy_runs', nullif(to_jsonb(heard), '[]'),
        'kept', nullif(to_jsonb(l_run), '[]'), 'mail', nullif(mail, '[]'), 'claimed', nullif(claimed, '[]')));
    UPDATE troth_schema.mark m SET reply = answer WHERE m.worker = p_worker AND m.n = p_n;
    RETURN answer;
END $$;
