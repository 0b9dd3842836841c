-- Reconciliations: how each stands, and what differs.

-- name: reconciliations
-- Each that a program has declared: its last run that ended, the run that is alive, and what nobody has explained.
SELECT d.name, d.ours, d.theirs, d.every, greatest(0, extract(epoch FROM clock_timestamp() - d.seen_at))::float8,
       l.id, l.verdict, l.ended_at, l.since, l.until, l.error, a.id, a.phase, o.n, o.oldest_s,
       (SELECT max(p.until) FROM troth_schema.reconcile_period p WHERE p.reconciliation = d.name)
FROM (SELECT x.* FROM troth_schema.reconcile x ORDER BY x.name LIMIT %(limit)s) d
LEFT JOIN LATERAL (
    SELECT r.id, r.verdict, r.ended_at, r.since, r.until, r.error FROM troth_schema.reconcile_run r
    WHERE r.reconciliation = d.name AND r.ended_at IS NOT NULL ORDER BY r.id DESC LIMIT 1) l ON true
LEFT JOIN troth_schema.reconcile_run a ON a.reconciliation = d.name AND a.ended_at IS NULL
CROSS JOIN LATERAL (
    SELECT count(*) AS n, greatest(0, extract(epoch FROM clock_timestamp() - min(s.at)))::float8 AS oldest_s
    FROM (SELECT b.at FROM troth_schema.reconcile_break b
          WHERE b.reconciliation = d.name AND b.state = 'open' AND b.state <> 'resolved' ORDER BY b.at LIMIT %(cap)s) s) o
ORDER BY d.name

-- name: at_risk
-- The money that nobody has explained, by reconciliation and currency; at most so many breaks are added up.
SELECT s.reconciliation, s.currency, sum(s.minor)::bigint
FROM (SELECT b.reconciliation, b.currency, b.minor FROM troth_schema.reconcile_break b
      WHERE b.state = 'open' AND b.state <> 'resolved' AND b.currency <> '' ORDER BY b.id DESC LIMIT %(cap)s) s
GROUP BY s.reconciliation, s.currency ORDER BY s.reconciliation, s.currency

-- name: breaks
-- Breaks that are not resolved, the latest first, filtered while they are read.
WITH seen AS MATERIALIZED (
    SELECT b.* FROM troth_schema.reconcile_break b
    WHERE b.state <> 'resolved' AND b.id < %(before)s ORDER BY b.id DESC LIMIT %(scan)s),
found AS (
    SELECT s.* FROM seen s
    WHERE (%(name)s::text IS NULL OR s.reconciliation = %(name)s) AND (%(kinds)s::text[] IS NULL OR s.kind = ANY (%(kinds)s))
      AND (%(states)s::text[] IS NULL OR s.state = ANY (%(states)s)) AND (%(owner)s::text IS NULL OR s.owner = %(owner)s)
    ORDER BY s.id DESC LIMIT %(limit)s)
SELECT (SELECT count(*) FROM seen), (SELECT min(s.id) FROM seen s), f.id, f.reconciliation, f.subject, f.kind, f.state, f.at,
       greatest(0, extract(epoch FROM clock_timestamp() - f.at))::float8, f.minor, f.currency, f.note, f.action, f.owner, f.until
FROM (SELECT 1) one LEFT JOIN found f ON true ORDER BY f.id DESC
