-- Who is there to execute runs.

-- name: lines
-- The processes that are there, with the runs that each has in hand; of runs, at most so many are looked at.
WITH in_hand AS MATERIALIZED (
    SELECT r.owner, count(*) AS runs FROM (SELECT x.owner FROM troth_schema.run x LIMIT %(cap)s) r
    WHERE r.owner IS NOT NULL GROUP BY r.owner
)
SELECT w.id, w.name, w.executes, w.workflows, w.lease_s::float8, w.started_at,
       greatest(0, extract(epoch FROM clock_timestamp() - w.started_at))::float8, w.beat,
       greatest(0, extract(epoch FROM clock_timestamp() - w.beat_at))::float8, coalesce(h.runs, 0)
FROM troth_schema.worker w LEFT JOIN in_hand h ON h.owner = w.id
WHERE w.id > %(after)s AND (NOT %(executes)s OR w.executes) AND (%(worker)s::bigint IS NULL OR w.id = %(worker)s)
ORDER BY w.id LIMIT %(limit)s

-- name: gone
-- Processes that were found dead, and how many of their runs nobody has released.
WITH in_hand AS MATERIALIZED (
    SELECT r.owner, count(*) AS runs FROM (SELECT x.owner FROM troth_schema.run x LIMIT %(cap)s) r
    WHERE r.owner IS NOT NULL GROUP BY r.owner
)
SELECT g.id, g.name, g.gone_at, greatest(0, extract(epoch FROM clock_timestamp() - g.gone_at))::float8, coalesce(h.runs, 0)
FROM troth_schema.worker_gone g LEFT JOIN in_hand h ON h.owner = g.id ORDER BY g.id DESC LIMIT %(limit)s

-- name: versions
-- The workflows of the runs that are alive, each version by itself, and how many workers can execute it.
SELECT v.workflow, v.runs, v.attention, v.oldest,
       (SELECT count(*) FROM troth_schema.worker w WHERE w.executes AND v.workflow = ANY (w.workflows)), v.looked_at
FROM (SELECT r.workflow, count(*) AS runs, count(*) FILTER (WHERE r.state = 'attention') AS attention,
             min(r.starts_at) AS oldest, sum(count(*)) OVER () AS looked_at
      FROM (SELECT x.workflow, x.state, x.starts_at FROM troth_schema.run x LIMIT %(cap)s) r
      GROUP BY r.workflow ORDER BY r.workflow LIMIT %(limit)s) v
ORDER BY v.workflow LIMIT %(limit)s

-- name: ahead
-- By how much the latest beat is ahead of the clock, in seconds.
SELECT extract(epoch FROM max(w.beat_at) - clock_timestamp())::float8
FROM (SELECT x.beat_at FROM troth_schema.worker x LIMIT %(limit)s) w
