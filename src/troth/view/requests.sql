-- What was answered to idempotency keys.

-- name: lines
-- A page, the latest first, among so many that are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT q.id, q.name, q.caller, q.method, q.route, q.key, q.status, q.run_id, q.at, q.expires_at,
           octet_length(q.body) AS size
    FROM troth_schema.request q
    WHERE q.at >= %(since)s
      AND (q.at, q.id) < (coalesce(%(at)s::timestamptz, 'infinity'), coalesce(%(id)s::bytea, '\x'))
    ORDER BY q.at DESC, q.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE (%(name)s::text IS NULL OR l.name = %(name)s)
      AND (%(caller)s::text IS NULL OR l.caller = %(caller)s)
      AND (%(route)s::text IS NULL OR l.route = %(route)s)
      AND (%(method)s::text IS NULL OR l.method = %(method)s)
      AND (NOT %(unanswered)s OR l.status IS NULL)
      AND (%(status)s::int IS NULL OR l.status = %(status)s)
    ORDER BY l.at DESC, l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.at, s.id, encode(m.id, 'hex'), m.name, m.caller, m.method, m.route, m.key, m.status, m.run_id,
       coalesce(r.state, h.state)::text, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8, m.expires_at,
       extract(epoch FROM m.expires_at - clock_timestamp())::float8, m.size
FROM (SELECT count(*) OVER () AS n, l.at, l.id FROM looked_at l ORDER BY l.at, l.id LIMIT 1) s
LEFT JOIN matching m ON true
LEFT JOIN troth_schema.run r ON r.id = m.run_id
LEFT JOIN troth_schema.run_history h ON h.id = m.run_id
ORDER BY m.at DESC, m.id DESC LIMIT %(limit)s

-- name: of_key
-- The requests of one key, the latest first: it is used by few.
SELECT encode(m.id, 'hex'), m.name, m.caller, m.method, m.route, m.key, m.status, m.run_id,
       coalesce(r.state, h.state)::text, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8,
       m.expires_at, extract(epoch FROM m.expires_at - clock_timestamp())::float8, octet_length(m.body)
FROM (
    SELECT l.* FROM (SELECT q.* FROM troth_schema.request q WHERE q.key = %(key)s LIMIT %(scan)s) l
    WHERE l.at >= %(since)s
      AND (l.at, l.id) < (coalesce(%(at)s::timestamptz, 'infinity'), coalesce(%(id)s::bytea, '\x'))
      AND (%(name)s::text IS NULL OR l.name = %(name)s)
      AND (%(caller)s::text IS NULL OR l.caller = %(caller)s)
      AND (%(route)s::text IS NULL OR l.route = %(route)s)
      AND (%(method)s::text IS NULL OR l.method = %(method)s)
      AND (NOT %(unanswered)s OR l.status IS NULL)
      AND (%(status)s::int IS NULL OR l.status = %(status)s)
    ORDER BY l.at DESC, l.id DESC LIMIT %(limit)s) m
LEFT JOIN troth_schema.run r ON r.id = m.run_id
LEFT JOIN troth_schema.run_history h ON h.id = m.run_id
ORDER BY m.at DESC, m.id DESC LIMIT %(limit)s

-- name: one
-- One request, with the beginning of its answer if that is asked for.
SELECT encode(m.id, 'hex'), m.name, m.caller, m.method, m.route, m.key, m.status, m.run_id,
       coalesce(r.state, h.state)::text, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8,
       m.expires_at, extract(epoch FROM m.expires_at - clock_timestamp())::float8, octet_length(m.body),
       m.parts, octet_length(m.headers),
       CASE WHEN %(payloads)s THEN substring(m.headers FROM 1 FOR %(most)s) END,
       CASE WHEN %(payloads)s THEN substring(m.body FROM 1 FOR %(most)s) END
FROM troth_schema.request m
LEFT JOIN troth_schema.run r ON r.id = m.run_id
LEFT JOIN troth_schema.run_history h ON h.id = m.run_id
WHERE m.id = decode(%(id)s, 'hex')
LIMIT 1

-- name: payload
-- The beginning of what one request was answered.
SELECT octet_length(x.data), substring(x.data FROM 1 FOR %(limit)s) FROM (
    SELECT CASE %(what)s::text WHEN 'headers' THEN m.headers WHEN 'body' THEN m.body END AS data
    FROM troth_schema.request m WHERE m.id = decode(%(id)s, 'hex') LIMIT 1) x
