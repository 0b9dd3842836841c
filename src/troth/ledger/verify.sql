-- Each statement finds what is wrong in one way: what it is about, what is wrong, and how many such there are. None of them
-- looks at what another one vouches for. The server sorts on disk what does not fit into its work_mem.

-- name: looked_at
-- How much there is.
SELECT (SELECT count(*) FROM troth_schema.ledger_account), (SELECT count(*) FROM troth_schema.ledger_transfer),
       (SELECT count(*) FROM troth_schema.ledger_refusal), (SELECT count(*) FROM troth_schema.ledger_entry),
       (SELECT count(*) FROM troth_schema.ledger_queue), (SELECT coalesce(max(number), 0) FROM troth_schema.ledger_block);

-- name: trial
-- Debits and credits are equal in each currency, posted and pending.
SELECT currency, format('debits are %%s posted and %%s pending, credits %%s and %%s', dp, dh, cp, ch), count(*) OVER ()
FROM (
    SELECT a.currency, sum(t.dp) AS dp, sum(t.cp) AS cp, sum(t.dh) AS dh, sum(t.ch) AS ch
    FROM (
        SELECT account, debits_posted AS dp, credits_posted AS cp, debits_pending AS dh, credits_pending AS ch
        FROM troth_schema.ledger_balance
        UNION ALL
        SELECT account, CASE side WHEN 'debit' THEN posted ELSE 0 END, CASE side WHEN 'credit' THEN posted ELSE 0 END,
               CASE side WHEN 'debit' THEN pending ELSE 0 END, CASE side WHEN 'credit' THEN pending ELSE 0 END
        FROM troth_schema.ledger_queue) AS t
    JOIN troth_schema.ledger_account a ON a.id = t.account
    GROUP BY a.currency) AS sums
WHERE dp <> cp OR dh <> ch
LIMIT 20;

-- name: transfers
-- The legs of each transfer sum to zero in each currency, and are on accounts that there are.
SELECT 'number ' || seq, what, count(*) OVER ()
FROM (
    SELECT t.seq, CASE
               WHEN d.id IS NULL OR c.id IS NULL THEN 'has a leg on an account that there is not'
               WHEN d.currency <> c.currency THEN 'moves ' || c.currency || ' into ' || d.currency END AS what
    FROM troth_schema.ledger_transfer t
    LEFT JOIN troth_schema.ledger_account d ON d.id = t.debit
    LEFT JOIN troth_schema.ledger_account c ON c.id = t.credit
    WHERE t.leg_accounts IS NULL
    UNION ALL
    SELECT seq, CASE
               WHEN currency IS NULL THEN 'has a leg on an account that there is not'
               WHEN total <> 0 THEN 'its legs sum to ' || total || ' ' || currency
               WHEN legs <> accounts THEN 'has two legs on one account' END
    FROM (
        SELECT t.seq, a.currency, sum(u.amount) AS total, count(*) AS legs, count(DISTINCT u.account) AS accounts
        FROM troth_schema.ledger_transfer t
        CROSS JOIN LATERAL unnest(t.leg_accounts, t.leg_amounts) AS u (account, amount)
        LEFT JOIN troth_schema.ledger_account a ON a.id = u.account
        WHERE t.leg_accounts IS NOT NULL
        GROUP BY t.seq, a.currency) AS compounds) AS judged
WHERE what IS NOT NULL
ORDER BY seq LIMIT 20;

-- name: legs
-- Every leg is exactly one entry, or waits in the queue to become it; no entry is of anything else.
SELECT 'number ' || seq,
       format(CASE WHEN n > 0 THEN 'its %%s of %%s posted and %%s pending on %%s is no entry'
                   ELSE 'no leg of it is the entry of a %%s of %%s posted and %%s pending on %%s' END,
              differ.side, posted, pending, coalesce(a.code, 'an account that there is not')), count(*) OVER ()
FROM (
    SELECT seq, account, side, posted, pending, booked_at, effective_at, sum(n) AS n
    FROM (
        SELECT seq, account, side, posted, pending, booked_at, effective_at, 1 AS n FROM troth_schema.ledger_leg
        UNION ALL
        SELECT transfer, account, side, posted, pending, booked_at, effective_at, -1 FROM troth_schema.ledger_entry
        UNION ALL
        SELECT transfer, account, side, posted, pending, booked_at, effective_at, -1 FROM troth_schema.ledger_queue) AS each_way
    GROUP BY seq, account, side, posted, pending, booked_at, effective_at
    HAVING sum(n) <> 0) AS differ
LEFT JOIN troth_schema.ledger_account a ON a.id = differ.account
ORDER BY seq, n DESC, account LIMIT 20;

-- name: entries
-- Each account's entries are numbered without a gap, and each one's totals are those before it and its own.
SELECT format('entry %%s of %%s', version, coalesce(a.code, 'account ' || account)),
       CASE WHEN version <> previous + 1 THEN 'follows entry ' || previous
            ELSE 'its totals are not those before it and its own' END, count(*) OVER ()
FROM (
    SELECT account, version, coalesce(lag(version) OVER one, 0) AS previous,
           debits_posted - coalesce(lag(debits_posted) OVER one, 0) - CASE side WHEN 'debit' THEN posted ELSE 0 END AS dp,
           credits_posted - coalesce(lag(credits_posted) OVER one, 0) - CASE side WHEN 'credit' THEN posted ELSE 0 END AS cp,
           debits_pending - coalesce(lag(debits_pending) OVER one, 0) - CASE side WHEN 'debit' THEN pending ELSE 0 END AS dh,
           credits_pending - coalesce(lag(credits_pending) OVER one, 0) - CASE side WHEN 'credit' THEN pending ELSE 0 END AS ch
    FROM troth_schema.ledger_entry
    WINDOW one AS (PARTITION BY account ORDER BY version)) AS steps
LEFT JOIN troth_schema.ledger_account a ON a.id = steps.account
WHERE version <> previous + 1 OR dp <> 0 OR cp <> 0 OR dh <> 0 OR ch <> 0
ORDER BY account, version LIMIT 20;

-- name: balances
-- Each account's balance is that of its latest entry.
SELECT coalesce(a.code, 'account ' || coalesce(b.account, e.account)),
       format('its balance says version %%s, %%s/%%s posted, %%s/%%s pending; its latest entry %%s, %%s/%%s, %%s/%%s',
              b.version, b.debits_posted, b.credits_posted, b.debits_pending, b.credits_pending,
              e.version, e.debits_posted, e.credits_posted, e.debits_pending, e.credits_pending), count(*) OVER ()
FROM troth_schema.ledger_balance b
FULL JOIN (
    SELECT DISTINCT ON (account) * FROM troth_schema.ledger_entry ORDER BY account, version DESC) AS e USING (account)
LEFT JOIN troth_schema.ledger_account a ON a.id = account
WHERE (coalesce(b.version, 0), coalesce(b.debits_posted, 0), coalesce(b.credits_posted, 0), coalesce(b.debits_pending, 0),
       coalesce(b.credits_pending, 0))
   IS DISTINCT FROM
      (coalesce(e.version, 0), coalesce(e.debits_posted, 0), coalesce(e.credits_posted, 0), coalesce(e.debits_pending, 0),
       coalesce(e.credits_pending, 0))
ORDER BY account LIMIT 20;

-- name: limits
-- No entry of an account with a limit went beyond it, by what is posted. (What was held then, entries do not say.)
SELECT format('entry %%s of %%s', version, code), 'goes beyond ' || limited, count(*) OVER ()
FROM (
    SELECT a.code, a.limited, e.account, e.version, e.side, e.posted, a.minimum,
           CASE a.limited
               WHEN 'debits_must_not_exceed_credits' THEN e.credits_posted - e.debits_posted
               WHEN 'credits_must_not_exceed_debits' THEN e.debits_posted - e.credits_posted
               ELSE CASE a.side WHEN 'debit' THEN e.debits_posted - e.credits_posted
                                ELSE e.credits_posted - e.debits_posted END - a.minimum END AS room,
           CASE a.limited
               WHEN 'debits_must_not_exceed_credits' THEN 'debit'
               WHEN 'credits_must_not_exceed_debits' THEN 'credit'
               ELSE CASE a.side WHEN 'debit' THEN 'credit' ELSE 'debit' END END AS takes
    FROM troth_schema.ledger_account a
    JOIN troth_schema.ledger_entry e ON e.account = a.id
    WHERE a.limited <> 'none') AS judged
WHERE room < 0 AND posted > 0 AND side::text = takes
ORDER BY account, version LIMIT 20;

-- name: holds
-- What is left of each hold is what it held less what was posted, voided and expired of it.
SELECT 'the hold of number ' || coalesce(h.transfer, t.seq),
       CASE WHEN h.transfer IS NULL THEN 'is no hold any more'
            WHEN t.seq IS NULL THEN 'is of no transfer'
            ELSE format('holds %%s and is %%s; booked are %%s held and %%s let go', h.remaining, h.state, t.amount,
                        coalesce(d.released, 0)) END, count(*) OVER ()
FROM troth_schema.ledger_hold h
FULL JOIN (
    SELECT seq, debit, credit, amount FROM troth_schema.ledger_transfer WHERE kind = 'hold') AS t ON t.seq = h.transfer
LEFT JOIN (
    SELECT about, sum(released) AS released, coalesce(sum(amount) FILTER (WHERE kind = 'post'), 0) AS posted,
           bool_or(kind = 'void') AS voided, bool_or(kind = 'expiry') AS expired
    FROM troth_schema.ledger_transfer WHERE kind IN ('post', 'void', 'expiry')
    GROUP BY about) AS d ON d.about = coalesce(h.transfer, t.seq)
WHERE h.transfer IS NULL OR t.seq IS NULL
   OR (h.debit, h.credit, h.amount) IS DISTINCT FROM (t.debit, t.credit, t.amount)
   OR h.remaining <> t.amount - coalesce(d.released, 0) OR coalesce(d.posted, 0) > t.amount
   OR h.state::text <> CASE WHEN h.remaining > 0 THEN 'open' WHEN d.voided THEN 'voided' WHEN d.expired THEN 'expired'
                            ELSE 'posted' END
ORDER BY 1 LIMIT 20;

-- name: pending
-- What is pending on each side of an account is what open holds hold there.
SELECT coalesce(a.code, 'account ' || account), format('%%s %%s pending, open holds come to %%s', on_account, sums.side, in_holds),
       count(*) OVER ()
FROM (
    SELECT account, side, sum(pending) AS on_account, sum(held) AS in_holds
    FROM (
        SELECT account, 'debit'::troth_schema.ledger_side AS side, debits_pending AS pending, 0::numeric AS held
        FROM troth_schema.ledger_balance WHERE debits_pending <> 0
        UNION ALL
        SELECT account, 'credit', credits_pending, 0 FROM troth_schema.ledger_balance WHERE credits_pending <> 0
        UNION ALL
        SELECT account, side, pending, 0 FROM troth_schema.ledger_queue WHERE pending <> 0
        UNION ALL
        SELECT debit, 'debit', 0, remaining FROM troth_schema.ledger_hold WHERE remaining > 0
        UNION ALL
        SELECT credit, 'credit', 0, remaining FROM troth_schema.ledger_hold WHERE remaining > 0) AS parts
    GROUP BY account, side) AS sums
LEFT JOIN troth_schema.ledger_account a ON a.id = sums.account
WHERE on_account <> in_holds
ORDER BY account LIMIT 20;

-- name: reversals
-- No transfer is taken back by more than it was, and each reversal mirrors what it takes back.
SELECT 'number ' || about, what, count(*) OVER ()
FROM (
    SELECT coalesce(r.about, k.transfer) AS about, CASE
               WHEN r.about IS NULL AND k.amount > 0 THEN 'counts as reversed by ' || k.amount || ', and is not'
               WHEN r.about IS NOT NULL AND (k.transfer IS NULL OR k.amount <> r.amount)
               THEN 'is reversed by ' || r.amount || ', and counts as reversed by ' || coalesce(k.amount, 0)
               WHEN r.amount > r.most THEN 'is reversed by ' || r.amount || ', and was ' || r.most
               WHEN NOT r.mirrored THEN 'is reversed by what is not its mirror' END AS what
    FROM (
        SELECT v.about, sum(coalesce(v.amount, 1)) AS amount, min(coalesce(o.amount, 1)) AS most,
               bool_and(o.kind IN ('transfer', 'post', 'reversal') AND CASE
                   WHEN v.leg_accounts IS NULL THEN v.debit IS NOT DISTINCT FROM o.credit AND v.credit IS NOT DISTINCT FROM o.debit
                   ELSE v.leg_accounts = o.leg_accounts
                        AND v.leg_amounts = (SELECT array_agg(-x ORDER BY n) FROM unnest(o.leg_amounts) WITH ORDINALITY AS u (x, n))
                   END) IS TRUE AS mirrored
        FROM troth_schema.ledger_transfer v
        LEFT JOIN troth_schema.ledger_transfer o ON o.seq = v.about
        WHERE v.kind = 'reversal'
        GROUP BY v.about) AS r
    FULL JOIN troth_schema.ledger_reversed k ON k.transfer = r.about) AS judged
WHERE what IS NOT NULL
ORDER BY about LIMIT 20;

-- name: ids
-- Each id is taken by the one transfer or refusal that has it, and by nothing else.
SELECT id::text, CASE WHEN n > 0 THEN 'is the id of number ' || seq || ', and is not taken by it'
                      ELSE 'is taken by number ' || seq || ', which does not have it' END, count(*) OVER ()
FROM (
    SELECT id, seq, sum(n) AS n
    FROM (
        SELECT id, seq, 1 AS n FROM troth_schema.ledger_transfer
        UNION ALL
        SELECT id, seq, 1 FROM troth_schema.ledger_refusal
        UNION ALL
        SELECT id, seq, -1 FROM troth_schema.ledger_id) AS each_way
    GROUP BY id, seq
    HAVING sum(n) <> 0) AS differ
ORDER BY seq LIMIT 20;

-- name: periods
-- What was kept of each account at the end of a closed period is what its entries come to, also now.
SELECT format('%%s at the end of %%s', coalesce(a.code, 'account ' || account), through),
       format('kept are %%s/%%s posted, its entries come to %%s/%%s', kept_dp, kept_cp, dp, cp), count(*) OVER ()
FROM (
    SELECT c.account, c.through, c.debits_posted AS kept_dp, c.credits_posted AS kept_cp,
           coalesce(sum(t.posted) FILTER (WHERE t.side = 'debit'), 0) AS dp,
           coalesce(sum(t.posted) FILTER (WHERE t.side = 'credit'), 0) AS cp
    FROM troth_schema.ledger_checkpoint c
    LEFT JOIN (
        SELECT account, side, posted, effective_at FROM troth_schema.ledger_entry
        UNION ALL
        SELECT account, side, posted, effective_at FROM troth_schema.ledger_queue) AS t
    ON t.account = c.account AND t.effective_at < c.through
    GROUP BY c.account, c.through, c.debits_posted, c.credits_posted) AS sums
LEFT JOIN troth_schema.ledger_account a ON a.id = sums.account
WHERE (kept_dp, kept_cp) IS DISTINCT FROM (dp, cp)
ORDER BY through, account LIMIT 20;
