-- Pulses: each statement is one row with a text that is another one when something has changed.

-- name: counted
-- How many rows of some tables were ever written, by the server's own counters; and the latest act of a person.
SELECT concat_ws('/',
    (SELECT o.id FROM troth_schema.operator_act o ORDER BY o.id DESC LIMIT 1),
    (SELECT sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid))
     FROM pg_class c WHERE c.relnamespace = %(schema)s::text::regnamespace AND c.relname = ANY (%(tables)s)))

-- name: runs
-- The newest run that has ended, how the newest that are alive stand, and who has come into attention last and first.
SELECT concat_ws('/',
    (SELECT h.id FROM troth_schema.run_history h ORDER BY h.id DESC LIMIT 1),
    (SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.id, s.state, s.claim, s.owner, s.reason))::bigint))
     FROM (SELECT r.id, r.state, r.claim, r.owner, r.reason FROM troth_schema.run r ORDER BY r.id DESC LIMIT 2000) s),
    (SELECT concat(a.run_id, a.since) FROM troth_schema.attention a ORDER BY a.since DESC, a.run_id DESC LIMIT 1),
    (SELECT concat(a.run_id, a.since) FROM troth_schema.attention a ORDER BY a.since, a.run_id LIMIT 1))

-- name: requests
-- The latest request.
SELECT concat(q.at, encode(q.id, 'hex')) FROM troth_schema.request q ORDER BY q.at DESC, q.id DESC LIMIT 1

-- name: inbox
-- The event that came last, and how the latest stand that are open.
SELECT concat_ws('/',
    (SELECT e.seq FROM troth_schema.inbox_event e ORDER BY e.seq DESC LIMIT 1),
    (SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.seq, s.state, s.failures, s.delivered))::bigint))
     FROM (SELECT e.seq, e.state, e.failures, e.delivered FROM troth_schema.inbox_event e
           WHERE e.state IN ('received', 'parked', 'quarantined') ORDER BY e.seq DESC LIMIT 1000) s))

-- name: outbox
-- How the latest deliveries stand, and which endpoints are off.
SELECT concat_ws('/',
    (SELECT sum(hashtext(concat_ws(',', s.id, s.state, s.claim, s.held))::bigint)
     FROM (SELECT d.id, d.state, d.claim, d.held FROM troth_schema.outbox_delivery d ORDER BY d.id DESC LIMIT 1000) s),
    (SELECT sum(hashtext(concat_ws(',', s.id, s.failing_since, s.disabled_at))::bigint)
     FROM (SELECT p.id, p.failing_since, p.disabled_at FROM troth_schema.outbox_endpoint p
           WHERE p.removed_at IS NULL LIMIT 1000) s))

-- name: ledger
-- The latest transfers, the latest account, and what is overdue. Numbers are given out before transactions end, so the latest
-- one may be there before others.
SELECT concat_ws('/',
    (SELECT concat(count(*), ':', sum(hashtext(s.seq::text)::bigint))
     FROM (SELECT t.seq FROM troth_schema.ledger_transfer t ORDER BY t.seq DESC LIMIT 1000) s),
    (SELECT a.id FROM troth_schema.ledger_account a ORDER BY a.id DESC LIMIT 1),
    (SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.flow, s.account, s.minor))::bigint))
     FROM (SELECT o.flow, o.account, o.minor FROM troth_schema.ledger_overdue o ORDER BY o.due_at, o.account LIMIT 1000) s))

-- name: overdue
-- What should be zero by now, and what is left there.
SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.flow, s.account, s.minor))::bigint))
FROM (SELECT o.flow, o.account, o.minor FROM troth_schema.ledger_overdue o ORDER BY o.due_at, o.account LIMIT 1000) s

-- name: reconcile
-- How far the latest runs are, and how the latest breaks stand that are not resolved.
SELECT concat_ws('/',
    (SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.id, s.phase, s.verdict, s.error))::bigint))
     FROM (SELECT r.id, r.phase, r.verdict, r.error FROM troth_schema.reconcile_run r ORDER BY r.id DESC LIMIT 200) s),
    (SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.id, s.kind, s.state, s.minor, s.owner, s.wanted, s.last_run))::bigint))
     FROM (SELECT b.id, b.kind, b.state, b.minor, b.owner, b.wanted, b.last_run FROM troth_schema.reconcile_break b
           WHERE b.state <> 'resolved' ORDER BY b.id DESC LIMIT 1000) s))

-- name: workers
-- Which processes there are, and which have gone.
SELECT concat_ws('/',
    (SELECT concat(count(*), ':', max(s.id)) FROM (SELECT w.id FROM troth_schema.worker w LIMIT 1000) s),
    (SELECT concat(count(*), ':', max(s.id)) FROM (SELECT g.id FROM troth_schema.worker_gone g LIMIT 1000) s))

-- name: decisions
-- The latest decision.
SELECT d.id::text FROM troth_schema.decision d ORDER BY d.id DESC LIMIT 1

-- name: acts
-- What waits for a second person, and which rules there are.
SELECT concat_ws('/',
    (SELECT concat(count(*), ':', max(s.id)) FROM (SELECT p.id FROM troth_schema.act_proposal p LIMIT 1000) s),
    (SELECT sum(hashtext(concat_ws(',', s.act, s.eyes))::bigint)
     FROM (SELECT u.act, u.eyes FROM troth_schema.act_rule u LIMIT 1000) s))

-- name: schedules
-- How the schedules stand, and the latest wish.
SELECT concat_ws('/',
    (SELECT sum(hashtext(concat_ws(',', s.name, s.next_at, s.paused_at, s.last_at))::bigint)
     FROM (SELECT x.name, x.next_at, x.paused_at, x.last_at FROM troth_schema.schedule x ORDER BY x.name LIMIT 1000) s),
    (SELECT w.id FROM troth_schema.schedule_wish w ORDER BY w.id DESC LIMIT 1))

-- name: traffic
-- Which providers answer.
SELECT sum(hashtext(concat_ws(',', s.name, s.failures, s.open_until, s.trial_until))::bigint)::text
FROM (SELECT p.name, p.failures, p.open_until, p.trial_until FROM troth_schema.provider p ORDER BY p.name LIMIT 1000) s

-- name: of_run
-- Of one run: how it stands, and the latest of its journal, of its messages and of its children.
SELECT concat_ws('/',
    (SELECT concat_ws(',', r.state, r.claim, r.owner, r.wake_at, r.reason) FROM troth_schema.run r WHERE r.id = %(id)s),
    (SELECT h.ended_at FROM troth_schema.run_history h WHERE h.id = %(id)s),
    (SELECT concat(count(*), ':', max(j.at)) FROM troth_schema.journal j WHERE j.run_id = %(id)s),
    (SELECT concat(count(*), ':', max(m.id::text)) FROM troth_schema.message m WHERE m.run_id = %(id)s),
    (SELECT concat(count(*), ':', sum(hashtext(c.state::text))) FROM (
         SELECT x.state FROM troth_schema.run x WHERE x.parent = %(id)s LIMIT 1000) c))
