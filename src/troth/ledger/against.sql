-- name: posted
-- What is posted on accounts after an id, in order, entries and queue: debits less credits.
SELECT a.id, a.code, a.currency, (b.debits_posted - b.credits_posted + coalesce(q.net, 0))::text
FROM troth_schema.ledger_account a
JOIN troth_schema.ledger_balance b ON b.account = a.id
LEFT JOIN (
    SELECT u.account, sum(CASE u.side WHEN 'debit' THEN u.posted ELSE -u.posted END) AS net
    FROM troth_schema.ledger_queue u GROUP BY u.account) AS q ON q.account = a.id
WHERE a.id > %(after)s ORDER BY a.id LIMIT %(limit)s;
