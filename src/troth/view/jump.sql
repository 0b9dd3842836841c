-- Where an id, a key or a name leads: each statement is a few look-ups by index.

-- name: by_id
-- What has this UUID.
SELECT 'run', r.id::text, r.workflow || ', ' || r.state::text FROM troth_schema.run r WHERE r.id = %(id)s
UNION ALL
SELECT 'run', h.id::text, h.workflow || ', ' || h.state::text FROM troth_schema.run_history h WHERE h.id = %(id)s
UNION ALL
SELECT 'outbox_message', m.id::text, m.outbox || ': ' || m.type FROM troth_schema.outbox_message m WHERE m.id = %(id)s
UNION ALL
SELECT 'endpoint', e.id::text, e.url FROM troth_schema.outbox_endpoint e WHERE e.id = %(id)s
UNION ALL
SELECT 'decision', d.id::text, d.action || ', ' || d.because FROM troth_schema.decision d WHERE d.id = %(id)s
UNION ALL
SELECT 'run', m.run_id::text, 'was sent ' || m.topic FROM troth_schema.message m WHERE m.id = %(id)s AND m.run_id IS NOT NULL
UNION ALL
SELECT 'principal', p.id::text, p.email FROM troth_schema.person p WHERE p.id = %(id)s
UNION ALL
SELECT 'principal', k.machine::text, k.name
FROM (SELECT x.machine, x.name FROM troth_schema.api_key x WHERE x.machine = %(id)s LIMIT 1) k
LIMIT %(limit)s

-- name: by_text
-- What has this text as its key or name.
(SELECT 'run', k.run_id::text, 'started with this key' FROM troth_schema.start_key k WHERE k.key = %(text)s)
UNION ALL
(SELECT 'request', encode(q.id, 'hex'), q.method || ' ' || q.route FROM troth_schema.request q
 WHERE q.key = %(text)s LIMIT %(limit)s)
UNION ALL
(SELECT 'schedule', s.name, s.workflow FROM troth_schema.schedule s WHERE s.name = %(text)s)
UNION ALL
(SELECT 'provider', p.name, 'a provider' FROM troth_schema.provider p WHERE p.name = %(text)s)
UNION ALL
(SELECT 'principal', p.id::text, p.email FROM troth_schema.person p WHERE p.email = lower(%(text)s))
UNION ALL
(SELECT 'principal', k.machine::text, k.name FROM troth_schema.api_key k WHERE k.prefix = %(text)s)
UNION ALL
(SELECT 'principal', d.principal_id, 'decisions about it' FROM troth_schema.decision d
 WHERE d.principal_id = %(text)s ORDER BY d.id DESC LIMIT 1)
UNION ALL
(SELECT 'worker', w.id::text, w.name FROM troth_schema.worker w WHERE w.id::text = %(text)s OR w.name = %(text)s LIMIT %(limit)s)
UNION ALL
(SELECT 'workflow', %(text)s, 'a workflow whose runs are alive' FROM (
    SELECT r.workflow FROM troth_schema.run r LIMIT %(scan)s) x
 WHERE %(text)s IN (x.workflow, split_part(x.workflow, '@', 1)) LIMIT 1)
LIMIT %(limit)s

-- name: by_digest
-- The request whose record this is.
SELECT 'request', encode(q.id, 'hex'), q.method || ' ' || q.route FROM troth_schema.request q WHERE q.id = decode(%(text)s, 'hex')
LIMIT %(limit)s

-- name: events
-- The events that have this id, or are about this object, of each source.
WITH RECURSIVE source AS (
    (SELECT e.source FROM troth_schema.inbox_event e ORDER BY e.source LIMIT 1)
    UNION ALL
    SELECT (SELECT e.source FROM troth_schema.inbox_event e WHERE e.source > s.source ORDER BY e.source LIMIT 1)
    FROM source s WHERE s.source IS NOT NULL
)
SELECT 'event', e.event_id, e.type || ', ' || e.state, e.source
FROM (SELECT s.source FROM source s WHERE s.source IS NOT NULL LIMIT 200) s
JOIN troth_schema.inbox_event e ON e.source = s.source AND e.event_id = %(text)s
LIMIT %(limit)s

-- name: objects
-- The objects that have this id, of each machine.
WITH RECURSIVE machine AS (
    (SELECT o.machine FROM troth_schema.machine_object o ORDER BY o.machine LIMIT 1)
    UNION ALL
    SELECT (SELECT o.machine FROM troth_schema.machine_object o WHERE o.machine > m.machine ORDER BY o.machine LIMIT 1)
    FROM machine m WHERE m.machine IS NOT NULL
)
SELECT 'object', o.id, o.state, o.machine
FROM (SELECT m.machine FROM machine m WHERE m.machine IS NOT NULL LIMIT 200) m
JOIN troth_schema.machine_object o ON o.machine = m.machine AND o.id = %(text)s
LIMIT %(limit)s
