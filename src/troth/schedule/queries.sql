-- Schedules: the work of relays, people's acts, and what operators look at. The rest is in migration 0011.

-- name: recorded
-- What is known of the schedules of these names.
SELECT s.name, s.digest IS NOT NULL, s.digest, s.superseded, s.cron, s.tz,
       extract(epoch FROM clock_timestamp() - s.seen_at)::float8
FROM troth_schema.schedule s WHERE s.name = ANY (%s)

-- name: clock
-- The time.
SELECT clock_timestamp()

-- name: declare_new
-- Declare a schedule that is not there yet.
INSERT INTO troth_schema.schedule (name, workflow, cron, tz, overlap, catch_up, missed, jitter, partition, priority, digest,
    next_at, look_at, seen_at)
VALUES (%(name)s, %(workflow)s, %(cron)s, %(tz)s, %(overlap)s, %(catch_up)s, %(missed)s, %(jitter)s, %(partition)s,
    %(priority)s, %(digest)s, %(next_at)s, %(look_at)s, clock_timestamp())
ON CONFLICT (name) DO NOTHING

-- name: declare_over
-- Take the place of another declaration, if it is still that one. Without another time, its next firing stays.
UPDATE troth_schema.schedule s
SET workflow = %(workflow)s, cron = %(cron)s, tz = %(tz)s, overlap = %(overlap)s, catch_up = %(catch_up)s,
    missed = %(missed)s, jitter = %(jitter)s, partition = %(partition)s, priority = %(priority)s, digest = %(digest)s,
    superseded = %(superseded)s, seen_at = clock_timestamp(),
    next_at = CASE WHEN %(moves)s THEN %(next_at)s ELSE s.next_at END,
    look_at = CASE WHEN %(moves)s THEN %(look_at)s ELSE s.look_at END,
    held_until = CASE WHEN NOT %(moves)s THEN s.held_until END
WHERE s.name = %(name)s AND s.digest = %(was)s

-- name: confirm
-- A program with these declarations is there.
UPDATE troth_schema.schedule s SET seen_at = clock_timestamp()
WHERE s.name IN (
    SELECT m.name FROM troth_schema.schedule m JOIN unnest(%(names)s::text[], %(digests)s::bytea[]) AS d (name, digest)
        ON d.name = m.name AND d.digest = m.digest
    ORDER BY m.name FOR NO KEY UPDATE OF m SKIP LOCKED)

-- name: due_in
-- In how many seconds this program has something to do; null: nobody knows of anything.
SELECT least(
    (SELECT extract(epoch FROM s.look_at - clock_timestamp())::float8 FROM troth_schema.schedule s
     WHERE s.paused_at IS NULL AND s.look_at IS NOT NULL AND (s.digest IS NULL AND s.workflow = ANY (%(workflows)s)
        OR s.digest IS NOT NULL AND (s.name, s.digest) IN (
            SELECT d.name, d.digest FROM unnest(%(names)s::text[], %(digests)s::bytea[]) AS d (name, digest)))
     ORDER BY s.look_at LIMIT 1),
    (SELECT 0::float8 FROM troth_schema.schedule_wish w JOIN troth_schema.schedule s ON s.name = w.schedule
     WHERE s.digest IS NULL AND s.workflow = ANY (%(workflows)s)
        OR s.digest IS NOT NULL AND (s.name, s.digest) IN (
            SELECT d.name, d.digest FROM unnest(%(names)s::text[], %(digests)s::bytea[]) AS d (name, digest))
     LIMIT 1))

-- name: claim_due
-- Lock what is due and what nobody else has. The time is that of the statement, so that the index can be asked.
SELECT s.name, s.workflow, s.cron, s.tz, s.overlap, s.catch_up, s.missed, s.jitter, s.digest IS NOT NULL, s.input, s.time_in,
       s.partition, s.priority, s.next_at, s.held_until, s.last_run, s.entries
FROM troth_schema.schedule s
WHERE s.paused_at IS NULL AND s.look_at IS NOT NULL AND s.look_at <= statement_timestamp()
  AND (s.digest IS NULL AND s.workflow = ANY (%(workflows)s)
    OR s.digest IS NOT NULL AND (s.name, s.digest) IN (
        SELECT d.name, d.digest FROM unnest(%(names)s::text[], %(digests)s::bytea[]) AS d (name, digest)))
ORDER BY s.look_at LIMIT %(limit)s FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: claim_wishes
-- Lock what people asked for, and its schedules.
SELECT w.id, w.at, w.by, w.note,
       s.name, s.workflow, s.cron, s.tz, s.overlap, s.catch_up, s.missed, s.jitter, s.digest IS NOT NULL, s.input, s.time_in,
       s.partition, s.priority, coalesce(s.next_at, w.at), s.held_until, s.last_run, s.entries
FROM troth_schema.schedule_wish w JOIN troth_schema.schedule s ON s.name = w.schedule
WHERE s.digest IS NULL AND s.workflow = ANY (%(workflows)s)
    OR s.digest IS NOT NULL AND (s.name, s.digest) IN (
        SELECT d.name, d.digest FROM unnest(%(names)s::text[], %(digests)s::bytea[]) AS d (name, digest))
ORDER BY w.id LIMIT %(limit)s FOR NO KEY UPDATE OF w, s SKIP LOCKED

-- name: alive
-- Which of these runs have not ended. Asked after the schedules are locked: an older snapshot would not see a run that was just started.
-- One that goes on as another run has not.
SELECT a.id FROM unnest(%s::uuid[]) AS a (id)
WHERE EXISTS (SELECT 1 FROM troth_schema.run r WHERE r.id = troth_schema.latest(a.id))

-- name: cancel
-- Ask a run to stop: 'sent', 'ended', 'missing', or 'busy' where that would have to wait.
SELECT troth_schema.send_message(p_id => %s::uuid, p_run => %s::uuid, p_key => NULL::text, p_topic => '!cancel'::text,
    p_payload => 'null'::bytea, p_once => NULL::text, p_waits => false)

-- name: write
-- Write entries of histories, and start their runs.
SELECT of_schedule, entry, started FROM troth_schema.schedule_write(
    %s::text[], %s::int4[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::uuid[],
    %s::text[], %s::text[], %s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::int2[])

-- name: trace
-- Say in which context runs were started.
SELECT troth_schema.trace_runs(%s::uuid[], %s::text[])

-- name: move
-- Move schedules on, and forget what is too long ago.
WITH moved AS (
    UPDATE troth_schema.schedule s
    SET next_at = m.next_at, look_at = m.look_at, held_until = m.held_until, entries = m.entries,
        last_at = coalesce(m.last_at, s.last_at), last_result = coalesce(m.last_result, s.last_result),
        last_run = coalesce(m.last_run, s.last_run)
    FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::int4[], %s::timestamptz[], %s::text[],
        %s::uuid[]) AS m (name, next_at, look_at, held_until, entries, last_at, last_result, last_run)
    WHERE s.name = m.name RETURNING s.name, s.entries
)
DELETE FROM troth_schema.schedule_firing f USING moved WHERE f.schedule = moved.name AND f.n <= moved.entries - 100

-- name: fulfilled
-- What people asked for is done.
WITH done AS (DELETE FROM troth_schema.schedule_wish w WHERE w.id = ANY (%s)),
counted AS (
    UPDATE troth_schema.schedule s SET entries = m.entries FROM unnest(%s::text[], %s::int4[]) AS m (name, entries)
    WHERE s.name = m.name RETURNING s.name, s.entries
)
DELETE FROM troth_schema.schedule_firing f USING counted WHERE f.schedule = counted.name AND f.n <= counted.entries - 100

-- name: create
-- A schedule of the user's own data.
INSERT INTO troth_schema.schedule (name, workflow, cron, tz, overlap, catch_up, missed, jitter, partition, priority, input,
    time_in, next_at, look_at)
VALUES (%(name)s, %(workflow)s, %(cron)s, %(tz)s, %(overlap)s, %(catch_up)s, %(missed)s, %(jitter)s, %(partition)s,
    %(priority)s, %(input)s, %(time_in)s, %(next_at)s, %(look_at)s)
ON CONFLICT (name) DO NOTHING RETURNING name

-- name: hold
-- Lock a schedule, and read what acts need.
SELECT clock_timestamp(), s.workflow, s.cron, s.tz, s.overlap, s.catch_up, s.missed, s.jitter, s.digest IS NOT NULL,
       s.digest IS NOT NULL AND s.seen_at > clock_timestamp() - interval '60 seconds', s.input, s.time_in,
       s.partition, s.priority, s.next_at, s.held_until, s.paused_at, s.entries
FROM troth_schema.schedule s WHERE s.name = %s FOR NO KEY UPDATE

-- name: change
-- Give a stored schedule other terms or arguments.
UPDATE troth_schema.schedule s
SET workflow = %(workflow)s, cron = %(cron)s, tz = %(tz)s, overlap = %(overlap)s, catch_up = %(catch_up)s,
    missed = %(missed)s, jitter = %(jitter)s, partition = %(partition)s, priority = %(priority)s, input = %(input)s,
    time_in = %(time_in)s, held_until = CASE WHEN NOT %(moves)s THEN s.held_until END,
    next_at = CASE WHEN %(moves)s THEN %(next_at)s ELSE s.next_at END,
    look_at = CASE WHEN %(moves)s THEN %(look_at)s ELSE s.look_at END
WHERE s.name = %(name)s

-- name: delete
-- Forget a schedule, and all that is known of it.
WITH firings AS (DELETE FROM troth_schema.schedule_firing f WHERE f.schedule = %(name)s),
wishes AS (DELETE FROM troth_schema.schedule_wish w WHERE w.schedule = %(name)s)
DELETE FROM troth_schema.schedule s WHERE s.name = %(name)s

-- name: pause
-- Let a schedule rest. Who paused it first has paused it.
UPDATE troth_schema.schedule s
SET paused_by = CASE WHEN s.paused_at IS NULL THEN %(by)s ELSE s.paused_by END,
    paused_note = CASE WHEN s.paused_at IS NULL THEN %(note)s ELSE s.paused_note END,
    paused_at = coalesce(s.paused_at, clock_timestamp())
WHERE s.name = %(name)s RETURNING s.name

-- name: resume
-- Let it go on.
UPDATE troth_schema.schedule s SET paused_at = NULL, paused_by = NULL, paused_note = NULL WHERE s.name = %s

-- name: wish
-- Ask for firings.
INSERT INTO troth_schema.schedule_wish (schedule, at, by, note) SELECT %s, at, %s, %s FROM unnest(%s::timestamptz[]) AS t (at)

-- name: ring
-- There is something to do.
SELECT pg_notify('troth_schema' || '.schedule', '')

-- name: lines
-- How schedules stand.
SELECT s.name, s.workflow, s.cron, s.tz, s.overlap, s.catch_up, s.missed, s.jitter, s.digest IS NOT NULL,
       s.digest IS NOT NULL AND s.seen_at < clock_timestamp() - interval '60 seconds', s.next_at, s.paused_at, s.paused_by,
       s.paused_note, s.last_at, s.last_result, s.last_run, s.seen_at
FROM troth_schema.schedule s
WHERE (%(name)s::text IS NULL OR s.name = %(name)s) AND (%(workflow)s::text IS NULL OR s.workflow = %(workflow)s)
  AND (NOT %(paused)s OR s.paused_at IS NOT NULL) AND s.name > %(after)s
ORDER BY s.name LIMIT %(limit)s

-- name: history
-- What came of the last firings, the latest first.
SELECT f.n, f.at, f.until, f.result, f.run, coalesce(r.state, h.state)::text, f.by, f.note, f.written_at
FROM troth_schema.schedule_firing f
CROSS JOIN LATERAL troth_schema.latest(f.run) AS last (id)
LEFT JOIN troth_schema.run r ON r.id = last.id
LEFT JOIN troth_schema.run_history h ON h.id = last.id
WHERE f.schedule = %(name)s ORDER BY f.n DESC LIMIT %(limit)s
