-- Statements of the traffic to providers. What must hold for every worker is in the functions of migrations/0005_traffic.sql.

-- name: declare_provider
-- Say how a provider may be called; a worker that joined later has said it before us, if nothing changes.
INSERT INTO troth_schema.provider AS p
    (name, declared_by, rate_limit, rate_per_s, spacing_s, tolerance_s, breaker_failures, breaker_pause_s, concurrency)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET declared_by = excluded.declared_by,
    rate_limit = excluded.rate_limit, rate_per_s = excluded.rate_per_s,
    spacing_s = excluded.spacing_s, tolerance_s = excluded.tolerance_s,
    breaker_failures = excluded.breaker_failures, breaker_pause_s = excluded.breaker_pause_s,
    concurrency = excluded.concurrency
WHERE p.declared_by < excluded.declared_by

-- name: take_turn
-- Reserve slots, report how calls ended, exchange leases: in one short transaction.
SELECT now, rate_limit, rate_per_s, spacing_s, tolerance_s, breaker_failures, breaker_pause_s, concurrency,
    era, failures, open_until, trial_until, first_slot, trial, held, share, lacking
FROM troth_schema.take_turn(
    %s::text, %s::int8, %s::int8, %s::int4, %s::int4, %s::bool, %s::int4, %s::bool, %s::bool, %s::float8, %s::int4, %s::int4)

-- name: be_brief
-- Whoever holds one provider's row for long must not hold up the calls to all others.
SET lock_timeout = '2s'
