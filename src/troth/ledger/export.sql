-- name: planned
-- Let each statement of this transaction be planned for what it finds: tables grow under a plan that is kept.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: accounts
-- Accounts after an id, in order.
SELECT id, code, currency, side::text, opened_at FROM troth_schema.ledger_account
WHERE id > %(after)s ORDER BY id LIMIT %(limit)s;

-- name: transfers
-- Transfers after a number, in order, some at a time: with ids, codes and currencies of their accounts; of several legs, arrays.
SELECT t.seq, t.id, t.kind::text, t.effective_at, t.key, t.code, t.amount, t.debit, d.code, d.currency, t.credit, c.code, c.currency,
       t.leg_accounts,
       CASE WHEN t.leg_accounts IS NOT NULL THEN ARRAY(
           SELECT a.code FROM unnest(t.leg_accounts) WITH ORDINALITY AS u (account, n)
           JOIN troth_schema.ledger_account a ON a.id = u.account ORDER BY u.n) END,
       CASE WHEN t.leg_accounts IS NOT NULL THEN ARRAY(
           SELECT a.currency FROM unnest(t.leg_accounts) WITH ORDINALITY AS u (account, n)
           JOIN troth_schema.ledger_account a ON a.id = u.account ORDER BY u.n) END,
       t.leg_amounts
FROM (
    SELECT * FROM troth_schema.ledger_transfer WHERE seq > %(after)s::bigint ORDER BY seq LIMIT %(limit)s) AS t
LEFT JOIN troth_schema.ledger_account d ON d.id = t.debit
LEFT JOIN troth_schema.ledger_account c ON c.id = t.credit
ORDER BY t.seq;
