-- Objects of declared machines.

-- name: counts
-- Each state of each machine that an object is in, by skipping from one to the next; how many are in it.
WITH RECURSIVE place AS (
    (SELECT o.machine, o.state FROM troth_schema.machine_object o
     WHERE %(machine)s::text IS NULL OR o.machine = %(machine)s ORDER BY o.machine, o.state LIMIT 1)
    UNION ALL
    SELECT n.machine, n.state FROM place p CROSS JOIN LATERAL (
        SELECT o.machine, o.state FROM troth_schema.machine_object o
        WHERE (o.machine, o.state) > (p.machine, p.state) AND (%(machine)s::text IS NULL OR o.machine = %(machine)s)
        ORDER BY o.machine, o.state LIMIT 1) n
)
SELECT p.machine, p.state, (
    SELECT count(*) FROM (
        SELECT 1 FROM troth_schema.machine_object o WHERE o.machine = p.machine AND o.state = p.state LIMIT %(cap)s) x)
FROM place p ORDER BY p.machine, p.state LIMIT 1000

-- name: objects
-- A page of objects in a state, by their ids.
SELECT o.id, o.state, o.version, o.seq, o.since, greatest(0, extract(epoch FROM clock_timestamp() - o.since))::float8
FROM troth_schema.machine_object o
WHERE o.machine = %(machine)s AND o.state = %(state)s AND o.id > %(after)s ORDER BY o.id LIMIT %(limit)s

-- name: all_objects
-- A page of objects, by their ids.
SELECT o.id, o.state, o.version, o.seq, o.since, greatest(0, extract(epoch FROM clock_timestamp() - o.since))::float8
FROM troth_schema.machine_object o WHERE o.machine = %(machine)s AND o.id > %(after)s ORDER BY o.id LIMIT %(limit)s

-- name: object
-- Where one object stands.
SELECT o.id, o.state, o.version, o.seq, o.since, greatest(0, extract(epoch FROM clock_timestamp() - o.since))::float8
FROM troth_schema.machine_object o WHERE o.machine = %(machine)s AND o.id = %(id)s LIMIT 1

-- name: history
-- A page of an object's history, the latest first.
SELECT h.seq, h.at, extract(epoch FROM h.at - lag(h.at) OVER (ORDER BY h.seq))::float8, h.event, h.observed, h.from_state,
       h.to_state, h.path, h.superseded, h.version, h.cause, h.by, h.why, octet_length(h.data::text),
       CASE WHEN %(payloads)s THEN convert_to(left(h.data::text, %(most)s), 'UTF8') END
FROM (SELECT e.* FROM troth_schema.machine_history e
      WHERE e.machine = %(machine)s AND e.id = %(id)s AND e.seq < %(before)s ORDER BY e.seq DESC LIMIT %(limit)s) h
ORDER BY h.seq DESC LIMIT %(limit)s

-- name: payload
-- The beginning of the data of one entry of a history.
SELECT octet_length(x.data), substring(x.data FROM 1 FOR %(limit)s) FROM (
    SELECT convert_to(e.data::text, 'UTF8') AS data FROM troth_schema.machine_history e
    WHERE e.machine = %(machine)s AND e.id = %(id)s AND e.seq = %(seq)s LIMIT 1) x

-- name: events
-- Which of these causes are the ids of events that came in, and from where.
WITH RECURSIVE source AS (
    (SELECT e.source FROM troth_schema.inbox_event e ORDER BY e.source LIMIT 1)
    UNION ALL
    SELECT (SELECT e.source FROM troth_schema.inbox_event e WHERE e.source > s.source ORDER BY e.source LIMIT 1)
    FROM source s WHERE s.source IS NOT NULL
)
SELECT e.event_id, min(e.source)
FROM (SELECT s.source FROM source s WHERE s.source IS NOT NULL LIMIT 20) s
CROSS JOIN unnest(%(causes)s::text[]) c (id)
CROSS JOIN LATERAL (
    SELECT x.event_id, x.source FROM troth_schema.inbox_event x WHERE x.source = s.source AND x.event_id = c.id LIMIT 1) e
GROUP BY e.event_id HAVING count(*) = 1 LIMIT %(limit)s
