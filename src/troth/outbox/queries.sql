-- Events out: publish, endpoints, the work of relays, and what operators look at. The rest is in migration 0008.

-- name: publish
-- A message and its deliveries, in the caller's transaction.
SELECT troth_schema.outbox_publish(%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: add_endpoint
-- Register an endpoint: it gets what is published from now on.
INSERT INTO troth_schema.outbox_endpoint (id, outbox, destination, url, types, per_key, allow_private, secret)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: rotate_secret
-- A new secret; the old one signs, too, for so many seconds.
UPDATE troth_schema.outbox_endpoint
SET old_secret = secret, old_secret_until = clock_timestamp() + make_interval(secs => %s), secret = %s
WHERE id = %s AND removed_at IS NULL RETURNING id

-- name: switch_endpoint
-- Enable, disable or remove an endpoint.
SELECT troth_schema.outbox_switch(%s, %s, %s)

-- name: record_switch
-- What a program did with an endpoint, beside what people did.
INSERT INTO troth_schema.operator_act (by, via, act, about, note, outcome) VALUES (%s, 'program', %s, %s, %s, 'done')

-- name: resend
-- Send again; the messages.
SELECT troth_schema.outbox_resend(%s, %s, %s)

-- name: next_at_target
-- When something at a target may be claimed, in seconds from now.
SELECT d.target, false, extract(epoch FROM d.next_at - clock_timestamp())::float8 FROM troth_schema.outbox_delivery d
WHERE d.target = %s AND d.state = 'pending' ORDER BY d.next_at LIMIT 1

-- name: next_at_endpoints
-- When something at each endpoint may be claimed, and whether it fails just now.
SELECT e.id::text, e.failing_since IS NOT NULL, extract(epoch FROM d.next_at - clock_timestamp())::float8
FROM troth_schema.outbox_endpoint e
CROSS JOIN LATERAL (
    SELECT o.next_at FROM troth_schema.outbox_delivery o
    WHERE o.target = e.id::text AND o.state = 'pending' ORDER BY o.next_at LIMIT 1) d
WHERE e.outbox = %s AND e.destination = %s AND e.disabled_at IS NULL AND e.removed_at IS NULL

-- name: claim
-- Lease what is due.
SELECT * FROM troth_schema.outbox_claim(%s, %s, %s, %s)

-- name: record
-- What came of an attempt; false if its claim is over.
SELECT troth_schema.outbox_record(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: wake_line
-- Let the next one of a line go.
SELECT troth_schema.outbox_wake_line(%s, %s)

-- name: forget
-- Forget messages that ended long ago, some at a time; how many were looked at, and forgotten.
SELECT * FROM troth_schema.outbox_forget(%s, %s, %s)

-- name: endpoints
-- The endpoints, without their secrets.
SELECT e.id, e.outbox, e.destination, e.url, e.types, e.per_key, e.allow_private, e.created_at, e.failing_since, e.disabled_at,
       e.disabled_because
FROM troth_schema.outbox_endpoint e WHERE e.removed_at IS NULL AND (%(outbox)s::text IS NULL OR e.outbox = %(outbox)s)
ORDER BY e.id
