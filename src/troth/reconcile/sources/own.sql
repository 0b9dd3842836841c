-- What troth itself has recorded, as items.

-- name: effects
-- The effects of one name that were sent for the first time in a window, in the order of runs and paths, some at a time.
WITH sent AS (
    SELECT j.run_id, j.path, min(j.at) AS at, max(j.at) AS last_at, (array_agg(j.payload ORDER BY j.attempt))[1] AS payload
    FROM troth_schema.journal j
    WHERE j.run_id >= greatest(%(run)s::uuid, troth_schema.first_id(%(first)s - make_interval(secs => %(reach_s)s)))
      AND j.run_id < troth_schema.first_id(%(last)s) AND j.kind = 1 AND j.path ~ %(pattern)s
      AND (j.run_id > %(run)s::uuid OR j.path > %(path)s::text)
    GROUP BY j.run_id, j.path HAVING min(j.at) >= %(first)s AND min(j.at) < %(last)s
    ORDER BY j.run_id, j.path LIMIT %(limit)s)
SELECT s.run_id, s.path, s.at, s.payload, done.ok,
       (SELECT count(*) FROM troth_schema.journal f
        WHERE f.run_id = s.run_id AND f.path = s.path AND f.kind = 2 AND f.ok IS FALSE AND f.at < s.last_at),
       EXISTS (SELECT FROM troth_schema.journal u
               WHERE u.run_id = s.run_id AND u.path = '!undo/' || s.path AND u.kind = 2 AND u.ok),
       r.state::text, r.reason, r.detail, h.state::text
FROM sent s
LEFT JOIN LATERAL (
    SELECT d.ok FROM troth_schema.journal d
    WHERE d.run_id = s.run_id AND d.path = s.path AND d.kind = 2 AND d.at >= s.last_at ORDER BY d.attempt DESC LIMIT 1) done ON true
LEFT JOIN troth_schema.run r ON r.id = s.run_id
LEFT JOIN troth_schema.run_history h ON h.id = s.run_id
ORDER BY s.run_id, s.path

-- name: effects_count
-- How many there are.
SELECT count(*) FROM (
    SELECT FROM troth_schema.journal j
    WHERE j.run_id >= troth_schema.first_id(%(first)s - make_interval(secs => %(reach_s)s))
      AND j.run_id < troth_schema.first_id(%(last)s) AND j.kind = 1 AND j.path ~ %(pattern)s
    GROUP BY j.run_id, j.path HAVING min(j.at) >= %(first)s AND min(j.at) < %(last)s) s

-- name: events
-- Events of an inbox that were made in a window, in the order in which they came, some at a time.
SELECT e.seq, e.event_id, e.type, e.object_key, e.created_at, e.version, e.body, e.headers, e.received_at, e.found_by
FROM troth_schema.inbox_event e
WHERE e.source = %(source)s AND e.seq > %(after)s AND e.created_at >= %(first)s AND e.created_at < %(last)s
ORDER BY e.seq LIMIT %(limit)s

-- name: events_count
-- How many there are, and up to when the provider's own list was swept.
SELECT (SELECT count(*) FROM troth_schema.inbox_event e
        WHERE e.source = %(source)s AND e.created_at >= %(first)s AND e.created_at < %(last)s),
       (SELECT s.swept_at FROM troth_schema.inbox_sweep s WHERE s.source = %(source)s)

-- name: account
-- An account, and how many of its legs in a window are still to be folded into entries.
SELECT a.id, a.currency, a.side::text,
       (SELECT count(*) FROM troth_schema.ledger_queue u
        WHERE u.account = a.id AND u.posted <> 0 AND u.effective_at >= %(first)s AND u.effective_at < %(last)s)
FROM troth_schema.ledger_account a WHERE a.code = %(code)s

-- name: postings
-- What was posted to an account and counts in a window when it was booked, in the order of its versions, some at a time. In
-- this order booking times do not go back, but for entries that are marked as late: so a window is a range of versions.
SELECT p.version, t.id, t.key, p.posted, p.side::text, p.effective_at, t.kind::text, t.code, t.metadata
FROM (
    SELECT e.version, e.transfer, e.posted, e.side, e.effective_at FROM troth_schema.ledger_entry e
    WHERE e.account = %(account)s::bigint AND e.late_after IS NULL AND e.effective_at = e.booked_at AND e.posted <> 0
      AND e.version > (SELECT greatest(%(after)s::bigint, troth_schema.ledger_version_at(%(account)s::bigint,
                              %(first)s::timestamptz - interval '1 microsecond')))
      AND e.version <= (SELECT troth_schema.ledger_version_at(%(account)s::bigint, %(last)s::timestamptz - interval '1 microsecond'))
    ORDER BY e.version LIMIT %(limit)s) p
JOIN troth_schema.ledger_transfer t ON t.seq = p.transfer
ORDER BY p.version

-- name: postings_elsewhen
-- The others, in the order of when they count: entries that came late, and those that count at another time than that of
-- their booking. Each of the two has an index of its own.
SELECT p.version, t.id, t.key, p.posted, p.side::text, p.effective_at, t.kind::text, t.code, t.metadata
FROM (
    (SELECT e.version, e.transfer, e.posted, e.side, e.effective_at FROM troth_schema.ledger_entry e
     WHERE e.account = %(account)s::bigint AND e.late_after IS NOT NULL AND e.effective_at = e.booked_at AND e.posted <> 0
       AND e.booked_at >= %(at)s::timestamptz AND e.booked_at < %(last)s::timestamptz
       AND (e.booked_at, e.version) > (%(at)s::timestamptz, %(after)s::bigint)
     ORDER BY e.booked_at, e.version LIMIT %(limit)s)
    UNION ALL
    (SELECT e.version, e.transfer, e.posted, e.side, e.effective_at FROM troth_schema.ledger_entry e
     WHERE e.account = %(account)s::bigint AND e.effective_at <> e.booked_at AND e.posted <> 0
       AND (e.effective_at, e.version) > (%(at)s::timestamptz, %(after)s::bigint) AND e.effective_at < %(last)s::timestamptz
     ORDER BY e.effective_at, e.version LIMIT %(limit)s)
    ORDER BY effective_at, version LIMIT %(limit)s) p
JOIN troth_schema.ledger_transfer t ON t.seq = p.transfer
ORDER BY p.effective_at, p.version

-- name: postings_count
-- How many there are of all three, and in the queue.
SELECT (SELECT count(*) FROM troth_schema.ledger_entry e
        WHERE e.account = %(account)s::bigint AND e.late_after IS NULL AND e.effective_at = e.booked_at AND e.posted <> 0
          AND e.version > (SELECT troth_schema.ledger_version_at(%(account)s::bigint, %(first)s::timestamptz - interval '1 microsecond'))
          AND e.version <= (SELECT troth_schema.ledger_version_at(%(account)s::bigint, %(last)s::timestamptz - interval '1 microsecond')))
     + (SELECT count(*) FROM troth_schema.ledger_entry e
        WHERE e.account = %(account)s::bigint AND e.late_after IS NOT NULL AND e.effective_at = e.booked_at AND e.posted <> 0
          AND e.booked_at >= %(first)s::timestamptz AND e.booked_at < %(last)s::timestamptz)
     + (SELECT count(*) FROM troth_schema.ledger_entry e
        WHERE e.account = %(account)s::bigint AND e.effective_at <> e.booked_at AND e.posted <> 0
          AND e.effective_at >= %(first)s::timestamptz AND e.effective_at < %(last)s::timestamptz)
     + (SELECT count(*) FROM troth_schema.ledger_queue u
        WHERE u.account = %(account)s::bigint AND u.posted <> 0
          AND u.effective_at >= %(first)s::timestamptz AND u.effective_at < %(last)s::timestamptz)
