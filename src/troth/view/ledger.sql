-- The ledger's accounts, what is on them, and what was posted.

-- name: accounts
-- A page of accounts under a place of the tree, by code, each with what its entries and the queue come to.
SELECT a.code, a.currency, a.side::text, a.limited::text, a.minimum, a.tenant, a.opened_at, a.closed_at, coalesce(b.version, 0),
       coalesce(q.n, 0), coalesce(b.debits_posted, 0) + coalesce(q.dp, 0), coalesce(b.credits_posted, 0) + coalesce(q.cp, 0),
       coalesce(b.debits_pending, 0) + coalesce(q.dh, 0), coalesce(b.credits_pending, 0) + coalesce(q.ch, 0)
FROM (
    SELECT * FROM troth_schema.ledger_account
    WHERE (%(prefix)s::text IS NULL OR (code >= %(prefix)s AND code < %(prefix)s || ';'))
      AND (%(prefix)s::text IS NULL OR code = %(prefix)s OR starts_with(code, %(prefix)s || ':'))
      AND code > %(after)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    ORDER BY code LIMIT %(limit)s) AS a
LEFT JOIN troth_schema.ledger_balance b ON b.account = a.id
LEFT JOIN (
    SELECT account, count(*) AS n,
           sum(posted) FILTER (WHERE side = 'debit') AS dp, sum(posted) FILTER (WHERE side = 'credit') AS cp,
           sum(pending) FILTER (WHERE side = 'debit') AS dh, sum(pending) FILTER (WHERE side = 'credit') AS ch
    FROM troth_schema.ledger_queue GROUP BY account) AS q ON q.account = a.id
ORDER BY a.code;

-- name: account
-- One account, likewise.
SELECT a.code, a.currency, a.side::text, a.limited::text, a.minimum, a.tenant, a.opened_at, a.closed_at, coalesce(b.version, 0),
       q.n, coalesce(b.debits_posted, 0) + q.dp, coalesce(b.credits_posted, 0) + q.cp,
       coalesce(b.debits_pending, 0) + q.dh, coalesce(b.credits_pending, 0) + q.ch
FROM troth_schema.ledger_account a
LEFT JOIN troth_schema.ledger_balance b ON b.account = a.id
CROSS JOIN LATERAL (
    SELECT count(*) AS n,
           coalesce(sum(posted) FILTER (WHERE side = 'debit'), 0) AS dp, coalesce(sum(posted) FILTER (WHERE side = 'credit'), 0) AS cp,
           coalesce(sum(pending) FILTER (WHERE side = 'debit'), 0) AS dh, coalesce(sum(pending) FILTER (WHERE side = 'credit'), 0) AS ch
    FROM troth_schema.ledger_queue w WHERE w.accounts @> ARRAY[a.id] AND w.account = a.id) AS q
WHERE a.code = %(code)s;

-- name: totals
-- The trial balance: all accounts of each currency.
SELECT a.currency, count(DISTINCT a.id), sum(t.dp), sum(t.cp), sum(t.dh), sum(t.ch)
FROM (
    SELECT account, debits_posted AS dp, credits_posted AS cp, debits_pending AS dh, credits_pending AS ch
    FROM troth_schema.ledger_balance
    UNION ALL
    SELECT account, CASE side WHEN 'debit' THEN posted ELSE 0 END, CASE side WHEN 'credit' THEN posted ELSE 0 END,
           CASE side WHEN 'debit' THEN pending ELSE 0 END, CASE side WHEN 'credit' THEN pending ELSE 0 END
    FROM troth_schema.ledger_queue) AS t
JOIN troth_schema.ledger_account a ON a.id = t.account
GROUP BY a.currency ORDER BY a.currency;

-- name: places
-- What lies directly under a place of the tree: each next part, with how many accounts and what they come to, per currency.
SELECT split_part(rest, ':', 1) AS part, currency, count(*), bool_or(strpos(rest, ':') = 0), sum(net)
FROM (
    SELECT CASE %(prefix)s WHEN '' THEN a.code ELSE substr(a.code, length(%(prefix)s) + 2) END AS rest, a.currency,
           coalesce(b.debits_posted - b.credits_posted, 0) + coalesce(q.net, 0) AS net
    FROM (
        SELECT * FROM troth_schema.ledger_account
        WHERE %(prefix)s = '' OR (code >= %(prefix)s || ':' AND code < %(prefix)s || ';')
        ORDER BY code LIMIT %(scan)s) AS a
    LEFT JOIN troth_schema.ledger_balance b ON b.account = a.id
    LEFT JOIN (
        SELECT account, sum(CASE side WHEN 'debit' THEN posted ELSE -posted END) AS net
        FROM troth_schema.ledger_queue GROUP BY account) AS q ON q.account = a.id) AS below
GROUP BY part, currency ORDER BY part, currency LIMIT %(most)s;

-- name: entries
-- A page of an account's entries, the latest first, with the transfers that made them.
SELECT e.version, t.seq, t.id, t.key, t.kind::text, e.side::text, e.posted, e.pending, e.booked_at, e.effective_at,
       e.debits_posted, e.credits_posted, e.debits_pending, e.credits_pending, t.code, t.metadata
FROM troth_schema.ledger_account a
JOIN troth_schema.ledger_entry e ON e.account = a.id
JOIN troth_schema.ledger_transfer t ON t.seq = e.transfer
WHERE a.code = %(code)s AND e.version < %(before)s
ORDER BY e.version DESC LIMIT %(limit)s;

-- name: transfers
-- A page of transfers, the latest number first.
SELECT t.seq, t.id, t.key, t.kind::text, t.booked_at, t.effective_at, t.code, t.metadata, o.id,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[d.code, c.code] ELSE l.codes END,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[d.currency, c.currency] ELSE l.currencies END,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[t.amount, -t.amount] ELSE t.leg_amounts END
FROM (
    SELECT * FROM troth_schema.ledger_transfer
    WHERE seq < %(before)s AND (%(id)s::uuid IS NULL OR seq = (SELECT i.seq FROM troth_schema.ledger_id i WHERE i.id = %(id)s))
    ORDER BY seq DESC LIMIT %(limit)s) AS t
LEFT JOIN troth_schema.ledger_account d ON d.id = t.debit
LEFT JOIN troth_schema.ledger_account c ON c.id = t.credit
LEFT JOIN troth_schema.ledger_transfer o ON o.seq = t.about
LEFT JOIN LATERAL (
    SELECT array_agg(a.code ORDER BY u.n) AS codes, array_agg(a.currency ORDER BY u.n) AS currencies
    FROM unnest(t.leg_accounts) WITH ORDINALITY AS u (account, n)
    JOIN troth_schema.ledger_account a ON a.id = u.account) AS l ON true
ORDER BY t.seq DESC;

-- name: refusal
-- The refusal that an id has.
SELECT r.seq, r.id, r.key, r.outcome, r.refused_at, r.asked
FROM troth_schema.ledger_id i JOIN troth_schema.ledger_refusal r ON r.seq = i.seq WHERE i.id = %(id)s;

-- name: overdue
-- Balances that should be zero by now, the one that was due first at the top.
SELECT o.flow, a.code, a.currency, a.tenant, a.metadata, o.since, o.due_at, o.minor,
       greatest(0, extract(epoch FROM clock_timestamp() - o.due_at))::float8
FROM troth_schema.ledger_overdue o JOIN troth_schema.ledger_account a ON a.id = o.account
WHERE %(due)s::timestamptz IS NULL OR (o.due_at, a.code) > (%(due)s, %(code)s)
ORDER BY o.due_at, a.code LIMIT %(limit)s;
