-- Statements of idempotent requests. What must hold together is in the functions of migrations/.

-- name: admit
-- Is this key new, in use, or answered?
SELECT verdict, salt, parts, status, headers, body, run_id, render FROM troth_schema.admit_request(%s::bytea, %s::int8)

-- name: record
-- The answer to a key, in the transaction of the work.
INSERT INTO troth_schema.request (id, name, caller, method, route, key, salt, parts, status, headers, body, run_id, render, expires_at)
VALUES (%(id)s, %(name)s, %(caller)s, %(method)s, %(route)s, %(key)s, %(salt)s, %(parts)s, %(status)s, %(headers)s,
        %(body)s, %(run)s, %(render)s, clock_timestamp() + make_interval(secs => %(lifetime)s))

-- name: settle
-- Store the final answer about a run, unless there is one; the one that holds.
SELECT status, headers, body FROM troth_schema.settle_request(%s::bytea, %s::int2, %s::bytea, %s::bytea)

-- name: standing
-- What a run has come to.
SELECT r.state::text, r.reason, NULL::bytea FROM troth_schema.run r WHERE r.id = (SELECT troth_schema.latest(%(run)s))
UNION ALL
SELECT h.state::text, NULL, h.outcome FROM troth_schema.run_history h
WHERE h.id = (SELECT troth_schema.latest(%(run)s)) AND h.continued IS NULL

-- name: operation
-- The request that an operation belongs to, if it is this caller's.
SELECT q.id, q.render, q.status, q.headers, q.body FROM troth_schema.request q
WHERE q.run_id = %s AND q.name = %s AND q.caller = %s
  AND (q.expires_at > clock_timestamp() OR troth_schema.request_goes_on(q.run_id, q.status))
ORDER BY q.at LIMIT 1

-- name: start_run
-- Start a run in the transaction of the request.
SELECT run_id, fresh, same FROM troth_schema.start_run(
    %(id)s::uuid, %(workflow)s::text, %(key)s::text, %(input)s::bytea, %(digest)s::bytea,
    coalesce(%(at)s::float8, extract(epoch FROM clock_timestamp())::float8), %(queue)s::text, %(partition)s::text, %(priority)s::int2,
    coalesce(%(until)s::float8,
             coalesce(%(at)s::float8, extract(epoch FROM clock_timestamp())::float8) + %(within)s::float8))

-- name: trace_run
-- Say in which context it was started.
SELECT troth_schema.trace_runs(ARRAY[%(id)s::uuid], ARRAY[%(trace)s::text])

-- name: run_input
-- What the run that owns a start key was started with.
SELECT workflow, input FROM troth_schema.run WHERE id = %(id)s
UNION ALL SELECT workflow, input FROM troth_schema.run_history WHERE id = %(id)s

-- name: purge
-- Forget some of what has expired; how many.
SELECT troth_schema.purge_requests(%s)
