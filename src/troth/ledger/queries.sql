-- The ledger: posting, accounts, periods, folding, and what is in the books. The rest is in migrations 0015 to 0017 and 0021.

-- name: post
-- Post a batch; what came of each item.
SELECT p.first_seq, p.posted_at, p.said::text FROM troth_schema.ledger_post(
    %s::boolean, %s::boolean, %s::text[], %s::text[], %s::uuid[], %s::integer[], %s::integer[], %s::bigint[], %s::smallint[],
    %s::uuid[], %s::boolean[], %s::double precision[], %s::double precision[], %s::integer[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::integer[], %s::integer[], %s::bigint[]) p

-- name: post_encoded
-- The same, with arrays that are encoded already.
SELECT p.first_seq, p.posted_at, p.said::text FROM troth_schema.ledger_post(
    false, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b) p

-- name: post_plain
-- The same, of transfers with two legs that say nothing else.
SELECT p.first_seq, p.posted_at, p.said::text FROM troth_schema.ledger_post(
    false, %b, %b, %b, %b, %b, %b, %b, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL) p

-- name: open_account
-- An account, opened now or before.
SELECT a.id, a.code, a.currency, a.side::text, a.limited::text, a.minimum, a.tenant, a.metadata::text, a.opened_at, a.closed_at
FROM troth_schema.ledger_open_account(%s::text, %s::text, %s::text, %s::text, %s::bigint, %s::text, %s::text) a

-- name: close_account
-- Let nothing be posted to an account any more; what came of it.
SELECT troth_schema.ledger_close_account(%s::text)

-- name: account
-- An account by its code.
SELECT a.id, a.code, a.currency, a.side::text, a.limited::text, a.minimum, a.tenant, a.metadata::text, a.opened_at, a.closed_at
FROM troth_schema.ledger_account a WHERE a.code = %s::text

-- name: accounts_under
-- An account and those below it in the tree, by their codes.
SELECT a.id, a.code, a.currency, a.side::text, a.limited::text, a.minimum, a.tenant, a.metadata::text, a.opened_at, a.closed_at
FROM troth_schema.ledger_account a
WHERE (%(prefix)s::text = '' OR a.code = %(prefix)s::text
       OR a.code > %(prefix)s::text || ':' AND a.code < %(prefix)s::text || ';')
  AND a.code > %(after)s::text
ORDER BY a.code LIMIT %(limit)s::integer

-- name: balances
-- The totals of accounts now: entries and queue, in one look; holds whose time is over hold nothing. Of a few accounts, only
-- calls with one of them are looked at; accounts with a limit have nothing in the queue.
WITH wanted AS MATERIALIZED (
    SELECT a.*, u.n FROM unnest(%s::text[]) WITH ORDINALITY AS u (code, n) JOIN troth_schema.ledger_account a ON a.code = u.code
)
SELECT a.code, a.currency, a.side::text, (b.debits_posted + coalesce(q.debits_posted, 0))::text,
       (b.credits_posted + coalesce(q.credits_posted, 0))::text, (b.debits_pending + coalesce(q.debits_pending, 0) - d.due)::text,
       (b.credits_pending + coalesce(q.credits_pending, 0) - c.due)::text, b.version, coalesce(q.legs, 0)
FROM wanted a
JOIN troth_schema.ledger_balance b ON b.account = a.id
LEFT JOIN (
    SELECT x.account, sum(x.posted) FILTER (WHERE x.side = 'debit') AS debits_posted,
           sum(x.posted) FILTER (WHERE x.side = 'credit') AS credits_posted,
           sum(x.pending) FILTER (WHERE x.side = 'debit') AS debits_pending,
           sum(x.pending) FILTER (WHERE x.side = 'credit') AS credits_pending, count(*) AS legs
    FROM (SELECT array_agg(w.id) AS ids FROM wanted w WHERE w.limited = 'none') AS few
    JOIN troth_schema.ledger_queue x ON (cardinality(few.ids) > 8 OR x.accounts && few.ids) AND x.account = ANY (few.ids)
    GROUP BY x.account) AS q ON q.account = a.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(h.remaining), 0) AS due FROM troth_schema.ledger_hold h
    WHERE h.state = 'open' AND h.expires_at <= clock_timestamp() AND h.debit = a.id) AS d
CROSS JOIN LATERAL (
    SELECT coalesce(sum(h.remaining), 0) AS due FROM troth_schema.ledger_hold h
    WHERE h.state = 'open' AND h.expires_at <= clock_timestamp() AND h.credit = a.id) AS c
ORDER BY a.n

-- name: balance_at
-- The totals of an account by what was booked by a time. Entries that are later than ones after them are looked for apart.
SELECT a.code, a.currency, a.side::text, (coalesce(e.debits_posted, 0) + m.debits_posted)::text,
       (coalesce(e.credits_posted, 0) + m.credits_posted)::text, (coalesce(e.debits_pending, 0) + m.debits_pending)::text,
       (coalesce(e.credits_pending, 0) + m.credits_pending)::text, v.version, m.legs
FROM troth_schema.ledger_account a
JOIN troth_schema.ledger_balance b ON b.account = a.id
CROSS JOIN LATERAL (SELECT troth_schema.ledger_version_at(a.id, %(at)s::timestamptz)) AS v (version)
LEFT JOIN troth_schema.ledger_entry e ON e.account = a.id AND e.version = v.version
CROSS JOIN LATERAL (
    SELECT coalesce(sum(x.posted) FILTER (WHERE x.side = 'debit'), 0) AS debits_posted,
           coalesce(sum(x.posted) FILTER (WHERE x.side = 'credit'), 0) AS credits_posted,
           coalesce(sum(x.pending) FILTER (WHERE x.side = 'debit'), 0) AS debits_pending,
           coalesce(sum(x.pending) FILTER (WHERE x.side = 'credit'), 0) AS credits_pending, count(*) AS legs
    FROM (
        SELECT l.side, l.posted, l.pending FROM troth_schema.ledger_entry l
        WHERE l.account = a.id AND l.late_after IS NOT NULL AND l.version > v.version
          AND l.booked_at <= %(at)s::timestamptz AND l.booked_at > %(at)s::timestamptz - b.most_late
        UNION ALL
        SELECT q.side, q.posted, q.pending FROM troth_schema.ledger_queue q
        WHERE q.accounts @> ARRAY[a.id] AND q.account = a.id AND q.booked_at <= %(at)s::timestamptz) AS x) AS m
WHERE a.code = %(code)s::text

-- name: balance_effective
-- What was posted to an account with an effective time by a time: the last closed period before it, and what came since.
SELECT a.code, a.currency, a.side::text, (coalesce(c.debits_posted, 0) + m.debits)::text,
       (coalesce(c.credits_posted, 0) + m.credits)::text, '0', '0', b.version, m.unfolded
FROM troth_schema.ledger_account a
JOIN troth_schema.ledger_balance b ON b.account = a.id
LEFT JOIN LATERAL (
    SELECT p.* FROM troth_schema.ledger_checkpoint p
    WHERE p.account = a.id AND p.through <= %(at)s::timestamptz ORDER BY p.through DESC LIMIT 1) AS c ON true
CROSS JOIN LATERAL (
    SELECT coalesce(sum(x.posted) FILTER (WHERE x.side = 'debit'), 0) AS debits,
           coalesce(sum(x.posted) FILTER (WHERE x.side = 'credit'), 0) AS credits,
           count(*) FILTER (WHERE x.unfolded) AS unfolded
    FROM (
        SELECT e.side, e.posted, false AS unfolded FROM troth_schema.ledger_entry e
        WHERE e.account = a.id AND e.version >= coalesce(c.from_version, 1) AND e.effective_at <= %(at)s::timestamptz
          AND (c.through IS NULL OR e.effective_at >= c.through)
        UNION ALL
        SELECT q.side, q.posted, true FROM troth_schema.ledger_queue q
        WHERE q.accounts @> ARRAY[a.id] AND q.account = a.id AND q.effective_at <= %(at)s::timestamptz) AS x) AS m
WHERE a.code = %(code)s::text

-- name: trial_balance
-- All accounts of each currency, entries and queue, in one look.
SELECT a.currency, sum(x.debits_posted)::text, sum(x.credits_posted)::text, sum(x.debits_pending)::text,
       sum(x.credits_pending)::text
FROM (
    SELECT b.account, b.debits_posted, b.credits_posted, b.debits_pending, b.credits_pending
    FROM troth_schema.ledger_balance b
    UNION ALL
    SELECT q.account, CASE WHEN q.side = 'debit' THEN q.posted ELSE 0 END, CASE WHEN q.side = 'credit' THEN q.posted ELSE 0 END,
           CASE WHEN q.side = 'debit' THEN q.pending ELSE 0 END, CASE WHEN q.side = 'credit' THEN q.pending ELSE 0 END
    FROM troth_schema.ledger_queue q) AS x
JOIN troth_schema.ledger_account a ON a.id = x.account
GROUP BY a.currency ORDER BY a.currency

-- name: trial_balance_at
-- All accounts of each currency by what was booked by a time: as `balance_at`, of each account.
SELECT x.currency, sum(x.debits_posted)::text, sum(x.credits_posted)::text, sum(x.debits_pending)::text, sum(x.credits_pending)::text
FROM (
    SELECT a.currency, coalesce(e.debits_posted, 0) + m.debits_posted AS debits_posted,
           coalesce(e.credits_posted, 0) + m.credits_posted AS credits_posted,
           coalesce(e.debits_pending, 0) + m.debits_pending AS debits_pending,
           coalesce(e.credits_pending, 0) + m.credits_pending AS credits_pending
    FROM troth_schema.ledger_account a
    JOIN troth_schema.ledger_balance b ON b.account = a.id
    CROSS JOIN LATERAL (SELECT troth_schema.ledger_version_at(a.id, %(at)s::timestamptz)) AS v (version)
    LEFT JOIN troth_schema.ledger_entry e ON e.account = a.id AND e.version = v.version
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.posted) FILTER (WHERE l.side = 'debit'), 0) AS debits_posted,
               coalesce(sum(l.posted) FILTER (WHERE l.side = 'credit'), 0) AS credits_posted,
               coalesce(sum(l.pending) FILTER (WHERE l.side = 'debit'), 0) AS debits_pending,
               coalesce(sum(l.pending) FILTER (WHERE l.side = 'credit'), 0) AS credits_pending
        FROM troth_schema.ledger_entry l
        WHERE l.account = a.id AND l.late_after IS NOT NULL AND l.version > v.version
          AND l.booked_at <= %(at)s::timestamptz AND l.booked_at > %(at)s::timestamptz - b.most_late) AS m
    UNION ALL
    SELECT a.currency, CASE WHEN q.side = 'debit' THEN q.posted ELSE 0 END, CASE WHEN q.side = 'credit' THEN q.posted ELSE 0 END,
           CASE WHEN q.side = 'debit' THEN q.pending ELSE 0 END, CASE WHEN q.side = 'credit' THEN q.pending ELSE 0 END
    FROM troth_schema.ledger_queue q JOIN troth_schema.ledger_account a ON a.id = q.account
    WHERE q.booked_at <= %(at)s::timestamptz) AS x
GROUP BY x.currency ORDER BY x.currency

-- name: trial_balance_effective
-- All accounts of each currency by what was posted with an effective time by a time: as `balance_effective`, of each account.
SELECT x.currency, sum(x.debits)::text, sum(x.credits)::text, '0', '0'
FROM (
    SELECT a.currency, coalesce(c.debits_posted, 0) + m.debits AS debits, coalesce(c.credits_posted, 0) + m.credits AS credits
    FROM troth_schema.ledger_account a
    LEFT JOIN LATERAL (
        SELECT p.* FROM troth_schema.ledger_checkpoint p
        WHERE p.account = a.id AND p.through <= %(at)s::timestamptz ORDER BY p.through DESC LIMIT 1) AS c ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(e.posted) FILTER (WHERE e.side = 'debit'), 0) AS debits,
               coalesce(sum(e.posted) FILTER (WHERE e.side = 'credit'), 0) AS credits
        FROM troth_schema.ledger_entry e
        WHERE e.account = a.id AND e.version >= coalesce(c.from_version, 1) AND e.effective_at <= %(at)s::timestamptz
          AND (c.through IS NULL OR e.effective_at >= c.through)) AS m
    UNION ALL
    SELECT a.currency, CASE WHEN q.side = 'debit' THEN q.posted ELSE 0 END, CASE WHEN q.side = 'credit' THEN q.posted ELSE 0 END
    FROM troth_schema.ledger_queue q JOIN troth_schema.ledger_account a ON a.id = q.account
    WHERE q.effective_at <= %(at)s::timestamptz) AS x
GROUP BY x.currency ORDER BY x.currency

-- name: statement
-- The entries of an account before a version, the latest first.
SELECT e.version, t.id, t.key, t.kind::text, e.side::text, e.posted, e.pending, e.booked_at, e.effective_at,
       e.debits_posted::text, e.credits_posted::text, e.debits_pending::text, e.credits_pending::text, t.code, t.metadata::text
FROM troth_schema.ledger_account a
JOIN troth_schema.ledger_entry e ON e.account = a.id
JOIN troth_schema.ledger_transfer t ON t.seq = e.transfer
WHERE a.code = %s::text AND e.version < %s::bigint ORDER BY e.version DESC LIMIT %s::integer

-- name: transfer
-- A transfer as it is in the books.
SELECT t.seq, t.id, t.key, t.kind::text,
       ARRAY(SELECT a.code FROM unnest(coalesce(t.leg_accounts, ARRAY[t.debit, t.credit])) WITH ORDINALITY AS u (account, n)
             JOIN troth_schema.ledger_account a ON a.id = u.account ORDER BY u.n),
       coalesce(t.leg_amounts, ARRAY[t.amount, -t.amount]), (SELECT o.id FROM troth_schema.ledger_transfer o WHERE o.seq = t.about),
       t.booked_at, t.effective_at, t.code, t.metadata::text
FROM troth_schema.ledger_id d JOIN troth_schema.ledger_transfer t ON t.seq = d.seq WHERE d.id = %s::uuid

-- name: close_period
-- Close all effective times before a time; what came of it.
SELECT troth_schema.ledger_close_period(%s::timestamptz, %s::text, %s::text)

-- name: periods
-- The periods that are closed, the latest first.
SELECT p.through, p.closed_at, p.by, p.note FROM troth_schema.ledger_period p ORDER BY p.through DESC LIMIT %s::integer

-- name: check_point
-- Write down totals at the end of the latest closed period; of how many accounts.
SELECT troth_schema.ledger_check_point(%s::integer)

-- name: fold
-- Make entries of what is in the queue; how many, and the last one's number.
SELECT f.folded, f.last FROM troth_schema.ledger_fold(%s::integer, %s::bigint) f

-- name: due_holds
-- Holds whose time is over and of which nobody has booked the end.
SELECT t.id FROM troth_schema.ledger_hold h JOIN troth_schema.ledger_transfer t ON t.seq = h.transfer
WHERE h.state = 'open' AND h.expires_at <= clock_timestamp() ORDER BY h.expires_at LIMIT %s::integer

-- name: next_expiry
-- In how many seconds the next hold's time is over; null: none has one.
SELECT extract(epoch FROM min(h.expires_at) - clock_timestamp())::float8 FROM troth_schema.ledger_hold h
WHERE h.state = 'open' AND h.expires_at IS NOT NULL

-- name: oldest_in_queue
-- How long the oldest leg of the queue has been booked, in seconds, and how many there are; null: none.
SELECT extract(epoch FROM clock_timestamp() - min(f.booked_at))::float8, coalesce(sum(cardinality(f.accounts)), 0)
FROM troth_schema.ledger_unfolded f
