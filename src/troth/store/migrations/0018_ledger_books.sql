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
    flow      text COLLATE "C" NOT NULL,
    account   bigint NOT NULL REFERENCES troth_schema.ledger_account (id),
    since     timestamptz NOT NULL,                    -- when its balance left zero
    due_at    timestamptz NOT NULL,                    -- when it should have been back
    minor     numeric NOT NULL,                        -- what is left on it, on its normal side
    seen_at   timestamptz NOT NULL,
    PRIMARY KEY (flow, account)
);
CREATE INDEX ledger_overdue_due ON troth_schema.ledger_overdue (due_at, account);
