-- What starts by the clock.

-- name: lines
-- A page of schedules, by name.
SELECT s.name, s.workflow, s.cron, s.tz, s.overlap, extract(epoch FROM s.catch_up)::float8, s.missed,
       extract(epoch FROM s.jitter)::float8, s.digest IS NOT NULL,
       s.digest IS NOT NULL AND s.seen_at < clock_timestamp() - interval '60 seconds', s.next_at,
       extract(epoch FROM s.next_at - clock_timestamp())::float8, s.paused_at, s.paused_by, s.paused_note, s.last_at,
       CASE WHEN s.last_at IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - s.last_at)) END::float8, s.last_result, s.last_run, s.seen_at,
       (SELECT count(*) FROM (SELECT 1 FROM troth_schema.schedule_wish w WHERE w.schedule = s.name LIMIT 1000) x)
FROM troth_schema.schedule s
WHERE s.name > %(after)s AND (%(name)s::text IS NULL OR s.name = %(name)s)
  AND (%(workflow)s::text IS NULL OR s.workflow = %(workflow)s) AND (NOT %(paused)s OR s.paused_at IS NOT NULL)
ORDER BY s.name LIMIT %(limit)s

-- name: firings
-- A page of what came of firings, the latest first, each with the state of its run.
SELECT f.n, f.at, f.until, f.result, f.run, coalesce(r.state, h.state)::text, f.by, f.note, f.written_at,
       greatest(0, extract(epoch FROM f.written_at - f.at))::float8
FROM (SELECT x.* FROM troth_schema.schedule_firing x WHERE x.schedule = %(name)s AND x.n < %(before)s
      ORDER BY x.n DESC LIMIT %(limit)s) f
CROSS JOIN LATERAL troth_schema.latest(f.run) AS last (id)
LEFT JOIN troth_schema.run r ON r.id = last.id
LEFT JOIN troth_schema.run_history h ON h.id = last.id
ORDER BY f.n DESC LIMIT %(limit)s
