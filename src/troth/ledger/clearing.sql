-- name: look
-- Note which accounts of a flow are overdue: how many, and what is new in that; nothing if somebody else is looking.
SELECT w.what, w.account, w.tenant, w.metadata, w.currency, w.minor, w.due_at, w.accounts
FROM troth_schema.ledger_watch_clearing(%(flow)s, %(under)s, %(within)s, %(metadata)s, %(most)s) w;

-- name: overdue
-- What was noted of a flow, what was due first at the top.
SELECT a.code, a.tenant, a.metadata, o.minor::bigint, a.currency, o.since, o.due_at
FROM troth_schema.ledger_overdue o JOIN troth_schema.ledger_account a ON a.id = o.account
WHERE o.flow = %(flow)s ORDER BY o.due_at, a.code LIMIT %(limit)s;
