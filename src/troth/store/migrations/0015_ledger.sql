-- The ledger: accounts, transfers between them, and what both have come to.
--
--   ledger_account     what an account is: currency, normal side, limit              (a row each; only its closing is written later)
--   ledger_id          which transfer ids are taken, by a transfer or by a refusal   (append-only)
--   ledger_transfer    what was posted, whole: its legs, too                         (append-only)
--   ledger_refusal     what was refused, and why: as final as a transfer             (append-only)
--   ledger_entry       what a transfer did to one account, and its totals after it   (append-only, numbered without a gap per account)
--   ledger_balance     the totals of an account after its latest entry               (updated with each entry)
--   ledger_queue       legs of accounts without a limit that are no entries yet      (consumed by folding)
--   ledger_hold        how much of a hold is left                                    (updated by what posts, voids and ends it)
--   ledger_reversed    how much of a transfer was reversed                           (updated by each reversal)
--   ledger_unsealed    which calls' transfers are in no block yet                    (consumed by sealing)
--   ledger_period      until when effective times are closed                         (append-only)
--   ledger_checkpoint  the totals of an account at the end of a closed period        (append-only)
--
-- Amounts are positive integers in minor units; debit and credit are sides. Totals are numeric, so no sum can overflow. A
-- transfer's seq is the number of its call times 8192, and its place in the call: the transfers of a call lie together.

CREATE TYPE troth_schema.ledger_side AS ENUM ('debit', 'credit');
CREATE TYPE troth_schema.ledger_limit AS ENUM (
    'none', 'debits_must_not_exceed_credits', 'credits_must_not_exceed_debits', 'minimum_balance');
CREATE TYPE troth_schema.ledger_kind AS ENUM ('transfer', 'hold', 'post', 'void', 'expiry', 'reversal');
CREATE TYPE troth_schema.ledger_hold_state AS ENUM ('open', 'posted', 'voided', 'expired');

CREATE TABLE troth_schema.ledger_account (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code       text COLLATE "C" NOT NULL UNIQUE,       -- a place in the tree: parts with : between them
    currency   text COLLATE "C" NOT NULL,
    side       troth_schema.ledger_side NOT NULL,      -- on which its balance normally is
    limited    troth_schema.ledger_limit NOT NULL,
    minimum    bigint,                                 -- of minimum_balance, on the normal side
    tenant     text COLLATE "C",
    metadata   jsonb,
    opened_at  timestamptz NOT NULL,
    closed_at  timestamptz,
    CHECK ((limited = 'minimum_balance') = (minimum IS NOT NULL))
);

CREATE TABLE troth_schema.ledger_id (
    id   uuid PRIMARY KEY,
    seq  bigint NOT NULL                               -- of the transfer or of the refusal
);

CREATE TABLE troth_schema.ledger_transfer (
    seq           bigint PRIMARY KEY,
    id            uuid NOT NULL,                       -- unique in ledger_id
    booked_at     timestamptz NOT NULL,
    effective_at  timestamptz NOT NULL,
    debit         bigint,                              -- accounts of a transfer with two legs
    credit        bigint,
    amount        bigint,                              -- what it posts; of a hold, holds; of void and expiry, lets go
    about         bigint,                              -- the seq of the hold, or of what is reversed
    released      bigint,                              -- of the hold: what post, void and expiry take away from what is left
    kind          troth_schema.ledger_kind NOT NULL,
    keeps         boolean,                             -- of a post: what it leaves of the hold stays held
    leg_accounts  bigint[],                            -- of a transfer with more legs
    leg_amounts   bigint[],                            -- greater than 0: a debit; less: a credit
    timeout       interval,                            -- of a hold
    key           text,                                -- the text that its id was made from
    code          text,                                -- why: a word of the user's
    metadata      jsonb,
    CHECK (coalesce(amount > 0 AND debit <> credit, leg_accounts IS NOT NULL))
);

CREATE TABLE troth_schema.ledger_refusal (
    seq         bigint PRIMARY KEY,
    id          uuid NOT NULL,
    outcome     text NOT NULL,
    refused_at  timestamptz NOT NULL,
    key         text,
    asked       jsonb NOT NULL                         -- what the transfer was to be
);

CREATE TABLE troth_schema.ledger_entry (
    account         bigint NOT NULL,
    version         bigint NOT NULL,                   -- 1, 2, 3 …
    transfer        bigint NOT NULL,
    booked_at       timestamptz NOT NULL,
    effective_at    timestamptz NOT NULL,
    posted          bigint NOT NULL,                   -- what it adds to the posted total of its side
    pending         bigint NOT NULL,                   -- what it adds to the pending total of its side; less than 0: lets go
    late_after      timestamptz,                       -- the greatest booked_at of earlier versions, if that is greater
    side            troth_schema.ledger_side NOT NULL,
    debits_posted   numeric NOT NULL,                  -- the totals after it
    credits_posted  numeric NOT NULL,
    debits_pending  numeric NOT NULL,
    credits_pending numeric NOT NULL,
    PRIMARY KEY (account, version)
);
CREATE INDEX ledger_entry_late ON troth_schema.ledger_entry (account, booked_at) WHERE late_after IS NOT NULL;

CREATE TABLE troth_schema.ledger_balance (
    account         bigint PRIMARY KEY,
    version         bigint NOT NULL,                   -- of the latest entry
    booked_at       timestamptz NOT NULL,              -- the greatest of all entries
    most_late       interval NOT NULL,                 -- by how much an entry's time was less than that of an earlier version, at most
    debits_posted   numeric NOT NULL,
    credits_posted  numeric NOT NULL,
    debits_pending  numeric NOT NULL,
    credits_pending numeric NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE troth_schema.ledger_queue (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account       bigint NOT NULL,
    transfer      bigint NOT NULL,
    booked_at     timestamptz NOT NULL,
    effective_at  timestamptz NOT NULL,
    posted        bigint NOT NULL,
    pending       bigint NOT NULL,
    side          troth_schema.ledger_side NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ledger_queue_account ON troth_schema.ledger_queue (account);

CREATE TABLE troth_schema.ledger_hold (
    transfer    bigint PRIMARY KEY,
    debit       bigint NOT NULL,
    credit      bigint NOT NULL,
    amount      bigint NOT NULL,
    remaining   bigint NOT NULL,                       -- what is still held
    state       troth_schema.ledger_hold_state NOT NULL,
    expires_at  timestamptz,                           -- from then on it holds nothing, whether that is booked or not
    CHECK (remaining BETWEEN 0 AND amount AND (remaining > 0) = (state = 'open'))
);
CREATE INDEX ledger_hold_expires ON troth_schema.ledger_hold (expires_at) WHERE state = 'open' AND expires_at IS NOT NULL;

CREATE TABLE troth_schema.ledger_reversed (
    transfer  bigint PRIMARY KEY,
    amount    numeric NOT NULL,                        -- of a transfer with more than two legs: 1, the whole
    most      numeric NOT NULL,
    CHECK (amount BETWEEN 0 AND most)
);

CREATE TABLE troth_schema.ledger_unsealed (
    batch  bigint PRIMARY KEY                          -- of the transfers with a seq from batch * 8192 on
);

CREATE TABLE troth_schema.ledger_period (
    through    timestamptz PRIMARY KEY,                -- effective times before it are closed
    closed_at  timestamptz NOT NULL,
    by         text NOT NULL,
    note       text
);

CREATE TABLE troth_schema.ledger_checkpoint (
    through         timestamptz NOT NULL,
    account         bigint NOT NULL,
    debits_posted   numeric NOT NULL,                  -- of what was effective before it
    credits_posted  numeric NOT NULL,
    from_version    bigint NOT NULL,                   -- no earlier version has an effective time from then on
    PRIMARY KEY (account, through)
);

CREATE SEQUENCE troth_schema.ledger_batch;

CREATE VIEW troth_schema.ledger_leg AS
-- Every leg of every transfer, as it was posted: what entries must be made of.
SELECT t.seq, t.kind, t.booked_at, t.effective_at, l.account, l.side,
       CASE WHEN t.kind IN ('transfer', 'post', 'reversal') THEN l.amount ELSE 0 END AS posted,
       CASE t.kind WHEN 'hold' THEN l.amount WHEN 'post' THEN -t.released WHEN 'void' THEN -t.released
                   WHEN 'expiry' THEN -t.released ELSE 0 END AS pending
FROM troth_schema.ledger_transfer t
CROSS JOIN LATERAL (
    SELECT t.debit, 'debit'::troth_schema.ledger_side, t.amount WHERE t.leg_accounts IS NULL
    UNION ALL
    SELECT t.credit, 'credit'::troth_schema.ledger_side, t.amount WHERE t.leg_accounts IS NULL
    UNION ALL
    SELECT u.account, CASE WHEN u.amount > 0 THEN 'debit' ELSE 'credit' END::troth_schema.ledger_side, abs(u.amount)
    FROM unnest(t.leg_accounts, t.leg_amounts) AS u (account, amount)) AS l (account, side, amount);

CREATE FUNCTION troth_schema.ledger_stays() RETURNS trigger
LANGUAGE plpgsql AS $$
-- What is in the books stays there: a mistake is put right by a reversal.
BEGIN
    RAISE EXCEPTION '% is append-only: % is not possible', TG_TABLE_NAME, TG_OP
        USING ERRCODE = '55000', HINT = 'A posted transfer is put right by a reversal, which is a transfer itself.';
END $$;

CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_transfer
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_stays();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_refusal
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_stays();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_entry
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_stays();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_period
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_stays();
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_checkpoint
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_stays();

CREATE FUNCTION troth_schema.ledger_unclaim(p_ids uuid[]) RETURNS void
LANGUAGE sql SET troth.unclaiming = 'on' AS $$
-- Give back ids that this call has taken and that have no outcome of their own.
DELETE FROM troth_schema.ledger_id d WHERE d.id = ANY (p_ids);
$$;

CREATE FUNCTION troth_schema.ledger_id_stays() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('troth.unclaiming', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'ledger_id is append-only: % is not possible', TG_OP
        USING ERRCODE = '55000', HINT = 'An id that was used stays used: another transfer needs another id.';
END $$;
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON troth_schema.ledger_id
FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.ledger_id_stays();


-- Closing ----------------------------------------------------------------------------------------------------------

CREATE TABLE troth_schema.ledger_gate (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    closings  bigint NOT NULL DEFAULT 0,               -- of periods and accounts
    checkpointed timestamptz                           -- the end of the period whose checkpoints are all there
);
INSERT INTO troth_schema.ledger_gate DEFAULT VALUES;

CREATE FUNCTION troth_schema.ledger_close_gate() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
-- Keep everybody out who posts, until this transaction ends. Whoever posts waits behind this, so it does not wait long:
-- false if transactions that have posted go on and on.
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('troth.ledger.troth_schema', 0));
    INSERT INTO troth_schema.ledger_gate AS g (closings) VALUES (1) ON CONFLICT (one) DO UPDATE SET closings = g.closings + 1;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;

CREATE FUNCTION troth_schema.ledger_open_account(
    p_code text, p_currency text, p_side text, p_limited text, p_minimum bigint, p_tenant text, p_metadata text
) RETURNS SETOF troth_schema.ledger_account
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- The account as it is: opened by this call if there was none. A second session that opens it waits for the first.
BEGIN
    RETURN QUERY
    WITH opened AS (
        INSERT INTO troth_schema.ledger_account AS a (code, currency, side, limited, minimum, tenant, metadata, opened_at)
        VALUES (p_code, p_currency, p_side::troth_schema.ledger_side, p_limited::troth_schema.ledger_limit, p_minimum, p_tenant,
                p_metadata::jsonb, clock_timestamp())
        ON CONFLICT DO NOTHING RETURNING a.*
    ), zero AS (
        INSERT INTO troth_schema.ledger_balance SELECT o.id, 0, 'epoch', interval '0', 0, 0, 0, 0 FROM opened o
    )
    SELECT o.* FROM opened o;
    IF NOT FOUND THEN
        RETURN QUERY SELECT a.* FROM troth_schema.ledger_account a WHERE a.code = p_code;
    END IF;
END $$;

CREATE FUNCTION troth_schema.ledger_close_account(p_code text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Let nothing be posted to an account from now on: 'closed'. Or 'missing', or 'busy', and nothing was written.
BEGIN
    IF NOT troth_schema.ledger_close_gate() THEN
        RETURN 'busy';
    END IF;
    UPDATE troth_schema.ledger_account a SET closed_at = coalesce(a.closed_at, clock_timestamp()) WHERE a.code = p_code;
    RETURN CASE WHEN FOUND THEN 'closed' ELSE 'missing' END;
END $$;

CREATE FUNCTION troth_schema.ledger_close_period(p_through timestamptz, p_by text, p_note text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Refuse effective times before p_through from now on: 'closed'. Or 'future', 'exists', 'earlier', 'busy', and nothing was
-- written.
DECLARE
    latest timestamptz;
BEGIN
    IF NOT troth_schema.ledger_close_gate() THEN
        RETURN 'busy';
    END IF;
    SELECT max(p.through) INTO latest FROM troth_schema.ledger_period p;
    IF p_through = latest THEN
        RETURN 'exists';
    ELSIF p_through < latest THEN
        RETURN 'earlier';
    ELSIF p_through > clock_timestamp() THEN
        RETURN 'future';
    END IF;
    INSERT INTO troth_schema.ledger_period VALUES (p_through, clock_timestamp(), p_by, p_note);
    RETURN 'closed';
END $$;

CREATE FUNCTION troth_schema.ledger_check_point(p_limit integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Write down the totals of up to p_limit accounts at the end of the latest closed period; how many. Nothing can become
-- effective in it any more; what is still in the queue is waited for.
DECLARE
    latest timestamptz;
    done integer;
BEGIN
    SELECT max(p.through) INTO latest FROM troth_schema.ledger_period p;
    IF latest IS NULL OR latest = (SELECT g.checkpointed FROM troth_schema.ledger_gate g)
       OR EXISTS (SELECT 1 FROM troth_schema.ledger_queue q WHERE q.effective_at < latest) THEN
        RETURN 0;
    END IF;
    INSERT INTO troth_schema.ledger_checkpoint (through, account, debits_posted, credits_posted, from_version)
    SELECT latest, b.account, coalesce(c.debits_posted, 0) + s.debits, coalesce(c.credits_posted, 0) + s.credits,
           coalesce(s.from_version, b.version + 1)
    FROM (SELECT x.account, x.version FROM troth_schema.ledger_balance x
          WHERE x.version > 0 AND NOT EXISTS (
              SELECT 1 FROM troth_schema.ledger_checkpoint p WHERE p.account = x.account AND p.through = latest)
          ORDER BY x.account LIMIT p_limit) AS b
    LEFT JOIN LATERAL (
        SELECT p.* FROM troth_schema.ledger_checkpoint p WHERE p.account = b.account ORDER BY p.through DESC LIMIT 1) AS c ON true
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(e.posted) FILTER (WHERE e.side = 'debit' AND e.effective_at < latest), 0) AS debits,
               coalesce(sum(e.posted) FILTER (WHERE e.side = 'credit' AND e.effective_at < latest), 0) AS credits,
               min(e.version) FILTER (WHERE e.effective_at >= latest) AS from_version
        FROM troth_schema.ledger_entry e
        WHERE e.account = b.account AND e.version BETWEEN coalesce(c.from_version, 1) AND b.version
          AND (c.through IS NULL OR e.effective_at >= c.through)) AS s
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < p_limit THEN
        UPDATE troth_schema.ledger_gate SET checkpointed = latest;
    END IF;
    RETURN done;
END $$;
