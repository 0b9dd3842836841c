-- Events that came in.

-- name: sources
-- Each source, by skipping from one to the next, with how far its sweep has come.
WITH RECURSIVE source AS (
    (SELECT e.source FROM troth_schema.inbox_event e ORDER BY e.source LIMIT 1)
    UNION ALL
    SELECT (SELECT e.source FROM troth_schema.inbox_event e WHERE e.source > s.source ORDER BY e.source LIMIT 1)
    FROM source s WHERE s.source IS NOT NULL
)
SELECT s.source, w.swept_at, w.failures, w.error,
       (SELECT count(*) FROM (SELECT 1 FROM troth_schema.inbox_conflict c WHERE c.source = s.source LIMIT %(cap)s) x),
       (SELECT count(*) FROM (
            SELECT 1 FROM troth_schema.inbox_event e WHERE e.source = s.source AND e.delivered = 0 LIMIT %(cap)s) x)
FROM source s LEFT JOIN troth_schema.inbox_sweep w ON w.source = s.source
WHERE s.source IS NOT NULL ORDER BY s.source LIMIT 200

-- name: open
-- How many events are open, by source and state, and how long the oldest has waited; the oldest so many are looked at.
SELECT x.source, x.state, count(*), greatest(0, extract(epoch FROM clock_timestamp() - min(x.received_at)))::float8,
       sum(count(*)) OVER ()
FROM (SELECT e.source, e.state, e.received_at FROM troth_schema.inbox_event e
      WHERE e.state IN ('received', 'parked', 'quarantined') ORDER BY e.seq LIMIT %(cap)s) x
GROUP BY x.source, x.state

-- name: settled
-- How many events of one source were settled one way that came within a day.
SELECT count(*) FROM (
    SELECT 1 FROM troth_schema.inbox_event e
    WHERE e.source = %(source)s AND e.state IN ('applied', 'superseded', 'ignored') AND e.state = %(state)s
      AND e.received_at > now() - interval '1 day' LIMIT %(cap)s) x

-- name: lines
-- A page of all events, the latest first, among so many that are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT e.seq, e.source, e.event_id, e.type, e.object_key, e.state, e.received_at, e.parked_since, e.due_at, e.failures, e.parks,
           e.delivered, left(e.reason, 2000) AS reason
    FROM troth_schema.inbox_event e WHERE e.seq < %(seq)s ORDER BY e.seq DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE l.received_at >= %(since)s
      AND (%(states)s::text[] IS NULL OR l.state = ANY (%(states)s::text[]))
      AND (%(source)s::text IS NULL OR l.source = %(source)s)
      AND (%(type)s::text IS NULL OR l.type = %(type)s)
      AND (%(object)s::text IS NULL OR l.object_key = %(object)s)
    ORDER BY l.seq DESC LIMIT %(limit)s
)
SELECT s.n, s.seq, m.seq, m.source, m.event_id, m.type, m.object_key, m.state, m.received_at,
       greatest(0, extract(epoch FROM clock_timestamp() - m.received_at))::float8,
       CASE WHEN m.parked_since IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - m.parked_since)) END::float8, m.parked_since,
       m.due_at, m.failures, m.parks, m.delivered, m.reason
FROM (SELECT count(*) OVER () AS n, l.seq FROM looked_at l ORDER BY l.seq LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.seq DESC LIMIT %(limit)s

-- name: open_lines
-- The same, of events that are open.
WITH looked_at AS MATERIALIZED (
    SELECT e.seq, e.source, e.event_id, e.type, e.object_key, e.state, e.received_at, e.parked_since, e.due_at, e.failures, e.parks,
           e.delivered, left(e.reason, 2000) AS reason
    FROM troth_schema.inbox_event e
    WHERE e.seq < %(seq)s AND e.state IN ('received', 'parked', 'quarantined') ORDER BY e.seq DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE l.received_at >= %(since)s
      AND l.state = ANY (%(states)s::text[])
      AND (%(source)s::text IS NULL OR l.source = %(source)s)
      AND (%(type)s::text IS NULL OR l.type = %(type)s)
      AND (%(object)s::text IS NULL OR l.object_key = %(object)s)
    ORDER BY l.seq DESC LIMIT %(limit)s
)
SELECT s.n, s.seq, m.seq, m.source, m.event_id, m.type, m.object_key, m.state, m.received_at,
       greatest(0, extract(epoch FROM clock_timestamp() - m.received_at))::float8,
       CASE WHEN m.parked_since IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - m.parked_since)) END::float8, m.parked_since,
       m.due_at, m.failures, m.parks, m.delivered, m.reason
FROM (SELECT count(*) OVER () AS n, l.seq FROM looked_at l ORDER BY l.seq LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.seq DESC LIMIT %(limit)s

-- name: one
-- One event, with the beginning of what it says if that is asked for.
SELECT e.seq, e.source, e.event_id, e.type, e.object_key, e.state, e.received_at,
       greatest(0, extract(epoch FROM clock_timestamp() - e.received_at))::float8,
       CASE WHEN e.parked_since IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - e.parked_since)) END::float8, e.parked_since,
       e.due_at, e.failures, e.parks, e.delivered, left(e.reason, %(most)s),
       e.created_at, e.version, e.blocks, e.last_seen, e.found_by, e.verified_by, e.settled_at,
       octet_length(e.headers), CASE WHEN %(payloads)s THEN convert_to(left(e.headers, %(most)s), 'UTF8') END,
       octet_length(e.body), CASE WHEN %(payloads)s THEN substring(e.body FROM 1 FOR %(most)s) END
FROM troth_schema.inbox_event e WHERE e.source = %(source)s AND e.event_id = %(event)s LIMIT 1

-- name: conflicts
-- What else came under the id of an event.
SELECT encode(c.digest, 'hex'), c.type, c.found_by, c.first_seen, c.last_seen, c.seen,
       octet_length(c.body), CASE WHEN %(payloads)s THEN substring(c.body FROM 1 FOR %(most)s) END
FROM troth_schema.inbox_conflict c WHERE c.source = %(source)s AND c.event_id = %(event)s ORDER BY c.first_seen LIMIT 100

-- name: replays
-- Who put an event back, and why.
SELECT p.at, p.by, p.note, p.was, left(p.reason, 2000) FROM troth_schema.inbox_replay p
WHERE p.source = %(source)s AND p.event_id = %(event)s ORDER BY p.n DESC LIMIT 100

-- name: payload
-- The beginning of what one event says.
SELECT octet_length(x.data), substring(x.data FROM 1 FOR %(limit)s) FROM (
    SELECT CASE %(what)s::text WHEN 'headers' THEN convert_to(e.headers, 'UTF8') WHEN 'body' THEN e.body END AS data
    FROM troth_schema.inbox_event e WHERE e.source = %(source)s AND e.event_id = %(event)s LIMIT 1) x

-- name: conflict_payload
-- The beginning of what else came under its id.
SELECT octet_length(c.body), substring(c.body FROM 1 FOR %(limit)s) FROM troth_schema.inbox_conflict c
WHERE c.source = %(source)s AND c.event_id = %(event)s AND c.digest = decode(%(digest)s, 'hex') LIMIT 1
