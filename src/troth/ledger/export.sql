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
