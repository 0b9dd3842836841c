-- Runs that wait for a person, those that have waited longest first.

-- name: lines
-- A page: at most so many are looked at, from where the page before ended.
WITH looked_at AS MATERIALIZED (
    SELECT a.run_id, a.since FROM troth_schema.attention a
    WHERE (a.since, a.run_id) > (coalesce(%(since)s::timestamptz, '-infinity'), coalesce(%(run)s::uuid, troth_schema.first_id('epoch')))
    ORDER BY a.since, a.run_id LIMIT %(scan)s
), matching AS (
    SELECT l.run_id, l.since, n.claimed_by, n.claimed_at, n.note, n.noted_by, n.noted_at
    FROM looked_at l JOIN troth_schema.run r ON r.id = l.run_id
    LEFT JOIN troth_schema.attention_note n ON n.run_id = l.run_id AND n.claim = r.claim
    WHERE r.state = 'attention'
      AND (%(reasons)s::text[] IS NULL OR r.reason = ANY (%(reasons)s::text[]))
      AND (%(workflow)s::text IS NULL OR %(workflow)s IN (r.workflow, split_part(r.workflow, '@', 1)))
      AND (%(owner)s::text IS NULL OR n.claimed_by = %(owner)s)
      AND (NOT %(unclaimed)s OR n.claimed_by IS NULL)
    ORDER BY l.since, l.run_id LIMIT %(limit)s
)
SELECT s.n, s.since, s.run_id, m.run_id, r.workflow, r.key, r.reason, m.since,
       greatest(0, extract(epoch FROM clock_timestamp() - m.since))::float8,
       CASE WHEN octet_length(r.detail) <= 262144 THEN r.detail END, m.claimed_by, m.claimed_at,
       CASE WHEN m.claimed_at IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - m.claimed_at)) END::float8, m.note, m.noted_by, m.noted_at
FROM (SELECT count(*) OVER () AS n, l.since, l.run_id FROM looked_at l ORDER BY l.since DESC, l.run_id DESC LIMIT 1) s
LEFT JOIN matching m ON true
LEFT JOIN troth_schema.run r ON r.id = m.run_id
ORDER BY m.since, m.run_id LIMIT %(limit)s

-- name: ids
-- Which runs match, of so many that are looked at.
SELECT l.run_id
FROM (SELECT a.run_id, a.since FROM troth_schema.attention a ORDER BY a.since, a.run_id LIMIT %(scan)s) l
JOIN troth_schema.run r ON r.id = l.run_id
LEFT JOIN troth_schema.attention_note n ON n.run_id = l.run_id AND n.claim = r.claim
WHERE r.state = 'attention'
  AND (%(reasons)s::text[] IS NULL OR r.reason = ANY (%(reasons)s::text[]))
  AND (%(workflow)s::text IS NULL OR %(workflow)s IN (r.workflow, split_part(r.workflow, '@', 1)))
  AND (%(owner)s::text IS NULL OR n.claimed_by = %(owner)s)
  AND (NOT %(unclaimed)s OR n.claimed_by IS NULL)
ORDER BY l.since, l.run_id LIMIT %(limit)s

-- name: reasons
-- How many there are for which reason, and how long the oldest has waited.
SELECT r.reason, count(*), greatest(0, extract(epoch FROM clock_timestamp() - min(a.since)))::float8
FROM (SELECT x.run_id, x.since FROM troth_schema.attention x ORDER BY x.since LIMIT %(cap)s) a
JOIN troth_schema.run r ON r.id = a.run_id WHERE r.state = 'attention'
GROUP BY r.reason ORDER BY 2 DESC
