-- What the command line and the console read. SELECT only, every statement with a limit.

-- name: bound
-- This transaction reads, and ends after a time. What is joined is a page at most, by its ids: no join reads a whole table,
-- and an index is taken where it leads to less.
SELECT set_config('transaction_read_only', 'on', true), set_config('statement_timeout', %s::text, true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('random_page_cost', '1.1', true)

-- name: lines
-- Some runs by their ids.
SELECT r.id, r.state::text, r.workflow, r.key, r.reason, r.starts_at, NULL::timestamptz,
       greatest(0, extract(epoch FROM clock_timestamp() - r.starts_at))::float8
FROM troth_schema.run r WHERE r.id = ANY (%(ids)s)
UNION ALL
SELECT h.id, h.state::text, h.workflow, h.key, NULL, h.starts_at, h.ended_at,
       greatest(0, extract(epoch FROM h.ended_at - h.starts_at))::float8
FROM troth_schema.run_history h WHERE h.id = ANY (%(ids)s)
LIMIT %(limit)s

-- name: children
-- The runs that a run has started, in order.
(SELECT r.id, r.state::text, r.workflow, r.key, r.reason, r.starts_at, NULL::timestamptz,
        greatest(0, extract(epoch FROM clock_timestamp() - r.starts_at))::float8
 FROM troth_schema.run r WHERE r.parent = %(id)s ORDER BY r.id LIMIT %(limit)s)
UNION ALL
(SELECT h.id, h.state::text, h.workflow, h.key, NULL, h.starts_at, h.ended_at,
        greatest(0, extract(epoch FROM h.ended_at - h.starts_at))::float8
 FROM troth_schema.run_history h WHERE h.parent = %(id)s ORDER BY h.id LIMIT %(limit)s)
ORDER BY 1 LIMIT %(limit)s

-- name: run
-- One run; a live one with the worker that has it.
SELECT r.id, r.state::text, r.workflow, r.key, r.reason, r.starts_at, NULL::timestamptz,
       greatest(0, extract(epoch FROM clock_timestamp() - r.starts_at))::float8,
       r.claim, nullif(r.wake_at, 'infinity'), w.name, r.input, NULL::bytea, r.detail, r.parent, NULL::uuid, r.deadline
FROM troth_schema.run r LEFT JOIN troth_schema.worker w ON w.id = r.owner WHERE r.id = %(id)s
UNION ALL
SELECT h.id, h.state::text, h.workflow, h.key, NULL, h.starts_at, h.ended_at,
       greatest(0, extract(epoch FROM h.ended_at - h.starts_at))::float8,
       h.claim, NULL, NULL, h.input, h.outcome, NULL, h.parent, h.continued, NULL
FROM troth_schema.run_history h WHERE h.id = %(id)s
LIMIT 1

-- name: entries
-- The latest entries of a journal since a time.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok, j.payload, j.at FROM troth_schema.journal j
WHERE j.run_id = %(id)s AND j.at >= %(since)s
ORDER BY j.at DESC, j.seq DESC NULLS LAST LIMIT %(limit)s

-- name: messages
-- What was said to a run and not yet heard, by id or by its start key.
SELECT m.id, m.topic, m.sent_at, m.payload FROM troth_schema.message m
WHERE m.run_id = %(id)s OR m.key = %(key)s ORDER BY m.id LIMIT %(limit)s

-- name: workflows
-- The workflows of the runs that are alive, as far as the newest of these tell.
SELECT DISTINCT s.workflow FROM (SELECT r.workflow FROM troth_schema.run r ORDER BY r.id DESC LIMIT %(scan)s) s
ORDER BY s.workflow LIMIT 20

-- name: latest
-- The greatest id of a run there is, or null.
SELECT greatest((SELECT r.id FROM troth_schema.run r ORDER BY r.id DESC LIMIT 1),
                (SELECT h.id FROM troth_schema.run_history h ORDER BY h.id DESC LIMIT 1))

-- name: of_path
-- The latest entries about one path, and all that people decided about the run as a whole.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok, j.payload, j.at FROM troth_schema.journal j
WHERE j.run_id = %(id)s AND j.path IN (%(path)s, '!resume', '!rewind')
ORDER BY j.at DESC, j.seq DESC NULLS LAST LIMIT %(limit)s

-- name: sent
-- The effects that a run was about to send.
SELECT DISTINCT j.path FROM troth_schema.journal j WHERE j.run_id = %s AND j.kind = 1 ORDER BY j.path LIMIT 20

-- name: recorded_runs
-- Some runs as they are exported.
SELECT r.id, r.workflow, r.key, r.input, r.state::text, extract(epoch FROM r.starts_at)::float8, NULL::bytea
FROM troth_schema.run r WHERE r.id = ANY (%(ids)s)
UNION ALL
SELECT h.id, h.workflow, h.key, h.input, h.state::text, extract(epoch FROM h.starts_at)::float8, h.outcome
FROM troth_schema.run_history h WHERE h.id = ANY (%(ids)s)
LIMIT %(limit)s

-- name: recorded_entries
-- The whole journals of some runs, as a worker reads them when it claims these; so many runs that this has an end.
SELECT j.run_id, j.path, j.kind, j.attempt, j.seq, j.ok, j.digest, j.payload, extract(epoch FROM j.at)::float8
FROM troth_schema.journal j WHERE j.run_id = ANY (%(ids)s) ORDER BY j.run_id, j.seq NULLS LAST, j.at, j.kind
LIMIT %(limit)s

-- name: versions
-- How many runs of which workflows and versions are alive, and how many workers that are alive can execute them.
SELECT r.workflow, count(*), count(*) FILTER (WHERE r.state = 'attention'), min(r.id::text),
       (SELECT count(*) FROM troth_schema.worker w WHERE w.executes AND r.workflow = ANY (w.workflows))
FROM troth_schema.run r
WHERE %(workflow)s::text IS NULL OR %(workflow)s IN (r.workflow, split_part(r.workflow, '@', 1))
GROUP BY r.workflow ORDER BY r.workflow LIMIT %(limit)s
