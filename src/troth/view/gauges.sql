-- Numbers for monitoring: how much there is of what, and how old the oldest is. Every scan ends at a limit.

-- name: runs
-- The runs that are alive, by state and reason.
SELECT s.state::text, s.reason, count(*)
FROM (SELECT r.state, r.reason FROM troth_schema.run r LIMIT %(cap)s) s GROUP BY s.state, s.reason

-- name: attention
-- For how many seconds the oldest run has stood in attention, by reason.
SELECT r.reason, max(extract(epoch FROM clock_timestamp() - s.since))::float8
FROM (SELECT a.run_id, a.since FROM troth_schema.attention a ORDER BY a.since LIMIT %(scan)s) s
JOIN troth_schema.run r ON r.id = s.run_id AND r.state = 'attention'
GROUP BY r.reason

-- name: ready
-- For how many seconds the oldest run has been due that nobody works on: of no queue, and in a queue.
SELECT extract(epoch FROM clock_timestamp() - (
           SELECT r.wake_at FROM troth_schema.run r
           WHERE r.owner IS NULL AND r.queue IS NULL AND r.wake_at <= now() ORDER BY r.wake_at LIMIT 1))::float8,
       extract(epoch FROM clock_timestamp() - (
           SELECT min(q.wake_at) FROM (SELECT r.wake_at FROM troth_schema.run r WHERE r.in_line LIMIT %(cap)s) q))::float8

-- name: workers
-- Processes that beat within their lease, and those that are dead and not tidied up after.
SELECT count(*) FILTER (WHERE w.executes), count(*) FILTER (WHERE NOT w.executes),
       (SELECT count(*) FROM troth_schema.worker_gone)
FROM troth_schema.worker w WHERE w.beat_at > clock_timestamp() - make_interval(secs => w.lease_s)

-- name: outbox
-- What waits to be delivered, and for how many seconds it could have been, by outbox and destination.
SELECT s.outbox, s.destination, count(*), greatest(0, extract(epoch FROM clock_timestamp() - min(s.next_at)))::float8
FROM (SELECT d.outbox, d.destination, d.next_at FROM troth_schema.outbox_delivery d
      WHERE d.state = 'pending' ORDER BY d.target, d.next_at LIMIT %(cap)s) s
GROUP BY s.outbox, s.destination

-- name: dead
-- Deliveries that nobody tries any more.
SELECT count(*) FROM (
    SELECT 1 FROM troth_schema.outbox_delivery d WHERE d.state IN ('dead', 'in_doubt') LIMIT %(cap)s) s

-- name: inbox
-- Events that wait, and for how many seconds the oldest has, by source; quarantined ones apart.
SELECT s.source, count(*) FILTER (WHERE s.state <> 'quarantined'), count(*) FILTER (WHERE s.state = 'quarantined'),
       greatest(0, extract(epoch FROM clock_timestamp() - min(s.received_at) FILTER (WHERE s.state <> 'quarantined')))::float8
FROM (SELECT e.source, e.state, e.received_at FROM troth_schema.inbox_event e
      WHERE e.state IN ('received', 'parked', 'quarantined') LIMIT %(cap)s) s
GROUP BY s.source

-- name: breaks
-- Breaks that nobody has explained, by reconciliation, kind and currency: how many, the money at risk, and for how many
-- seconds the oldest counts.
SELECT s.reconciliation, s.kind, s.currency, count(*), sum(s.minor)::float8,
       greatest(0, extract(epoch FROM clock_timestamp() - min(s.at)))::float8
FROM (SELECT b.reconciliation, b.kind, b.currency, b.minor, b.at FROM troth_schema.reconcile_break b
      WHERE b.state <> 'resolved' AND b.state = 'open' LIMIT %(cap)s) s
GROUP BY s.reconciliation, s.kind, s.currency

-- name: overdue
-- Clearing accounts that should be back at zero by now, by flow and currency: how many, what is left on them, and for how many
-- seconds the first has been due.
SELECT s.flow, a.currency, count(*), sum(abs(s.minor))::float8, greatest(0, extract(epoch FROM clock_timestamp() - min(s.due_at)))::float8
FROM (SELECT o.flow, o.account, o.minor, o.due_at FROM troth_schema.ledger_overdue o ORDER BY o.due_at, o.account LIMIT %(cap)s) s
JOIN troth_schema.ledger_account a ON a.id = s.account
GROUP BY s.flow, a.currency

-- name: reconciled
-- For how many seconds no run of a reconciliation has ended that could read both sides.
SELECT d.name, extract(epoch FROM clock_timestamp() - coalesce((
    SELECT max(l.ended_at) FROM (
        SELECT r.ended_at FROM troth_schema.reconcile_run r
        WHERE r.reconciliation = d.name AND r.verdict <> 'failed' ORDER BY r.id DESC LIMIT 1) l), d.seen_at))::float8
FROM troth_schema.reconcile d WHERE d.every IS NOT NULL LIMIT %(scan)s
