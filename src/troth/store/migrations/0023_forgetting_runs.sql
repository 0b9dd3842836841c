-- What a run of a reconciliation has read is forgotten whole: its items, its pages, and its matches, which name items by their
-- places. What it came to stays, with the digests of what it has read. A run that has nothing left is not looked at again.

ALTER TABLE troth_schema.reconcile_run ADD COLUMN forgotten boolean NOT NULL DEFAULT false;

CREATE INDEX reconcile_run_kept ON troth_schema.reconcile_run (reconciliation, id) WHERE ended_at IS NOT NULL AND NOT forgotten;

CREATE OR REPLACE FUNCTION troth_schema.reconcile_forget(p_reconciliation text, p_keep integer) RETURNS integer
LANGUAGE plpgsql
-- A DROP waits for whoever reads, and everybody waits for the DROP: rather fail, and be called again.
SET lock_timeout = '1s'
AS $$
-- Forget what ended runs have read, but for the latest p_keep; of how many.
DECLARE
    old bigint;
    gone integer := 0;
BEGIN
    FOR old IN
        SELECT r.id FROM troth_schema.reconcile_run r
        WHERE r.reconciliation = p_reconciliation AND r.ended_at IS NOT NULL AND NOT r.forgotten
        ORDER BY r.id DESC OFFSET p_keep
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS troth_schema.reconcile_item_%s', old);
        DELETE FROM troth_schema.reconcile_page p WHERE p.run = old;
        DELETE FROM troth_schema.reconcile_match m WHERE m.run = old;
        UPDATE troth_schema.reconcile_run r SET forgotten = true WHERE r.id = old;
        gone := gone + 1;
    END LOOP;
    RETURN gone;
END $$;
