-- Statements of the journal. What must hold for every writer is in the functions of migrations/.

-- name: register
-- A new identity for this process; ids are never used again.
SELECT troth_schema.register(%s, %s, %s::real, %s::text[])

-- name: resign
-- A process that leaves takes itself over: what its last flush may have claimed is released with the rest.
WITH marks AS (DELETE FROM troth_schema.mark WHERE worker = %(worker)s)
SELECT troth_schema.takeover(%(worker)s, NULL)

-- name: stored_reply
-- What a flush of a worker that was declared dead answered, if it committed.
SELECT coalesce(reply, '{}')::text FROM troth_schema.mark WHERE worker = %s AND n = %s

-- name: forget_marks
-- Nobody asks any more for what a dead worker wrote.
DELETE FROM troth_schema.mark m WHERE m.at < clock_timestamp() - interval '1 day'
AND NOT EXISTS (SELECT 1 FROM troth_schema.worker w WHERE w.id = m.worker)

-- name: write_minutes
-- What a worker has done in some minutes that are over.
INSERT INTO troth_schema.worker_minute (minute, worker, workflow, started, succeeded, failed, cancelled, attention, steps,
    effects_unknown)
SELECT to_timestamp(m.minute), %s, m.workflow, m.started, m.succeeded, m.failed, m.cancelled, m.attention, m.steps,
    m.effects_unknown
FROM unnest(%s::float8[], %s::text[], %s::int4[], %s::int4[], %s::int4[], %s::int4[], %s::int4[], %s::int4[], %s::int4[])
    AS m (minute, workflow, started, succeeded, failed, cancelled, attention, steps, effects_unknown)
ON CONFLICT DO NOTHING

-- name: forget_minutes
-- Charts go back for two days.
DELETE FROM troth_schema.worker_minute m WHERE m.minute < clock_timestamp() - interval '48 hours'

-- name: beat
-- One heartbeat; the answer tells what is due, who else is alive and who is gone.
SELECT troth_schema.beat(%s::int8, %s::int8)::text

-- name: takeover
-- Declare a silent peer dead, unless it has beaten since; how many of its runs are still locked.
SELECT troth_schema.takeover(%s, %s)

-- name: release_gone
-- Go on with handing over the runs of a dead worker; how many are still locked.
SELECT troth_schema.release_gone(%s)

-- name: lock_gone
-- Wait for the transactions that still hold runs of a dead worker; others see whom this waits for.
SELECT count(*) FROM (SELECT 1 FROM troth_schema.run WHERE owner = %s FOR NO KEY UPDATE) AS held

-- name: end_blockers
-- End the sessions that the given session waits for.
SELECT count(pg_terminate_backend(blocker)) FROM unnest(pg_blocking_pids(%s)) AS blocker

-- name: flush
-- The group commit: everything pending of this process in one transaction.
SELECT troth_schema.flush(%b, %b,
    %b::uuid[], %b::uuid[], %b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[],
    %b::uuid[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::float8[], %b::bool[],
    %b::text[], %b::text[], %b::int4[],
    %b::uuid[], %b::text[], %b::float8[], %b::text[],
    %b::uuid[], %b::uuid[], %b::text[],
    %b::uuid[], %b::text[], %b::int2[], %b::int2[], %b::int4[], %b::bool[], %b::bytea[], %b::bytea[], %b::float8[],
    %b::uuid[],
    %b::uuid[], %b::float8[], %b::bytea[],
    %b::uuid[],
    %b::uuid[], %b::text[], %b::bytea[], %b::bool[], %b::bool[],
    %b::uuid[], %b::uuid[], %b::bytea[], %b::float8[], %b::bool[], %b::float8[],
    %b::uuid[], %b::text[], %b::float8[], %b::text[], %b::bytea[], %b::text[],
    %b::uuid[],
    %b, %b::text[],
    %b::text[], %b::int4[], %b::int4[], %b::text[])::text

-- name: claimed_runs
-- What this worker has just claimed.
SELECT r.id, r.workflow, r.key, r.input, r.claim, extract(epoch FROM r.starts_at)::float8,
    r.parent, extract(epoch FROM r.deadline)::float8, r.partition, r.priority, r.trace,
    EXISTS (SELECT 1 FROM troth_schema.message m WHERE m.run_id = r.id OR m.key = r.key)
FROM troth_schema.run r WHERE r.id = ANY (%s) AND r.owner = %s

-- name: mail
-- The unread messages of some runs, oldest first.
SELECT r.id, m.id, m.topic, m.payload, m.trace FROM troth_schema.run r JOIN troth_schema.message m ON m.run_id = r.id OR m.key = r.key
WHERE r.id = ANY (%s) ORDER BY m.id

-- name: entries
-- The journals of some runs; results in the order in which they were delivered.
SELECT run_id, path, kind, attempt, seq, ok, digest, payload, extract(epoch FROM at)::float8
FROM troth_schema.journal WHERE run_id = ANY (%s) ORDER BY run_id, seq NULLS LAST, at, kind

-- name: sign_session
-- Say whose steps run in this session, for as long as it lasts, so that a takeover can end what it leaves open.
SELECT pg_advisory_lock_shared(troth_schema.session_lock(%s))

-- name: sign_transaction
-- The same until the end of this transaction: for sessions of which somebody else may forget what was set in them.
SELECT pg_advisory_xact_lock_shared(troth_schema.session_lock(%s::int8))

-- name: finish_step
-- The last statement of a transaction step: the fence and the journal entry.
SELECT troth_schema.finish_step(%s::uuid, %s::int8, %s::int4, %s::text, %s::int2, %s::int4, %s::bool, %s::bytea, %s::bytea, %s::float8)

-- name: settle_step
-- Wait until a step transaction whose COMMIT got no answer has ended: it holds this row until then.
SELECT 1 FROM troth_schema.run WHERE id = %s AND owner = %s AND claim = %s FOR NO KEY UPDATE

-- name: step_result
-- Did it commit?
SELECT ok, payload FROM troth_schema.journal WHERE run_id = %s AND path = %s AND kind = 2 AND attempt = %s

-- name: start_run
-- Start a run inside the caller's transaction.
SELECT run_id, fresh, same FROM troth_schema.start_run(
    %s::uuid, %s::text, %s::text, %s::bytea, %s::bytea, %s::float8, %s::text, %s::text, %s::int2, %s::float8)

-- name: send_message
-- Leave a message inside the caller's transaction.
SELECT troth_schema.send_message(%s::uuid, %s::uuid, %s::text, %s::text, %s::bytea, %s::text)

-- name: trace_runs
-- Say in which context runs were started, in the transaction that has started them.
SELECT troth_schema.trace_runs(%s::uuid[], %s::text[])

-- name: trace_message
-- Say in which context a message was sent, in the transaction that has sent it.
UPDATE troth_schema.message SET trace = %s WHERE id = %s

-- name: run_input
-- The input that a run was started with.
SELECT workflow, input FROM troth_schema.run WHERE id = %(id)s
UNION ALL SELECT workflow, input FROM troth_schema.run_history WHERE id = %(id)s

-- name: run_state
-- Where a run stands that is alive.
SELECT state::text, reason FROM troth_schema.run WHERE id = %s

-- name: known_runs
-- Which of these ids are runs; used when an identity was lost and its starts must be settled.
SELECT id FROM troth_schema.run WHERE id = ANY (%(ids)s)
UNION ALL SELECT id FROM troth_schema.run_history WHERE id = ANY (%(ids)s)

-- name: ended_runs
-- How some runs ended; those still going are left out.
SELECT id, workflow, state::text, outcome, continued FROM troth_schema.run_history WHERE id = ANY (%s)

-- name: watched_runs
-- Where some runs stand, and how far they say that they are; those that do not exist are left out. What says nothing
-- itself is as far as the mapping (`troth.map`) that it waits for.
SELECT r.id, r.state::text, r.reason, p.position, coalesce(p.payload, (
    SELECT m.payload FROM troth_schema.run c JOIN troth_schema.run_progress m ON m.run_id = c.id
    WHERE c.parent = r.id AND c.workflow IN ('troth.map', 'troth.map.pages') AND p.run_id IS NULL
    ORDER BY c.id DESC LIMIT 1
)), NULL::uuid
FROM troth_schema.run r LEFT JOIN troth_schema.run_progress p ON p.run_id = r.id WHERE r.id = ANY (%(ids)s)
UNION ALL SELECT h.id, h.state::text, NULL, NULL, NULL, h.continued FROM troth_schema.run_history h WHERE h.id = ANY (%(ids)s)

-- name: run_of_key
-- The run that a start key belongs to.
SELECT run_id FROM troth_schema.start_key WHERE key = %s

-- name: ensure_partitions
-- Make the weekly partitions of a span of time, where they are missing.
SELECT troth_schema.ensure_partitions(to_timestamp(%s), to_timestamp(%s))

-- name: adopt
-- Move runs out of a queue that this program does not have, into those that their workflows have now.
SELECT troth_schema.adopt(%s::text, %s::float8, %s::text[], %s::text[])

-- name: identity
-- Is this connection's database the one that holds the schema, and this schema? Compared by identity, not by name.
SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::text || '/' ||
    (SELECT system_identifier FROM pg_control_system())::text || '/' ||
    coalesce(to_regnamespace('troth_schema')::oid::text, 'none')

-- name: ring
-- A hint for other processes: it hurries them, and nothing depends on it.
SELECT pg_notify(%s::text, %s::text)
