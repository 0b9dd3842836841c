-- Looking at clearing accounts reads the queue once, for all accounts of a flow: it has no index by account any more.

CREATE OR REPLACE FUNCTION troth_schema.ledger_look_at_clearing(p_flow text, p_under text, p_within interval)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Note which accounts of a flow should be at zero by now and are not; forget those that are. How many are noted now.
DECLARE
    overdue integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('troth.ledger.clearing.troth_schema.' || p_flow, 0)) THEN
        RETURN NULL;                                   -- somebody else is looking
    END IF;
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
          AND coalesce(b.debits_posted - b.credits_posted, 0) + coalesce(w.net, 0) <> 0
    ), late AS (
        SELECT * FROM standing WHERE since + p_within <= clock_timestamp()
    ), gone AS (
        DELETE FROM troth_schema.ledger_overdue o WHERE o.flow = p_flow AND NOT EXISTS (SELECT FROM late l WHERE l.id = o.account)
    ), noted AS (
        INSERT INTO troth_schema.ledger_overdue AS o (flow, account, since, due_at, minor)
        SELECT p_flow, l.id, l.since, l.since + p_within, l.minor FROM late l
        ON CONFLICT (flow, account) DO UPDATE SET since = excluded.since, due_at = excluded.due_at, minor = excluded.minor
        WHERE (o.since, o.due_at, o.minor) IS DISTINCT FROM (excluded.since, excluded.due_at, excluded.minor)
    )
    SELECT count(*) INTO overdue FROM late;
    RETURN overdue;
END $$;
