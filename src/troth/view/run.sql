-- One run, in parts that are small however large it is: payloads as their sizes, its journal a page at a time.

-- name: header
-- One run; a live one with the worker that has it. Large values as sizes, and the failure of one that failed.
SELECT r.id, r.state::text, r.workflow, r.key, r.reason, r.starts_at, NULL::timestamptz,
       greatest(0, extract(epoch FROM clock_timestamp() - r.starts_at))::float8,
       r.claim, nullif(r.wake_at, 'infinity'), w.name, r.parent, NULL::uuid, r.deadline,
       octet_length(r.input), NULL::integer, octet_length(r.detail),
       CASE WHEN octet_length(r.detail) <= %(limit)s THEN r.detail END, NULL::bytea,
       r.queue, r.partition, r.priority, p.payload, clock_timestamp()
FROM troth_schema.run r
LEFT JOIN troth_schema.worker w ON w.id = r.owner
LEFT JOIN troth_schema.run_progress p ON p.run_id = r.id AND octet_length(p.payload) <= 1000
WHERE r.id = %(id)s
UNION ALL
SELECT h.id, h.state::text, h.workflow, h.key, NULL, h.starts_at, h.ended_at,
       greatest(0, extract(epoch FROM h.ended_at - h.starts_at))::float8,
       h.claim, NULL, NULL, h.parent, h.continued, NULL,
       octet_length(h.input), octet_length(h.outcome), NULL, NULL,
       CASE WHEN h.state = 'failed' AND octet_length(h.outcome) <= %(limit)s THEN h.outcome END,
       h.queue, h.partition, h.priority, NULL, clock_timestamp()
FROM troth_schema.run_history h WHERE h.id = %(id)s
LIMIT 1

-- name: messages
-- What was said to a run and not yet heard, by id or by its start key, without what it says.
SELECT m.id, m.topic, m.sent_at, octet_length(m.payload),
       greatest(0, extract(epoch FROM clock_timestamp() - m.sent_at))::float8
FROM troth_schema.message m WHERE m.run_id = %(id)s OR m.key = %(key)s ORDER BY m.id LIMIT %(limit)s

-- name: journal
-- A page of a journal, in the order of time. What entries say of themselves, not what steps were given or returned.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok,
       CASE WHEN (j.kind IN (3, 4, 5, 6, 7) OR j.ok IS DISTINCT FROM true AND j.kind = 2 OR j.path LIKE '!%%')
                 AND octet_length(j.payload) <= %(limit)s THEN j.payload END,
       j.at, octet_length(j.payload),
       (SELECT max(b.at) FROM troth_schema.journal b
        WHERE b.run_id = %(id)s AND b.path = j.path AND b.kind IN (1, 3, 7) AND b.at <= j.at)
FROM (SELECT e.path, e.kind, e.attempt, e.seq, e.ok, e.payload, e.at FROM troth_schema.journal e
      WHERE e.run_id = %(id)s
        AND (%(at)s::timestamptz IS NULL OR (e.at, e.path, e.kind, e.attempt) > (%(at)s, %(path)s, %(kind)s, %(attempt)s))
      ORDER BY e.at, e.path, e.kind, e.attempt LIMIT %(rows)s) j
ORDER BY j.at, j.path, j.kind, j.attempt

-- name: journal_back
-- The same from the end.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok,
       CASE WHEN (j.kind IN (3, 4, 5, 6, 7) OR j.ok IS DISTINCT FROM true AND j.kind = 2 OR j.path LIKE '!%%')
                 AND octet_length(j.payload) <= %(limit)s THEN j.payload END,
       j.at, octet_length(j.payload),
       (SELECT max(b.at) FROM troth_schema.journal b
        WHERE b.run_id = %(id)s AND b.path = j.path AND b.kind IN (1, 3, 7) AND b.at <= j.at)
FROM (SELECT e.path, e.kind, e.attempt, e.seq, e.ok, e.payload, e.at FROM troth_schema.journal e
      WHERE e.run_id = %(id)s
        AND (%(at)s::timestamptz IS NULL OR (e.at, e.path, e.kind, e.attempt) < (%(at)s, %(path)s, %(kind)s, %(attempt)s))
      ORDER BY e.at DESC, e.path DESC, e.kind DESC, e.attempt DESC LIMIT %(rows)s) j
ORDER BY j.at DESC, j.path DESC, j.kind DESC, j.attempt DESC

-- name: steps
-- Which steps a run has, in the order in which they began.
SELECT s.path, s.at FROM (
    SELECT j.path, min(j.at) AS at FROM troth_schema.journal j WHERE j.run_id = %(id)s GROUP BY j.path) s
WHERE %(at)s::timestamptz IS NULL OR (s.at, s.path) > (%(at)s, %(path)s)
ORDER BY s.at, s.path LIMIT %(rows)s

-- name: of_steps
-- The latest entries of some steps.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok,
       CASE WHEN (j.kind IN (3, 4, 5, 6, 7) OR j.ok IS DISTINCT FROM true AND j.kind = 2 OR j.path LIKE '!%%')
                 AND octet_length(j.payload) <= %(limit)s THEN j.payload END,
       j.at, octet_length(j.payload), NULL::timestamptz
FROM troth_schema.journal j WHERE j.run_id = %(id)s AND j.path = ANY (%(paths)s)
ORDER BY j.at DESC, j.path DESC, j.kind DESC, j.attempt DESC LIMIT %(rows)s

-- name: rewinds
-- Where a run went back.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok, j.payload, j.at FROM troth_schema.journal j
WHERE j.run_id = %(id)s AND j.path = '!rewind' LIMIT %(rows)s

-- name: undone
-- What a run has sent, and what became of it and of its undoing; nothing, unless it has begun to undo.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok, NULL::bytea, j.at FROM troth_schema.journal j
WHERE j.run_id = %(id)s AND j.kind IN (1, 2)
  AND EXISTS (SELECT FROM troth_schema.journal u WHERE u.run_id = %(id)s AND (u.path LIKE '!undo/%%' OR u.path LIKE '!settled%%'))
ORDER BY j.at, j.seq LIMIT %(rows)s

-- name: input
-- The beginning of what a run was given.
SELECT octet_length(r.input), substring(r.input, 1, %(limit)s) FROM troth_schema.run r WHERE r.id = %(id)s
UNION ALL
SELECT octet_length(h.input), substring(h.input, 1, %(limit)s) FROM troth_schema.run_history h WHERE h.id = %(id)s
LIMIT 1

-- name: outcome
-- The beginning of what a run returned.
SELECT octet_length(h.outcome), substring(h.outcome, 1, %(limit)s) FROM troth_schema.run_history h WHERE h.id = %(id)s

-- name: detail
-- The beginning of what a run was parked with.
SELECT octet_length(r.detail), substring(r.detail, 1, %(limit)s) FROM troth_schema.run r WHERE r.id = %(id)s

-- name: entry
-- The beginning of what an entry of a journal holds.
SELECT octet_length(j.payload), substring(j.payload, 1, %(limit)s) FROM troth_schema.journal j
WHERE j.run_id = %(id)s AND j.path = %(path)s AND j.kind = %(kind)s AND j.attempt = %(attempt)s

-- name: message
-- The beginning of a message that has not been heard.
SELECT octet_length(m.payload), substring(m.payload, 1, %(limit)s) FROM troth_schema.message m WHERE m.id = %(message)s
