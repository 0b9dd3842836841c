-- Traces and numbers: the context in which a run was started or a message was sent, and what happened in each minute.
--
--   worker_minute   what a worker has done in a minute, by workflow   (for charts; forgotten after two days)
--
-- A trace is a W3C traceparent: null where nobody traces. flush() is that of 0004, with traces.

ALTER TABLE troth_schema.run ADD COLUMN trace text;
ALTER TABLE troth_schema.run_history ADD COLUMN trace text;
ALTER TABLE troth_schema.message ADD COLUMN trace text;

CREATE TABLE troth_schema.worker_minute (
    minute           timestamptz NOT NULL,
    worker           bigint NOT NULL,
    workflow         text NOT NULL,
    started          integer NOT NULL,          -- taken up for the first time
    succeeded        integer NOT NULL,
    failed           integer NOT NULL,
    cancelled        integer NOT NULL,
    attention        integer NOT NULL,          -- came to stand in attention
    steps            integer NOT NULL,          -- calls that were answered
    effects_unknown  integer NOT NULL,          -- attempts whose outcome was not known
    PRIMARY KEY (minute, worker, workflow)
);

CREATE FUNCTION troth_schema.trace_runs(p_run uuid[], p_trace text[]) RETURNS void
LANGUAGE sql AS $$
    -- In the transaction that has started these runs: say in which context. Of runs that are not there nothing is said.
    UPDATE troth_schema.run r SET trace = t.trace FROM unnest(p_run, p_trace) AS t (run, trace)
    WHERE r.id = t.run AND r.trace IS NULL
$$;

DROP FUNCTION troth_schema.flush;

CREATE FUNCTION troth_schema.flush(
    p_worker bigint, p_n bigint,
    -- messages to send (of every group of arrays: NULL if there is nothing)
    g_id uuid[], g_run uuid[], g_key text[], g_topic text[], g_payload bytea[], g_once text[], g_trace text[],
    -- runs to start; s_claim: by this worker, at once
    s_id uuid[], s_workflow text[], s_key text[], s_input bytea[], s_digest bytea[], s_starts_at double precision[],
    s_claim boolean[], s_queue text[], s_partition text[], s_priority integer[],
    -- which runs start them, with which call they wait for the end, and until when they may take
    s_parent uuid[], s_path text[], s_deadline double precision[], s_trace text[],
    -- calls that want to hear of the end of a run
    w_run uuid[], w_waiter uuid[], w_path text[],
    -- journal entries
    e_run uuid[], e_path text[], e_kind smallint[], e_attempt smallint[], e_seq integer[], e_ok boolean[],
    e_digest bytea[], e_payload bytea[], e_at double precision[],
    -- messages that were heard
    h_id uuid[],
    -- how far runs say that they are
    p_run uuid[], p_position double precision[], p_payload bytea[],
    -- runs that began to undo
    u_run uuid[],
    -- runs that ended; f_final: a cancellation was already heard; f_owes: they did what their parents may have to undo
    f_run uuid[], f_state text[], f_outcome bytea[], f_final boolean[], f_owes boolean[],
    -- those of them that go on as another run; n_claim: by this worker, at once
    n_run uuid[], n_id uuid[], n_input bytea[], n_starts_at double precision[], n_claim boolean[], n_deadline double precision[],
    -- runs to let go of, until a time (null: until a message or a person wakes them)
    r_run uuid[], r_state text[], r_wake_at double precision[], r_reason text[], r_detail bytea[], r_topics text[],
    -- runs whose messages to read
    l_run uuid[],
    -- how many runs to claim, of which workflows; in turn from which queues (null: those without one), within which limits
    -- (null: none), and after which partition
    c_limit integer, c_workflows text[],
    c_queue text[], c_concurrency integer[], c_per_partition integer[], c_after text[]
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
    some_once boolean;
    some_progress boolean;
    ending uuid[];
    held uuid[];
    told uuid[];
    untold jsonb := '[]';
    cancelled uuid[] := '{}';
    heard uuid[] := '{}';
    mail jsonb := '[]';
    claimed jsonb := '[]';
    more boolean := false;
    undoing uuid[] := '{}';
    turn record;
    room integer;
    line jsonb;
    lines jsonb := '[]';
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
            g.id, troth_schema.send_message(g.id, g.run, g.key, g.topic, g.payload, g.once, false)))
        INTO sent FROM unnest(g_id, g_run, g_key, g_topic, g_payload, g_once) AS g (id, run, key, topic, payload, once);
        IF g_trace IS NOT NULL THEN
            UPDATE troth_schema.message m SET trace = g.trace FROM unnest(g_id, g_trace) AS g (id, trace) WHERE m.id = g.id;
        END IF;
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
        INSERT INTO troth_schema.run (id, workflow, key, input, state, owner, claim, starts_at, wake_at,
                                      queue, partition, priority, in_line, parent, deadline, trace)
        SELECT s.id, s.workflow, s.key, s.input,
               CASE WHEN s.claim THEN 'running' ELSE 'ready' END::troth_schema.run_state,
               CASE WHEN s.claim THEN p_worker END, CASE WHEN s.claim THEN 1 ELSE 0 END,
               to_timestamp(s.starts_at), troth_schema.due(s.starts_at), s.queue, s.partition, s.priority,
               s.queue IS NOT NULL AND NOT s.claim AND troth_schema.due(s.starts_at) <= clock_timestamp(),
               s.parent, to_timestamp(s.deadline), s.trace
        FROM unnest(s_id, s_workflow, s_key, s_input, s_starts_at, s_claim, s_queue, s_partition, s_priority, s_parent,
                    s_deadline, s_trace)
            AS s (id, workflow, key, input, starts_at, claim, queue, partition, priority, parent, deadline, trace)
        WHERE s.key IS NULL OR s.id = ANY (fresh);
        IF s_path IS NOT NULL THEN
            INSERT INTO troth_schema.run_waiter (run, waiter, path)
            SELECT s.id, s.parent, s.path FROM unnest(s_id, s_key, s_parent, s_path) AS s (id, key, parent, path)
            WHERE s.path IS NOT NULL AND (s.key IS NULL OR s.id = ANY (fresh));
        END IF;
    END IF;

    IF w_run IS NOT NULL THEN
        untold := troth_schema.await_ends(w_run, w_waiter, w_path);
        l_run := coalesce(l_run, '{}') || w_waiter;
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

    IF p_run IS NOT NULL THEN
        INSERT INTO troth_schema.run_progress AS p (run_id, position, payload)
        SELECT x.run, x.position::bigint, x.payload FROM unnest(p_run, p_position, p_payload) AS x (run, position, payload)
        ON CONFLICT (run_id) DO UPDATE SET position = excluded.position, payload = excluded.payload, at = clock_timestamp()
        WHERE excluded.position > p.position;
    END IF;

    IF u_run IS NOT NULL THEN
        locked := ARRAY(SELECT r.id FROM troth_schema.run r
                        WHERE r.id = ANY (u_run) AND r.owner = p_worker FOR NO KEY UPDATE SKIP LOCKED);
        UPDATE troth_schema.run r SET state = 'undoing' WHERE r.id = ANY (locked);
        undoing := ARRAY(SELECT u.run FROM unnest(u_run) AS u (run) WHERE u.run <> ALL (locked));
    END IF;

    IF f_run IS NOT NULL THEN
        -- A sender holds KEY SHARE until it commits: skip its run now and end it in a later flush.
        locked := ARRAY(SELECT r.id FROM troth_schema.run r
                        WHERE r.id = ANY (f_run) AND r.owner = p_worker FOR UPDATE SKIP LOCKED);
        all_locked := cardinality(locked) = cardinality(f_run);
        -- A new statement, so that it sees what was sent before the lock was granted. Mostly there is no mail at all.
        some_mail := EXISTS (SELECT 1 FROM troth_schema.message m ORDER BY m.id LIMIT 1);
        some_once := EXISTS (SELECT 1 FROM troth_schema.message_once o ORDER BY o.addressee, o.topic, o.key LIMIT 1);
        some_progress := EXISTS (SELECT 1 FROM troth_schema.run_progress p ORDER BY p.run_id LIMIT 1);
        IF some_mail THEN
            SELECT coalesce(array_agg(DISTINCT m.run_id), '{}') INTO cancelled FROM troth_schema.message m
            WHERE m.run_id = ANY (locked) AND m.topic = '!cancel';
            cancelled := cancelled || ARRAY(
                SELECT r.id FROM troth_schema.run r JOIN troth_schema.message m ON m.key = r.key
                WHERE r.id = ANY (locked) AND r.key IS NOT NULL AND m.topic = '!cancel');
        END IF;
        -- Who waits for an end hears of it, and where that cannot be told now, there is no end yet.
        IF EXISTS (SELECT 1 FROM troth_schema.run_waiter w ORDER BY w.run, w.waiter, w.path LIMIT 1) THEN
            some_mail := true;
            ending := ARRAY(SELECT f.run FROM unnest(f_run, f_final) AS f (run, final)
                            WHERE f.run = ANY (locked) AND (f.final OR f.run <> ALL (cancelled)));
            UPDATE troth_schema.run_waiter w SET run = n.id FROM unnest(n_run, n_id) AS n (run, id)
            WHERE w.run = n.run AND n.run = ANY (ending);
            SELECT t.busy, t.mine INTO held, told
            FROM (SELECT array_agg(f.run) AS runs, array_agg(f.state) AS states, array_agg(f.outcome) AS outcomes,
                         array_agg(f.owes) AS owes
                  FROM unnest(f_run, f_state, f_outcome, f_owes) AS f (run, state, outcome, owes)
                  WHERE f.run = ANY (ending)) AS e,
                 troth_schema.tell_waiters(p_worker, e.runs, e.states, e.outcomes, e.owes) AS t;
            IF told <> '{}' THEN
                l_run := coalesce(l_run, '{}') || told;
            END IF;
            IF held <> '{}' THEN
                locked := ARRAY(SELECT x.run FROM unnest(locked) AS x (run) WHERE x.run <> ALL (held));
                all_locked := false;
            END IF;
        END IF;
        WITH ended AS (
            SELECT f.run, f.state, f.outcome, f.owes, n.id AS continued, n.input AS next_input, n.starts_at AS next_at,
                   n.claim AS next_claim, n.deadline AS next_deadline
            FROM unnest(f_run, f_state, f_outcome, f_final, f_owes) AS f (run, state, outcome, final, owes)
            LEFT JOIN unnest(n_run, n_id, n_input, n_starts_at, n_claim, n_deadline)
                AS n (run, id, input, starts_at, claim, deadline) ON n.run = f.run
            WHERE (all_locked OR f.run = ANY (locked)) AND (f.final OR f.run <> ALL (cancelled))
        ), gone AS (
            DELETE FROM troth_schema.run r USING ended WHERE r.id = ended.run
            RETURNING r.id, r.workflow, r.key, r.input, ended.state, r.claim, r.starts_at, ended.outcome,
                      r.queue, r.partition, r.priority, r.parent, r.trace, ended.owes, ended.continued, ended.next_input,
                      ended.next_at, ended.next_claim, ended.next_deadline
        ), continued AS (
            INSERT INTO troth_schema.run (id, workflow, key, input, state, owner, claim, starts_at, wake_at,
                                          queue, partition, priority, in_line, parent, deadline, trace)
            SELECT g.continued, g.workflow, g.key, g.next_input,
                   CASE WHEN g.next_claim THEN 'running' ELSE 'ready' END::troth_schema.run_state,
                   CASE WHEN g.next_claim THEN p_worker END, CASE WHEN g.next_claim THEN 1 ELSE 0 END,
                   to_timestamp(g.next_at), clock_timestamp(), g.queue, g.partition, g.priority,
                   g.queue IS NOT NULL AND NOT g.next_claim, g.parent, to_timestamp(g.next_deadline), g.trace
            FROM gone g WHERE g.continued IS NOT NULL
        ), rekeyed AS (
            UPDATE troth_schema.start_key k SET run_id = g.continued FROM gone g
            WHERE g.continued IS NOT NULL AND k.key = g.key AND k.run_id = g.id
        ), unheard AS (
            DELETE FROM troth_schema.message m USING gone WHERE some_mail AND m.key = gone.key AND gone.continued IS NULL
        ), forgotten AS (
            DELETE FROM troth_schema.message_once o USING gone
            WHERE some_once AND o.addressee = troth_schema.addressee(gone.id, gone.key) AND gone.continued IS NULL
        ), silent AS (
            DELETE FROM troth_schema.run_progress p USING gone WHERE some_progress AND p.run_id = gone.id
        )
        INSERT INTO troth_schema.run_history (id, workflow, key, input, state, claim, starts_at, outcome,
                                              queue, partition, priority, parent, continued, owes, trace)
        SELECT g.id, g.workflow, g.key, g.input, g.state::troth_schema.run_state, g.claim, g.starts_at, g.outcome,
               g.queue, g.partition, g.priority, g.parent, g.continued, coalesce(g.owes, false), g.trace
        FROM gone g;
        IF n_run IS NOT NULL THEN
            -- What was said to them, and not heard, is said to whom they go on as.
            UPDATE troth_schema.message m SET run_id = h.continued FROM troth_schema.run_history h
            WHERE h.id = ANY (n_run) AND h.id = ANY (locked) AND m.run_id = h.id AND m.topic NOT LIKE '!%';
            UPDATE troth_schema.message_once o SET addressee = h.continued::text FROM troth_schema.run_history h
            WHERE h.id = ANY (n_run) AND h.id = ANY (locked) AND h.key IS NULL AND o.addressee = h.id::text;
        END IF;
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
        SELECT coalesce(jsonb_agg(jsonb_build_array(r.id, m.id, m.topic, encode(m.payload, 'base64'), m.trace) ORDER BY m.id), '[]')
        INTO mail FROM troth_schema.run r JOIN troth_schema.message m ON m.run_id = r.id OR m.key = r.key
        WHERE r.id = ANY (l_run);
    END IF;

    -- Last of all, since the locks of limited queues are held from here on until the commit.
    IF c_limit > 0 AND c_queue IS NULL THEN
        line := troth_schema.claim_due(p_worker, c_limit, c_workflows);
        claimed := line -> 'claimed';
        more := line ->> 'left' = 'more';
    ELSIF c_limit > 0 THEN
        more := troth_schema.line_up() = 1000;
        FOR turn IN
            SELECT q.*, cardinality(c_queue) - q.nth + 1 AS waiting
            FROM unnest(c_queue, c_concurrency, c_per_partition, c_after) WITH ORDINALITY
                AS q (queue, concurrency, per_partition, after, nth)
        LOOP
            -- An equal part of what there is room for; what one leaves, the next ones share.
            room := ceil((c_limit - jsonb_array_length(claimed)) / turn.waiting::numeric);
            IF turn.queue IS NULL THEN
                line := troth_schema.claim_due(p_worker, room, c_workflows);
            ELSE
                line := troth_schema.claim_in_line(
                    p_worker, turn.queue, room, turn.concurrency, turn.per_partition, turn.after, c_workflows);
            END IF;
            claimed := claimed || (line -> 'claimed');
            more := more OR coalesce(line ->> 'left' = 'more', false);
            IF turn.queue IS NOT NULL THEN
                lines := lines || jsonb_build_array(jsonb_build_array(turn.queue, line -> 'after', line -> 'left'));
            END IF;
        END LOOP;
    END IF;

    IF sent = '[]' AND busy = '{}' AND known = '[]' AND cancelled = '{}' AND heard = '{}' AND mail = '[]'
       AND claimed = '[]' AND coalesce(l_run, '{}') = '{}' AND undoing = '{}' AND lines = '[]' AND untold = '[]' THEN
        RETURN '{}';  -- nothing to say, and so nothing to store with the mark
    END IF;
    answer := jsonb_strip_nulls(jsonb_build_object(
        'sent', nullif(sent, '[]'), 'busy_keys', nullif(to_jsonb(busy), '[]'), 'known', nullif(known, '[]'),
        'cancelled', nullif(to_jsonb(cancelled), '[]'), 'busy_runs', nullif(to_jsonb(heard), '[]'),
        'kept', nullif(to_jsonb(l_run), '[]'), 'mail', nullif(mail, '[]'), 'claimed', nullif(claimed, '[]'),
        'more', nullif(coalesce(more, false), false), 'lines', nullif(lines, '[]'),
        'busy_undoing', nullif(to_jsonb(undoing), '[]'), 'busy_waits', nullif(untold, '[]')));
    UPDATE troth_schema.mark m SET reply = answer WHERE m.worker = p_worker AND m.n = p_n;
    RETURN answer;
END $$;
