-- What operators do to runs. Each act is one transaction that holds the run's row.

-- name: lock_run
-- How the run stands; nobody claims it, releases it or ends it until this transaction has ended.
SELECT r.state::text, r.reason, r.detail, extract(epoch FROM clock_timestamp())::float8 FROM troth_schema.run r WHERE r.id = %s FOR NO KEY UPDATE

-- name: look_at_run
-- How the run stands, to read only.
SELECT r.state::text, r.reason, r.detail, extract(epoch FROM clock_timestamp())::float8 FROM troth_schema.run r WHERE r.id = %s

-- name: ended_state
-- How the run ended.
SELECT h.state::text FROM troth_schema.run_history h WHERE h.id = %s

-- name: entries
-- What is recorded of the run, or of one path of it.
SELECT j.run_id, j.path, j.kind, j.attempt, j.seq, j.ok, j.digest, j.payload, extract(epoch FROM j.at)::float8
FROM troth_schema.journal j
WHERE j.run_id = %(run)s AND (%(path)s::text IS NULL OR j.path = %(path)s)
ORDER BY j.at, j.seq

-- name: decide
-- Record what a person decided about a path, later than all that was recorded before: workers only estimate this clock.
INSERT INTO troth_schema.journal (run_id, path, kind, attempt, payload, at)
SELECT %(run)s, %(path)s, 5, coalesce(max(j.attempt) FILTER (WHERE j.path = %(path)s AND j.kind = 5), 0) + 1,
       %(payload)s, greatest(clock_timestamp(), max(j.at) + interval '1 microsecond')
FROM troth_schema.journal j WHERE j.run_id = %(run)s
RETURNING attempt

-- name: answer
-- Record the answer of an effect, as the next thing that the workflow is told.
INSERT INTO troth_schema.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT %(run)s, %(path)s, 2, count(*) FILTER (WHERE j.path = %(path)s AND j.kind = 2),
       coalesce(max(j.seq) FILTER (WHERE j.kind = 2), 0) + 1, true,
       (SELECT i.digest FROM troth_schema.journal i WHERE i.run_id = %(run)s AND i.path = %(path)s AND i.kind = 1
        ORDER BY i.attempt DESC LIMIT 1),
       %(payload)s, greatest(clock_timestamp(), max(j.at) + interval '1 microsecond')
FROM troth_schema.journal j WHERE j.run_id = %(run)s

-- name: wake
-- Let any worker claim the run.
UPDATE troth_schema.run SET state = 'ready', wake_at = clock_timestamp(), reason = NULL, detail = NULL WHERE id = %s

-- name: ring
-- Tell the workers; it hurries them, and nothing depends on it.
SELECT pg_notify('troth_schema' || '.ready', '')

-- name: give_up_early
-- Whoever waits for a lock on a table makes everybody wait who comes after: not for long.
SELECT set_config('lock_timeout', '2s', true)

-- name: drop_partitions
-- Forget whole weeks that ended before a time, except those with runs that are alive.
SELECT troth_schema.drop_partitions(clock_timestamp() - make_interval(secs => %s))

-- name: forked_run
-- What another run must have in common with this one, alive or ended.
SELECT r.workflow, r.input, extract(epoch FROM r.starts_at)::float8, r.queue, r.partition, r.priority
FROM troth_schema.run r WHERE r.id = %(run)s
UNION ALL
SELECT h.workflow, h.input, extract(epoch FROM h.starts_at)::float8, h.queue, h.partition, h.priority
FROM troth_schema.run_history h WHERE h.id = %(run)s

-- name: copy
-- Write entries into the journal of another run.
INSERT INTO troth_schema.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT %s::uuid, e.path, e.kind, e.attempt, e.seq, e.ok, e.digest, e.payload, to_timestamp(e.at)
FROM unnest(%s::text[], %s::int2[], %s::int2[], %s::int4[], %s::bool[], %s::bytea[], %s::bytea[], %s::float8[])
    AS e (path, kind, attempt, seq, ok, digest, payload, at)

-- name: has_past
-- Whoever claims this run first must read its journal, as of a run that was claimed before.
UPDATE troth_schema.run SET claim = 1 WHERE id = %s
