-- name: accounts
-- Accounts after an id, in order.
SELECT id, code, currency, side::text, opened_at FROM troth_schema.ledger_account
WHERE id > %(after)s ORDER BY id LIMIT %(limit)s;

-- name: transfers
-- What moved money, after a number, in order: with account ids, codes, currencies and signed amounts.
SELECT t.seq, t.id, t.kind::text, t.effective_at, t.booked_at, t.key, t.code,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[t.debit, t.credit] ELSE t.leg_accounts END,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[d.code, c.code] ELSE l.codes END,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[d.currency, c.currency] ELSE l.currencies END,
       CASE WHEN t.leg_accounts IS NULL THEN ARRAY[t.amount, -t.amount] ELSE t.leg_amounts END
FROM troth_schema.ledger_transfer t
LEFT JOIN troth_schema.ledger_account d ON d.id = t.debit
LEFT JOIN troth_schema.ledger_account c ON c.id = t.credit
LEFT JOIN LATERAL (
    SELECT array_agg(a.code ORDER BY u.n) AS codes, array_agg(a.currency ORDER BY u.n) AS currencies
    FROM unnest(t.leg_accounts) WITH ORDINALITY AS u (account, n)
    JOIN troth_schema.ledger_account a ON a.id = u.account) AS l ON true
WHERE t.seq > %(after)s AND t.kind IN ('transfer', 'post', 'reversal')
ORDER BY t.seq LIMIT %(limit)s;

-- name: posted
-- What is posted on accounts after an id, in order, entries and queue: debits less credits.
SELECT a.id, a.code, a.currency, (b.debits_posted - b.credits_posted + coalesce(q.net, 0))::text
FROM troth_schema.ledger_account a
JOIN troth_schema.ledger_balance b ON b.account = a.id
LEFT JOIN (
    SELECT u.account, sum(CASE u.side WHEN 'debit' THEN u.posted ELSE -u.posted END) AS net
    FROM troth_schema.ledger_queue u GROUP BY u.account) AS q ON q.account = a.id
WHERE a.id > %(after)s ORDER BY a.id LIMIT %(limit)s;
