-- Traffic to providers.

-- name: lines
-- A page of providers, by name: what was declared, and where their traffic stands.
SELECT p.name, p.rate_limit, p.rate_per_s, p.concurrency, p.breaker_failures, p.breaker_pause_s, p.failures,
       p.open_until, extract(epoch FROM p.open_until - clock_timestamp())::float8, p.open_until - make_interval(secs => p.breaker_pause_s),
       greatest(0, extract(epoch FROM clock_timestamp() - p.open_until) + p.breaker_pause_s)::float8,
       p.trial_until IS NOT NULL AND p.trial_until > clock_timestamp(),
       greatest(0, p.next_at - extract(epoch FROM clock_timestamp())::float8),
       w.name, coalesce(l.holders, 0), coalesce(l.held, 0), coalesce(l.demand, 0), coalesce(l.hungry, 0), coalesce(l.lost, 0)
FROM troth_schema.provider p
LEFT JOIN troth_schema.worker w ON w.id = p.declared_by
LEFT JOIN LATERAL (
    SELECT count(*) AS holders, sum(x.held) AS held, sum(x.demand) AS demand,
           count(*) FILTER (WHERE x.hungry_since IS NOT NULL) AS hungry, count(*) FILTER (WHERE x.lost_at IS NOT NULL) AS lost
    FROM (SELECT y.* FROM troth_schema.provider_lease y WHERE y.provider = p.name LIMIT 10000) x) l ON true
WHERE p.name > %(after)s AND (%(name)s::text IS NULL OR p.name = %(name)s) ORDER BY p.name LIMIT %(limit)s
