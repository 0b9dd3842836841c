-- Queues: runs that stand in line, and who is next.
--
-- A run with a queue stands in line from when it is due until it is claimed. Lines are read by skip-scan: one look at
-- the index finds the next partition, however many runs stand in the one before.

CREATE FUNCTION troth_schema.queue_lock(p_queue text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$ SELECT hashtextextended('troth_schema.queue:' || p_queue, 0) $$;

CREATE FUNCTION troth_schema.line_up() RETURNS integer
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
-- Put runs in line that have become due: who slept, and who was to start later. Returns how many.
DECLARE
    at timestamptz := clock_timestamp();  -- in a variable, so that the index can be entered by it
    moved integer;
BEGIN
    UPDATE troth_schema.run r SET in_line = true FROM (
        SELECT x.id FROM troth_schema.run x
        WHERE x.owner IS NULL AND x.queue IS NOT NULL AND NOT x.in_line AND x.wake_at <= at
        ORDER BY x.wake_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED) AS due
    WHERE r.id = due.id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END $$;

CREATE FUNCTION troth_schema.claim_due(p_worker bigint, p_want integer, p_workflows text[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
-- Claim up to p_want runs that have no queue, the longest due first. The answer is that of claim_in_line.
DECLARE
    at timestamptz := clock_timestamp();
    claimed jsonb;
BEGIN
    WITH free AS (
        SELECT r.id FROM troth_schema.run r
        WHERE r.owner IS NULL AND r.queue IS NULL AND r.wake_at <= at AND r.workflow = ANY (p_workflows)
        ORDER BY r.wake_at, r.id LIMIT p_want FOR NO KEY UPDATE SKIP LOCKED
    ), mine AS (
        UPDATE troth_schema.run r SET owner = p_worker, claim = r.claim + 1, state = 'running', reason = NULL, detail = NULL
        FROM free WHERE r.id = free.id RETURNING r.id
    )
    SELECT coalesce(jsonb_agg(mine.id), '[]') INTO claimed FROM mine;
    RETURN jsonb_build_object(
        'claimed', claimed, 'left', CASE WHEN jsonb_array_length(claimed) = p_want THEN 'more' END);
END $$;

CREATE FUNCTION troth_schema.claim_in_line(
    p_worker bigint, p_queue text, p_want integer, p_concurrency integer, p_per_partition integer, p_after text,
    p_workflows text[]
) RETURNS jsonb
LANGUAGE plpgsql
SET enable_bitmapscan = off
AS $$
-- Claim up to p_want runs of a queue: the smallest priority first, and within it from one partition after the other, from
-- the one after p_after on, an equal share from each. Returns them, the partition served last, and what was left behind:
-- 'more' (come again at once), 'limit' (when a slot is free), 'busy' (soon: a peer is at it), or nothing.
--
-- Whoever claims from a queue with limits counts what is in hand while nobody else can add to it: it holds the queue's
-- lock until its flush has committed, and counts in a statement after it got it. Nobody waits for that lock.
DECLARE
    limited boolean := p_concurrency IS NOT NULL OR p_per_partition IS NOT NULL;
    at timestamptz := clock_timestamp();
    room integer := p_want;
    level integer := -32768;
    after text := p_after;
    claimed uuid[] := '{}';
    taken uuid[];
    last_taken text;
    last_seen text;
    complete boolean;
    left_behind text;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM troth_schema.run r WHERE r.in_line AND r.queue = p_queue) THEN
        RETURN jsonb_build_object('claimed', '[]'::jsonb, 'after', after);
    END IF;
    IF limited AND NOT pg_try_advisory_xact_lock(troth_schema.queue_lock(p_queue)) THEN
        RETURN jsonb_build_object('claimed', '[]'::jsonb, 'after', after, 'left', 'busy');
    END IF;
    IF p_concurrency IS NOT NULL THEN
        SELECT least(p_want, p_concurrency - count(*)) INTO room FROM (
            SELECT 1 FROM troth_schema.run r
            WHERE r.owner IS NOT NULL AND r.queue = p_queue LIMIT p_concurrency) AS in_hand;
    END IF;
    WHILE room > 0 LOOP
        SELECT r.priority INTO level FROM troth_schema.run r
        WHERE r.in_line AND r.queue = p_queue AND r.priority >= level
        ORDER BY r.priority, r.partition, r.wake_at, r.id LIMIT 1;
        EXIT WHEN NOT FOUND;
        -- A round: every partition of this priority once, until enough of them may give something. Each look is a subquery
        -- with LIMIT 1, which is one descent of the index; OFFSET 0 keeps it from being written out, and done, twice.
        WITH RECURSIVE round (partition, wrapped, allowed, givers, turn) AS (
            SELECT after COLLATE "C", false, 0, 0, 0
            UNION ALL
            SELECT next.partition, round.wrapped OR next.partition <= round.partition, may.give,
                   round.givers + (may.give > 0)::integer, round.turn + 1
            FROM round CROSS JOIN LATERAL (SELECT CASE
                WHEN round.wrapped THEN (
                    SELECT r.partition FROM troth_schema.run r
                    WHERE r.in_line AND r.queue = p_queue AND r.priority = level
                      AND r.partition > round.partition AND r.partition <= after
                    ORDER BY r.partition, r.wake_at, r.id LIMIT 1)
                ELSE coalesce((
                    SELECT r.partition FROM troth_schema.run r
                    WHERE r.in_line AND r.queue = p_queue AND r.priority = level AND r.partition > round.partition
                    ORDER BY r.partition, r.wake_at, r.id LIMIT 1), (
                    SELECT r.partition FROM troth_schema.run r
                    WHERE r.in_line AND r.queue = p_queue AND r.priority = level AND r.partition <= after
                    ORDER BY r.partition, r.wake_at, r.id LIMIT 1)) END OFFSET 0) AS next (partition)
            CROSS JOIN LATERAL (SELECT CASE
                WHEN p_per_partition <= (
                    SELECT count(*) FROM (
                        SELECT 1 FROM troth_schema.run r
                        WHERE r.owner IS NOT NULL AND r.queue = p_queue AND r.partition = next.partition
                        LIMIT p_per_partition) AS in_hand) THEN 0
                WHEN (
                    SELECT 1 FROM troth_schema.run r
                    WHERE r.in_line AND r.queue = p_queue AND r.priority = level AND r.partition = next.partition
                      AND r.wake_at <= at AND r.workflow = ANY (p_workflows) LIMIT 1) IS NULL THEN 0
                WHEN p_per_partition IS NULL THEN room
                ELSE p_per_partition - (
                    SELECT count(*)::integer FROM troth_schema.run r
                    WHERE r.owner IS NOT NULL AND r.queue = p_queue AND r.partition = next.partition) END OFFSET 0)
                AS may (give)
            WHERE round.givers < room AND next.partition IS NOT NULL
        ), picked AS (
            SELECT first.id, round.partition, round.turn FROM round CROSS JOIN LATERAL (
                SELECT r.id FROM troth_schema.run r
                WHERE r.in_line AND r.queue = p_queue AND r.priority = level AND r.partition = round.partition
                  AND r.wake_at <= at AND r.workflow = ANY (p_workflows)
                ORDER BY r.wake_at, r.id
                LIMIT least(round.allowed, room / (SELECT greatest(1, max(round.givers)) FROM round))
                FOR NO KEY UPDATE SKIP LOCKED) AS first
            WHERE round.allowed > 0
        ), mine AS (
            UPDATE troth_schema.run r
            SET owner = p_worker, claim = r.claim + 1, state = 'running', reason = NULL, detail = NULL, in_line = false
            FROM picked WHERE r.id = picked.id RETURNING r.id, picked.partition, picked.turn
        )
        SELECT array_agg(mine.id), (array_agg(mine.partition ORDER BY mine.turn DESC))[1],
               (SELECT max(round.givers) < room FROM round), (SELECT round.partition FROM round ORDER BY round.turn DESC LIMIT 1)
        INTO taken, last_taken, complete, last_seen FROM mine;
        IF taken IS NOT NULL THEN
            claimed := claimed || taken;
            room := room - cardinality(taken);
            after := last_taken;
        ELSIF complete THEN
            level := level + 1;
        ELSE  -- others hold what these partitions might have given
            after := last_seen;
            left_behind := 'busy';
            EXIT;
        END IF;
    END LOOP;
    IF cardinality(claimed) = p_want THEN
        left_behind := 'more';
    ELSIF left_behind IS NULL AND limited
          AND EXISTS (SELECT 1 FROM troth_schema.run r WHERE r.in_line AND r.queue = p_queue) THEN
        left_behind := 'limit';
    END IF;
    RETURN jsonb_build_object('claimed', to_jsonb(claimed), 'after', after, 'left', left_behind);
END $$;

CREATE FUNCTION troth_schema.adopt(
    p_queue text, p_waited_s double precision, p_workflows text[], p_queues text[]
) RETURNS integer
LANGUAGE plpgsql AS $$
-- Move runs out of a queue that the caller's program does not have, into the queues that their workflows have now (null:
-- none). Only what nobody has claimed for a while: perhaps there are workers that still serve it. Returns how many.
DECLARE
    moved integer;
BEGIN
    UPDATE troth_schema.run r SET queue = stray.queue, in_line = stray.queue IS NOT NULL,
        partition = CASE WHEN stray.queue IS NOT NULL THEN r.partition END,
        priority = CASE WHEN stray.queue IS NOT NULL THEN r.priority END
    FROM (SELECT x.id, w.queue FROM troth_schema.run x JOIN unnest(p_workflows, p_queues) AS w (workflow, queue)
              ON w.workflow = x.workflow
          WHERE x.in_line AND x.queue = p_queue AND x.wake_at < clock_timestamp() - make_interval(secs => p_waited_s)
          LIMIT 1000 FOR NO KEY UPDATE OF x SKIP LOCKED) AS stray
    WHERE r.id = stray.id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END $$;
