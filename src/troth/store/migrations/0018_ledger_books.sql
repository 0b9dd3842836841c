-- What stands beside the ledger's books: blocks that seal them, and clearing accounts that did not return to zero.
--
--   ledger_block     transfers and refusals, chained by hashes             (append-only)
--   ledger_overdue   balances that should be zero by now, and why          (written by what watches clearing accounts)
--
-- A block names its calls and what each had in it, so it can be recomputed from the rows alone, on any server that they were
-- restored on. Who can write tables can write blocks, too: keep the hash of the latest one somewhere else.

CREATE TABLE troth_schema.ledger_block (
    number     bigint PRIMARY KEY,                     -- 1, 2, 3 …
    previous   bytea NOT NULL,                         -- the hash of the block before
    hash       bytea NOT NULL,
    sealed_at  timestamptz NOT NULL,
    batches    bigint[] NOT NULL,                      -- the calls whose transfers and refusals are in it
    seqs       bigint[] NOT NULL,                      -- these transfers and refusals, in order
    digests    bytea NOT NULL,                         -- 16 bytes of each, to say which one was changed
    CHECK (length(previous) = 32 AND length(hash) = 32),
    CHECK (length(digests) = 16 * cardinality(seqs))
);

CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_block
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_stays();

CREATE FUNCTION troth_schema.ledger_seal(
    number_ bigint, previous_ bytea, hash_ bytea, batches_ bigint[], seqs_ bigint[], digests_ bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Add the next block, and take what is in it from what is to be sealed. False, with nothing done: somebody else added one.
DECLARE
    last bigint;
    taken integer;
BEGIN
    LOCK TABLE troth_schema.ledger_block IN SHARE ROW EXCLUSIVE MODE;
    SELECT max(number) INTO last FROM troth_schema.ledger_block;
    IF number_ <> coalesce(last, 0) + 1 THEN
        RETURN false;
    END IF;
    DELETE FROM troth_schema.ledger_unsealed WHERE batch = ANY (batches_);
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken <> cardinality(batches_) THEN
        RAISE EXCEPTION 'a block holds calls that wait to be sealed, each once: % of % do', taken, cardinality(batches_);
    END IF;
    INSERT INTO troth_schema.ledger_block (number, previous, hash, sealed_at, batches, seqs, digests)
    VALUES (number_, previous_, hash_, clock_timestamp(), batches_, seqs_, digests_);
    RETURN true;
END $$;

CREATE TABLE troth_schema.ledger_overdue (
    flow     text COLLATE "C" NOT NULL,
    account  bigint NOT NULL REFERENCES troth_schema.ledger_account (id),
    since    timestamptz NOT NULL,                     -- when its balance left zero
    due_at   timestamptz NOT NULL,                     -- when it should have been back
    minor    numeric NOT NULL,                         -- what is left on it, on its normal side
    PRIMARY KEY (flow, account)
);
CREATE INDEX ledger_overdue_due ON troth_schema.ledger_overdue (due_at, account);

CREATE FUNCTION troth_schema.ledger_look_at_clearing(p_flow text, p_under text, p_within interval)
RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Note which accounts of a flow should be at zero by now and are not; forget those that are. How many are noted now.
DECLARE
    overdue integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('troth.ledger.clearing.troth_schema.' || p_flow, 0)) THEN
        RETURN NULL;                                   -- somebody else is looking
    END IF;
    WITH standing AS (
        SELECT a.id, (coalesce(b.debits_posted - b.credits_posted, 0) + w.net) * CASE a.side WHEN 'debit' THEN 1 ELSE -1 END AS minor,
               CASE WHEN b.debits_posted <> b.credits_posted THEN (
                   SELECT e.booked_at FROM troth_schema.ledger_entry e
                   WHERE e.account = a.id AND e.version > coalesce((
                       SELECT z.version FROM troth_schema.ledger_entry z
                       WHERE z.account = a.id AND z.debits_posted = z.credits_posted ORDER BY z.version DESC LIMIT 1), 0)
                   ORDER BY e.version LIMIT 1)
               ELSE w.first_at END AS since
        FROM troth_schema.ledger_account a
        LEFT JOIN troth_schema.ledger_balance b ON b.account = a.id
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(CASE q.side WHEN 'debit' THEN q.posted ELSE -q.posted END), 0) AS net, min(q.booked_at) AS first_at
            FROM troth_schema.ledger_queue q WHERE q.account = a.id) AS w
        WHERE a.code >= p_under AND a.code < p_under || ';' AND (a.code = p_under OR starts_with(a.code, p_under || ':'))
          AND coalesce(b.debits_posted - b.credits_posted, 0) + w.net <> 0
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

REVOKE EXECUTE ON FUNCTION troth_schema.ledger_seal, troth_schema.ledger_look_at_clearing FROM PUBLIC;
