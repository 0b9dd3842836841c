-- name: latest
-- The last block's number and hash.
SELECT number, hash FROM troth_schema.ledger_block ORDER BY number DESC LIMIT 1;

-- name: unsealed
-- Calls that have committed and are in no block yet, the first ones.
SELECT batch FROM troth_schema.ledger_unsealed ORDER BY batch LIMIT %(limit)s;

-- name: planned
-- Let each statement of this transaction be planned for what it finds: tables grow under a plan that is kept.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: leaves
-- What calls have in them, call after call: transfers and refusals, all that they say as words, in the order of their numbers.
-- Nothing is worked out of more calls than the limit has room for. The words of legs, where there are more than two, come last.
SELECT leaf.*
FROM (SELECT u.batch FROM unnest(%(batches)s::bigint[]) AS u (batch) ORDER BY u.batch) AS b
CROSS JOIN LATERAL (
    SELECT t.seq, 'transfer', t.id::text, t.kind::text, (extract(epoch FROM t.booked_at) * 1000000)::bigint::text,
           (extract(epoch FROM t.effective_at) * 1000000)::bigint::text,
           t.amount::text, d.code, d.currency, c.code, c.currency, t.about::text, t.released::text, t.keeps::text,
           CASE WHEN t.timeout IS NOT NULL THEN (extract(epoch FROM t.timeout) * 1000000)::bigint::text END,
           t.key, t.code, t.metadata::text,
           CASE WHEN t.leg_accounts IS NOT NULL THEN (
               SELECT array_agg(v.word ORDER BY u.place, v.nth)
               FROM unnest(t.leg_accounts, t.leg_amounts) WITH ORDINALITY AS u (account, amount, place)
               LEFT JOIN troth_schema.ledger_account a ON a.id = u.account
               CROSS JOIN LATERAL (VALUES (1, a.code), (2, a.currency), (3, u.amount::text)) AS v (nth, word)) END
    FROM troth_schema.ledger_transfer t
    LEFT JOIN troth_schema.ledger_account d ON d.id = t.debit
    LEFT JOIN troth_schema.ledger_account c ON c.id = t.credit
    WHERE t.seq >= b.batch * 8192 AND t.seq < (b.batch + 1) * 8192
    UNION ALL
    SELECT r.seq, 'refusal', r.id::text, r.outcome, (extract(epoch FROM r.refused_at) * 1000000)::bigint::text,
           r.key, r.asked::text, null, null, null, null, null, null, null, null, null, null, null, null
    FROM troth_schema.ledger_refusal r
    WHERE r.seq >= b.batch * 8192 AND r.seq < (b.batch + 1) * 8192
    ORDER BY 1) AS leaf
LIMIT %(limit)s;

-- name: seal
-- Add a block; false if somebody else added one.
SELECT troth_schema.ledger_seal(%(number)s::bigint, %(previous)s::bytea, %(hash)s::bytea, %(batches)s::bigint[], %(seqs)s::bigint[],
    %(digests)s::bytea);

-- name: blocks
-- Blocks after a number, in order.
SELECT number, previous, hash, sealed_at, batches, seqs, digests
FROM troth_schema.ledger_block WHERE number > %(after)s ORDER BY number LIMIT %(limit)s;

-- name: outside
-- Transfers and refusals of calls that are in no block and do not wait for one, and how many there are.
SELECT seq, count(*) OVER () FROM (
    SELECT seq, seq / 8192 AS batch FROM troth_schema.ledger_transfer
    UNION ALL
    SELECT seq, seq / 8192 FROM troth_schema.ledger_refusal) AS n
WHERE NOT EXISTS (
    SELECT FROM (
        SELECT unnest(batches) AS batch FROM troth_schema.ledger_block
        UNION ALL
        SELECT batch FROM troth_schema.ledger_unsealed) AS known
    WHERE known.batch = n.batch)
ORDER BY seq LIMIT %(limit)s;
