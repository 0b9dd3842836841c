-- Lists of runs. SELECT only; each statement looks at so many rows and not at more.

-- name: runs
-- A page of runs, newest first: live ones and ended ones of one snapshot, so that a run is in exactly one of them.
(SELECT r.id, r.state::text, r.workflow, r.key, r.reason, r.starts_at, NULL::timestamptz,
        greatest(0, extract(epoch FROM clock_timestamp() - r.starts_at))::float8
 FROM (SELECT x.id, x.state, x.workflow, x.key, x.reason, x.starts_at, x.parent FROM troth_schema.run x
       WHERE %(live)s AND x.id < %(before)s AND x.id > %(above)s AND x.id >= troth_schema.first_id(%(since)s)
         AND (%(id)s::uuid IS NULL OR x.id = %(id)s) AND (%(parent)s::uuid IS NULL OR x.parent = %(parent)s)
       ORDER BY x.id DESC LIMIT %(scan)s) r
 WHERE (%(states)s::text[] IS NULL OR r.state = ANY (%(states)s::text[]::troth_schema.run_state[]))
   AND (%(reasons)s::text[] IS NULL OR r.reason = ANY (%(reasons)s::text[]))
   AND (%(workflow)s::text IS NULL OR %(workflow)s IN (r.workflow, split_part(r.workflow, '@', 1)))
 ORDER BY r.id DESC LIMIT %(limit)s)
UNION ALL
(SELECT h.id, h.state::text, h.workflow, h.key, NULL, h.starts_at, h.ended_at,
        greatest(0, extract(epoch FROM h.ended_at - h.starts_at))::float8
 FROM (SELECT x.id, x.state, x.workflow, x.key, x.starts_at, x.ended_at, x.parent FROM troth_schema.run_history x
       WHERE %(ended)s AND x.id < %(before)s AND x.id > %(above)s AND x.id >= troth_schema.first_id(%(since)s)
         AND (%(id)s::uuid IS NULL OR x.id = %(id)s) AND (%(parent)s::uuid IS NULL OR x.parent = %(parent)s)
       ORDER BY x.id DESC LIMIT %(scan)s) h
 WHERE (%(states)s::text[] IS NULL OR h.state = ANY (%(states)s::text[]::troth_schema.run_state[]))
   AND (%(workflow)s::text IS NULL OR %(workflow)s IN (h.workflow, split_part(h.workflow, '@', 1)))
 ORDER BY h.id DESC LIMIT %(limit)s)
ORDER BY 1 DESC LIMIT %(limit)s

-- name: horizon
-- The id down to which a page has looked, if there are runs below it.
SELECT greatest(
    (SELECT CASE WHEN count(*) = %(scan)s THEN min(s.id::text COLLATE "C") END
     FROM (SELECT r.id FROM troth_schema.run r
           WHERE %(live)s AND r.id < %(before)s AND r.id >= troth_schema.first_id(%(since)s)
             AND (%(parent)s::uuid IS NULL OR r.parent = %(parent)s)
           ORDER BY r.id DESC LIMIT %(scan)s) s),
    (SELECT CASE WHEN count(*) = %(scan)s THEN min(s.id::text COLLATE "C") END
     FROM (SELECT h.id FROM troth_schema.run_history h
           WHERE %(ended)s AND h.id < %(before)s AND h.id >= troth_schema.first_id(%(since)s)
             AND (%(parent)s::uuid IS NULL OR h.parent = %(parent)s)
           ORDER BY h.id DESC LIMIT %(scan)s) s)
)::uuid

-- name: count
-- How many runs that are alive match, up to one more than the cap.
SELECT count(*) FROM (
    SELECT FROM troth_schema.run r
    WHERE r.id >= troth_schema.first_id(%(since)s)
      AND (%(id)s::uuid IS NULL OR r.id = %(id)s) AND (%(parent)s::uuid IS NULL OR r.parent = %(parent)s)
      AND (%(states)s::text[] IS NULL OR r.state = ANY (%(states)s::text[]::troth_schema.run_state[]))
      AND (%(reasons)s::text[] IS NULL OR r.reason = ANY (%(reasons)s::text[]))
      AND (%(workflow)s::text IS NULL OR %(workflow)s IN (r.workflow, split_part(r.workflow, '@', 1)))
    LIMIT %(cap)s + 1) s

-- name: live_ids
-- The newest runs that are alive and match.
SELECT r.id FROM troth_schema.run r
WHERE r.id >= troth_schema.first_id(%(since)s)
  AND (%(id)s::uuid IS NULL OR r.id = %(id)s) AND (%(parent)s::uuid IS NULL OR r.parent = %(parent)s)
  AND (%(states)s::text[] IS NULL OR r.state = ANY (%(states)s::text[]::troth_schema.run_state[]))
  AND (%(reasons)s::text[] IS NULL OR r.reason = ANY (%(reasons)s::text[]))
  AND (%(workflow)s::text IS NULL OR %(workflow)s IN (r.workflow, split_part(r.workflow, '@', 1)))
ORDER BY r.id DESC LIMIT %(limit)s
