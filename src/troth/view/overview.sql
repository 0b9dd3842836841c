-- The first screen: how much there is of what, and what goes wrong. Counting ends at a cap.

-- name: runs
-- The runs that are alive, by state and reason; at most so many are looked at.
SELECT s.state::text, s.reason, count(*)
FROM (SELECT r.state, r.reason FROM troth_schema.run r LIMIT %(cap)s) s GROUP BY s.state, s.reason

-- name: oldest
-- How many seconds the oldest ones have waited: a run that is due, a run in a queue, a run in attention.
SELECT extract(epoch FROM clock_timestamp() - (
           SELECT r.wake_at FROM troth_schema.run r
           WHERE r.owner IS NULL AND r.queue IS NULL AND r.wake_at <= now() ORDER BY r.wake_at LIMIT 1))::float8,
       extract(epoch FROM clock_timestamp() - (
           SELECT min(q.wake_at) FROM (SELECT r.wake_at FROM troth_schema.run r WHERE r.in_line LIMIT %(cap)s) q))::float8,
       extract(epoch FROM clock_timestamp() - (
           SELECT a.since FROM troth_schema.attention a ORDER BY a.since LIMIT 1))::float8

-- name: failing
-- Deliveries that nobody tries any more, events that nobody could apply, endpoints that are off, breakers that are open.
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM troth_schema.outbox_delivery d WHERE d.state IN ('dead', 'in_doubt') LIMIT %(cap)s) x),
       (SELECT count(*) FROM (
            SELECT 1 FROM troth_schema.inbox_event e WHERE e.state = 'quarantined' LIMIT %(cap)s) x),
       (SELECT count(*) FROM (
            SELECT 1 FROM troth_schema.outbox_endpoint p
            WHERE p.removed_at IS NULL AND p.disabled_at IS NOT NULL LIMIT %(cap)s) x),
       (SELECT count(*) FROM (
            SELECT 1 FROM troth_schema.provider p WHERE p.open_until IS NOT NULL LIMIT %(cap)s) x),
       (SELECT count(*) FROM (SELECT 1 FROM troth_schema.worker w WHERE w.executes LIMIT %(cap)s) x)

-- name: parked
-- The latest runs in attention, each with what it was parked with, if that is not very large.
SELECT a.run_id, r.workflow, r.reason, CASE WHEN octet_length(r.detail) <= 65536 THEN r.detail END,
       extract(epoch FROM clock_timestamp() - a.since)::float8
FROM (SELECT x.run_id, x.since FROM troth_schema.attention x ORDER BY x.since DESC, x.run_id DESC LIMIT %(limit)s) a
JOIN troth_schema.run r ON r.id = a.run_id WHERE r.state = 'attention'

-- name: failed
-- The runs that have failed among the latest ones.
SELECT h.id, h.workflow, CASE WHEN octet_length(h.outcome) <= 65536 THEN h.outcome END,
       extract(epoch FROM clock_timestamp() - h.ended_at)::float8
FROM (SELECT x.id, x.workflow, x.state, x.outcome, x.ended_at FROM troth_schema.run_history x
      WHERE x.id >= troth_schema.first_id(now() - make_interval(secs => %(within_s)s))
      ORDER BY x.id DESC LIMIT %(scan)s) h
WHERE h.state = 'failed' LIMIT %(limit)s

-- name: minutes
-- What workers have done, in steps of some minutes; the latest so many rows are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT date_bin(make_interval(secs => %(step_s)s), m.minute, 'epoch') AS at, m.started, m.succeeded, m.failed, m.cancelled,
           m.attention, m.steps, m.effects_unknown, m.minute, m.workflow
    FROM troth_schema.worker_minute m
    WHERE m.minute >= date_bin(make_interval(secs => %(step_s)s), now() - make_interval(secs => %(span_s)s), 'epoch')
    ORDER BY m.minute DESC LIMIT %(cap)s
), summed AS MATERIALIZED (
    SELECT l.at, sum(l.started) AS started, sum(l.succeeded) AS succeeded, sum(l.failed) AS failed, sum(l.cancelled) AS cancelled,
           sum(l.attention) AS attention, sum(l.steps) AS steps, sum(l.effects_unknown) AS unknown
    FROM looked_at l
    WHERE %(workflow)s::text IS NULL OR %(workflow)s IN (l.workflow, split_part(l.workflow, '@', 1)) GROUP BY l.at
)
SELECT t.at, coalesce(s.started, 0), coalesce(s.succeeded, 0), coalesce(s.failed, 0), coalesce(s.cancelled, 0),
       coalesce(s.attention, 0), coalesce(s.steps, 0), coalesce(s.unknown, 0),
       (SELECT count(*) FROM looked_at), (SELECT min(l.minute) FROM looked_at l)
FROM generate_series(date_bin(make_interval(secs => %(step_s)s), now() - make_interval(secs => %(span_s)s), 'epoch'), now(),
                     make_interval(secs => %(step_s)s)) AS t (at)
LEFT JOIN summed s ON s.at = t.at
ORDER BY t.at LIMIT 1000
