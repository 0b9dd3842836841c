-- What operators do to runs. Each act is one transaction that holds the run's row.

-- name: lock_run
-- How the run stands; nobody claims it, releases it or ends it until this transaction has ended.
SELECT r.state::text, r.reason, r.detail FROM troth_schema.run r WHERE r.id = %s FOR NO KEY UPDATE

-- name: ended_state
-- How the run ended.
SELECT h.state::text FROM troth_schema.run_history h WHERE h.id = %s

-- name: intent
-- The last time that an effect was about to be sent.
SELECT j.digest FROM troth_schema.journal j
WHERE j.run_id = %(run)s AND j.path = %(path)s AND j.kind = 1 ORDER BY j.attempt DESC LIMIT 1

-- name: decide
-- Record what a person decided about a path.
INSERT INTO troth_schema.journal (run_id, path, kind, attempt, payload, at)
SELECT %(run)s, %(path)s, 5, coalesce(max(j.attempt), 0) + 1, %(payload)s, clock_timestamp()
FROM troth_schema.journal j WHERE j.run_id = %(run)s AND j.path = %(path)s AND j.kind = 5

-- name: settle
-- Record the answer of an effect, as the next thing that the workflow is told.
INSERT INTO troth_schema.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT %(run)s, %(path)s, 2, 0, coalesce(max(j.seq), 0) + 1, true, %(digest)s, %(payload)s, clock_timestamp()
FROM troth_schema.journal j WHERE j.run_id = %(run)s AND j.kind = 2

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
