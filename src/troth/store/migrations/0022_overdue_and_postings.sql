-- Clearing accounts are told of and may be chosen by their metadata; an account's postings of a window are found by an index.
--
-- Looking at a flow now answers with what has changed since the last look, so that it can be told; and a flow may be those
-- of the accounts below a place of the tree whose metadata has some words.

CREATE FUNCTION troth_schema.ledger_watch_clearing(p_flow text, p_under text, p_within interval, p_metadata text, p_most integer)
RETURNS TABLE (what text, account text, tenant text, metadata jsonb, currency text, minor numeric, due_at timestamptz, accounts bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Note which accounts of a flow should be at zero by now and are not; forget those that are. 'noted': how many are noted now;
-- 'overdue', 'cleared': what is new in that, the most money first. Beyond p_most, those of one currency are one row. No row:
-- somebody else is looking.
#variable_conflict use_column
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('troth.ledger.clearing.troth_schema.' || p_flow, 0)) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH standing AS (
        SELECT a.id, (coalesce(b.debits_posted - b.credits_posted, 0) + coalesce(w.net, 0))
                     * CASE a.side WHEN 'debit' THEN 1 ELSE -1 END AS minor,
               CASE WHEN b.debits_posted <> b.credits_posted THEN (
                   SELECT e.booked_at FROM troth_schema.ledger_entry e
                   WHERE e.account = a.id AND e.version > coalesce((
                       SELECT z.version FROM troth_schema.ledger_entry z
                       WHERE z.account = a.id AND z.debits_posted = z.credits_posted ORDER BY z.version DESC LIMIT 1), 0)
                   ORDER BY e.version LIMIT 1)
               ELSE w.first_at END AS since
        FROM troth_schema.ledger_account a
        LEFT JOIN troth_schema.ledger_balance b ON b.account = a.id
        LEFT JOIN (
            SELECT q.account, sum(CASE q.side WHEN 'debit' THEN q.posted ELSE -q.posted END) AS net, min(q.booked_at) AS first_at
            FROM troth_schema.ledger_queue q GROUP BY q.account) AS w ON w.account = a.id
        WHERE a.code >= p_under AND a.code < p_under || ';' AND (a.code = p_under OR starts_with(a.code, p_under || ':'))
          AND (p_metadata IS NULL OR a.metadata @> p_metadata::jsonb)
          AND coalesce(b.debits_posted - b.credits_posted, 0) + coalesce(w.net, 0) <> 0
    ), late AS (
        SELECT * FROM standing WHERE since + p_within <= clock_timestamp()
    ), was AS (
        SELECT o.account, o.since FROM troth_schema.ledger_overdue o WHERE o.flow = p_flow
    ), gone AS (
        DELETE FROM troth_schema.ledger_overdue o WHERE o.flow = p_flow AND NOT EXISTS (SELECT FROM late l WHERE l.id = o.account)
        RETURNING o.account, o.minor, o.due_at
    ), noted AS (
        INSERT INTO troth_schema.ledger_overdue AS o (flow, account, since, due_at, minor)
        SELECT p_flow, l.id, l.since, l.since + p_within, l.minor FROM late l
        ON CONFLICT (flow, account) DO UPDATE SET since = excluded.since, due_at = excluded.due_at, minor = excluded.minor
        WHERE (o.since, o.due_at, o.minor) IS DISTINCT FROM (excluded.since, excluded.due_at, excluded.minor)
    ), news AS (
        -- What has been at zero in between is another one.
        SELECT 'overdue' AS what, l.id AS account, l.minor, l.since + p_within AS due_at FROM late l
        WHERE NOT EXISTS (SELECT FROM was w WHERE w.account = l.id AND w.since = l.since)
        UNION ALL
        SELECT 'cleared', g.account, g.minor, g.due_at FROM gone g
    ), told AS (
        SELECT n.what, a.code, a.tenant, a.metadata, a.currency, n.minor, n.due_at,
               row_number() OVER (ORDER BY abs(n.minor) DESC, a.code) <= p_most AS alone
        FROM news n JOIN troth_schema.ledger_account a ON a.id = n.account
    )
    SELECT 'noted', NULL, NULL, NULL::jsonb, NULL, NULL::numeric, NULL::timestamptz, count(*) FROM late
    UNION ALL
    SELECT t.what, t.code, t.tenant, t.metadata, t.currency, t.minor, t.due_at, 1 FROM told t WHERE t.alone
    UNION ALL
    SELECT t.what, NULL, NULL, NULL, t.currency, sum(abs(t.minor)), min(t.due_at), count(*) FROM told t
    WHERE NOT t.alone GROUP BY t.what, t.currency;
END $$;

REVOKE EXECUTE ON FUNCTION troth_schema.ledger_watch_clearing FROM PUBLIC;

-- Who might look before may look now.
DO $$
DECLARE
    who record;
BEGIN
    FOR who IN
        SELECT DISTINCT x.grantee::regrole AS name FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) x
        WHERE p.oid = 'troth_schema.ledger_look_at_clearing'::regproc AND x.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION troth_schema.ledger_watch_clearing TO %s', who.name);
    END LOOP;
END $$;

DROP FUNCTION troth_schema.ledger_look_at_clearing;

-- What counts at another time than that of its booking is found by when it counts; the rest is found by its version. Only
-- transfers that name an effective time are in it.
CREATE INDEX ledger_entry_elsewhen ON troth_schema.ledger_entry (account, effective_at, version) WHERE effective_at <> booked_at;
