-- What people did at the desk, and what waits for a second person. SELECT only.

-- name: lines
-- A page, the latest first, among so many that are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT a.* FROM troth_schema.operator_act a
    WHERE a.id < coalesce(%(before)s, 9223372036854775807)
    ORDER BY a.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE l.at >= %(since)s AND (%(by)s::text IS NULL OR l.by = %(by)s)
      AND (%(about)s::text IS NULL OR l.about = %(about)s)
      AND (%(act)s::text IS NULL OR l.act = %(act)s OR starts_with(l.act, %(act)s || '.'))
      AND (%(outcome)s::text IS NULL OR l.outcome = %(outcome)s)
      AND (%(via)s::text IS NULL OR l.via = %(via)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, s.at < %(since)s, m.id, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8, m.by, m.role, m.via,
       m.act, m.about, m.details::text, m.note, m.outcome, m.agrees_with, m.result::text
FROM (SELECT count(*) OVER () AS n, l.id, l.at FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: of_object
-- The same, about one object, which has an index.
WITH looked_at AS MATERIALIZED (
    SELECT a.* FROM troth_schema.operator_act a
    WHERE a.about = %(about)s AND a.id < coalesce(%(before)s, 9223372036854775807)
    ORDER BY a.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE l.at >= %(since)s AND (%(by)s::text IS NULL OR l.by = %(by)s)
      AND (%(act)s::text IS NULL OR l.act = %(act)s OR starts_with(l.act, %(act)s || '.'))
      AND (%(outcome)s::text IS NULL OR l.outcome = %(outcome)s)
      AND (%(via)s::text IS NULL OR l.via = %(via)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, s.at < %(since)s, m.id, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8, m.by, m.role, m.via,
       m.act, m.about, m.details::text, m.note, m.outcome, m.agrees_with, m.result::text
FROM (SELECT count(*) OVER () AS n, l.id, l.at FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: of_person
-- The same, of one person, which has an index.
WITH looked_at AS MATERIALIZED (
    SELECT a.* FROM troth_schema.operator_act a
    WHERE a.by = %(by)s AND a.id < coalesce(%(before)s, 9223372036854775807)
    ORDER BY a.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE l.at >= %(since)s AND (%(about)s::text IS NULL OR l.about = %(about)s)
      AND (%(act)s::text IS NULL OR l.act = %(act)s OR starts_with(l.act, %(act)s || '.'))
      AND (%(outcome)s::text IS NULL OR l.outcome = %(outcome)s)
      AND (%(via)s::text IS NULL OR l.via = %(via)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, s.at < %(since)s, m.id, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8, m.by, m.role, m.via,
       m.act, m.about, m.details::text, m.note, m.outcome, m.agrees_with, m.result::text
FROM (SELECT count(*) OVER () AS n, l.id, l.at FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: waiting
-- Proposals that wait for a second person, the oldest first; with their details as far as these may be read here.
SELECT p.id, p.act, p.about, p.by, p.note, p.at, greatest(0, extract(epoch FROM clock_timestamp() - p.at))::float8,
       p.until, CASE WHEN octet_length(p.details) <= 65536 THEN p.details END
FROM troth_schema.act_proposal p
WHERE p.until > clock_timestamp() AND p.id > coalesce(%(after)s, 0)
ORDER BY p.id LIMIT %(limit)s

-- name: rules
-- How many people which act needs.
SELECT r.act, r.eyes FROM troth_schema.act_rule r ORDER BY r.act LIMIT 1000
