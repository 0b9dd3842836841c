-- name: latest
-- The last block's number and hash.
SELECT number, hash FROM troth_schema.ledger_block ORDER BY number DESC LIMIT 1;

-- name: unsealed
-- Calls that have committed and are in no block yet, the first ones.
SELECT batch FROM troth_schema.ledger_unsealed ORDER BY batch LIMIT %(limit)s;

-- name: leaves
-- What calls have in them: transfers and refusals, all that they say, in the order of their numbers.
SELECT * FROM (
    SELECT t.seq, ARRAY['transfer', t.id::text, t.kind::text,
               (extract(epoch FROM t.booked_at) * 1000000)::bigint::text,
               (extract(epoch FROM t.effective_at) * 1000000)::bigint::text,
               t.amount::text, d.code, d.currency, c.code, c.currency, t.about::text, t.released::text, t.keeps::text,
               (extract(epoch FROM t.timeout) * 1000000)::bigint::text, t.key, t.code, t.metadata::text] ||
           coalesce((SELECT array_agg(v.word ORDER BY u.place, v.nth)
                     FROM unnest(t.leg_accounts, t.leg_amounts) WITH ORDINALITY AS u (account, amount, place)
                     LEFT JOIN troth_schema.ledger_account a ON a.id = u.account
                     CROSS JOIN LATERAL (VALUES (1, a.code), (2, a.currency), (3, u.amount::text)) AS v (nth, word)
                     ), '{}') AS content
    FROM unnest(%(batches)s::bigint[]) AS b (batch)
    JOIN troth_schema.ledger_transfer t ON t.seq >= b.batch * 8192 AND t.seq < (b.batch + 1) * 8192
    LEFT JOIN troth_schema.ledger_account d ON d.id = t.debit
    LEFT JOIN troth_schema.ledger_account c ON c.id = t.credit
    UNION ALL
    SELECT r.seq, ARRAY['refusal', r.id::text, r.outcome, (extract(epoch FROM r.refused_at) * 1000000)::bigint::text,
               r.key, r.asked::text]
    FROM unnest(%(batches)s::bigint[]) AS b (batch)
    JOIN troth_schema.ledger_refusal r ON r.seq >= b.batch * 8192 AND r.seq < (b.batch + 1) * 8192
) AS both_kinds
ORDER BY seq
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
WITH known AS (
    SELECT unnest(batches) AS batch FROM troth_schema.ledger_block
    UNION ALL
    SELECT batch FROM troth_schema.ledger_unsealed)
SELECT seq, count(*) OVER () FROM (
    SELECT seq FROM troth_schema.ledger_transfer UNION ALL SELECT seq FROM troth_schema.ledger_refusal) AS both_kinds
WHERE seq / 8192 NOT IN (SELECT batch FROM known)
ORDER BY seq LIMIT %(limit)s;
