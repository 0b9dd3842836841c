-- Legs that wait to be folded are one row for each call, not one for each leg.
--
--   ledger_unfolded   calls with legs that are no entries yet: legs of accounts without a limit (consumed by folding)
--   ledger_queue      the same, a row for each leg: a view
--
-- Writing a leg costs four times what it did as an element of an array: its row, two entries of indexes, and all that again to
-- remove it. In return who reads the queue of one account looks at all calls that wait: `accounts` is what to look for first.

CREATE TABLE troth_schema.ledger_unfolded (
    batch         bigint PRIMARY KEY,                  -- of the transfers with a seq from batch * 8192 on
    booked_at     timestamptz NOT NULL,
    debits        integer NOT NULL,                    -- so many of the legs, the first ones, are debits
    accounts      bigint[] NOT NULL,                   -- of each leg
    numbers       smallint[],                          -- places in the call; null: 0, 1, 2 … of the debits, and again of the credits
    posted        bigint[] NOT NULL,
    pending       bigint[],                            -- null: nothing
    effective_at  timestamptz[],                       -- null: booked_at
    CHECK (cardinality(accounts) = cardinality(posted))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

INSERT INTO troth_schema.ledger_unfolded
SELECT q.transfer / 8192, min(q.booked_at), count(*) FILTER (WHERE q.side = 'debit'), array_agg(q.account ORDER BY q.side, q.id),
       array_agg((q.transfer % 8192)::smallint ORDER BY q.side, q.id), array_agg(q.posted ORDER BY q.side, q.id),
       array_agg(q.pending ORDER BY q.side, q.id), array_agg(q.effective_at ORDER BY q.side, q.id)
FROM troth_schema.ledger_queue q
GROUP BY q.transfer / 8192;

CREATE VIEW troth_schema.ledger_waiting AS
-- Every leg that is no entry yet. Who looks for one account asks for accounts @> ARRAY[it], too: then other calls are passed over.
SELECT f.batch, f.accounts, l.account, f.batch * 8192 + coalesce(l.number, (l.n - 1) % greatest(f.debits, 1)) AS transfer, f.booked_at,
       coalesce(l.effective_at, f.booked_at) AS effective_at, l.posted, coalesce(l.pending, 0) AS pending,
       CASE WHEN l.n <= f.debits THEN 'debit' ELSE 'credit' END::troth_schema.ledger_side AS side
FROM troth_schema.ledger_unfolded f
CROSS JOIN LATERAL unnest(f.accounts, f.numbers, f.posted, f.pending, f.effective_at) WITH ORDINALITY
    AS l (account, number, posted, pending, effective_at, n);

DO $$
-- Who could read the queue can read it still.
DECLARE
    reader name;
BEGIN
    FOR reader IN
        SELECT a.grantee::regrole FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE c.oid = 'troth_schema.ledger_queue'::regclass AND a.privilege_type = 'SELECT' AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT SELECT ON troth_schema.ledger_unfolded, troth_schema.ledger_waiting TO %s', reader);
    END LOOP;
END $$;
DROP TABLE troth_schema.ledger_queue;
ALTER VIEW troth_schema.ledger_waiting RENAME TO ledger_queue;

CREATE OR REPLACE FUNCTION troth_schema.ledger_post(
    p_strict boolean,                                  -- if one is refused, nothing is written, not even that
    p_direct boolean,                                  -- make entries of accounts without a limit, too: they are locked for it
    p_codes text[], p_currencies text[],               -- accounts that items name, each with the currency that they name
    i_id uuid[], i_debit integer[], i_credit integer[], i_amount bigint[],  -- accounts by their places in p_codes
    -- of these groups of arrays NULL says that no item has it; i_kind: the place in the enumeration, from 0
    i_kind smallint[], i_about uuid[], i_keep boolean[], i_timeout double precision[], i_effective double precision[],
    i_group integer[], i_currency text[], i_key text[], i_code text[], i_metadata text[],
    c_item integer[], c_account integer[], c_amount bigint[],  -- legs of items that have more than two: a debit is greater than 0
    OUT first_seq bigint, OUT posted_at timestamptz,   -- of the first item; the second has the next seq, and so on
    OUT said jsonb                                     -- null: all were created as they were asked for; else what came of each
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- The tables are empty when a plan is first cached and full when it is used: allow only plans that use the indexes.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
DECLARE
    n CONSTANT integer := cardinality(i_id);
    place CONSTANT integer := 8192;
    many CONSTANT integer := 8;
    kinds CONSTANT troth_schema.ledger_kind[] := '{transfer,hold,post,void,expiry,reversal}';
    closed timestamptz;
    x_account bigint[];       -- accounts by their places: those of p_codes, then those that items are about
    x_currency text[];        -- of the account; null: there is none
    x_limited boolean[];
    sound boolean;            -- all accounts are there, open, and of the right currency
    limited boolean;
    fresh integer;
    plain boolean;            -- transfers with two legs, and nothing else
    simple boolean;           -- all of it will be created: nothing has to be decided
    verdict record;
    o_outcome text[];
    o_ok boolean[];
    o_about bigint[];
    o_released bigint[];
    repeated jsonb[];
BEGIN
    IF n > place THEN
        RAISE EXCEPTION 'a call posts % transfers, % at most', n, place USING ERRCODE = '22023';
    END IF;
    -- Whoever posts holds the gate until the transaction ends; whoever closes something waits for that, and keeps others out.
    simple := pg_advisory_xact_lock_shared(hashtextextended('troth.ledger.troth_schema', 0)) IS NULL;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- An old snapshot would not see what was closed. A row that is newer than the snapshot makes this fail.
        INSERT INTO troth_schema.ledger_gate DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
    SELECT array_agg(x.account), array_agg(x.currency), array_agg(x.limited), bool_and(x.sound), bool_or(x.limited),
           (SELECT p.through FROM troth_schema.ledger_period p ORDER BY p.through DESC LIMIT 1)
    INTO x_account, x_currency, x_limited, sound, limited, closed
    FROM (SELECT CASE WHEN a.currency = p_currencies[c.k] THEN a.id END AS account, a.currency,
                 coalesce(a.limited <> 'none', false) AS limited,
                 coalesce(a.currency = p_currencies[c.k] AND a.closed_at IS NULL, false) AS sound
          FROM generate_series(1, cardinality(p_codes)) AS c (k)
          LEFT JOIN troth_schema.ledger_account a ON a.code = p_codes[c.k] ORDER BY c.k) AS x;

    -- Take the ids, in their order. Who posts the same at the same time waits here for the other's end.
    first_seq := nextval('troth_schema.ledger_batch') * place;
    fresh := 0;
    IF n >= many THEN
        -- As a rule none is taken. To insert without looking first is cheaper, beyond what a subtransaction costs.
        BEGIN
            INSERT INTO troth_schema.ledger_id (id, seq)
            SELECT i_id[u.k], first_seq + u.k - 1 FROM generate_series(1, n) AS u (k) ORDER BY 1;
            fresh := n;
        EXCEPTION WHEN unique_violation THEN
            NULL;
        END;
    END IF;
    IF fresh = 0 THEN
        INSERT INTO troth_schema.ledger_id (id, seq)
        SELECT i_id[u.k], first_seq + u.k - 1 FROM generate_series(1, n) AS u (k) ORDER BY 1
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS fresh = ROW_COUNT;
    END IF;

    -- An expression with a query in it is run as a statement, whatever stands before it: hence IF within IF.
    IF c_item IS NOT NULL THEN
        IF EXISTS (SELECT 1 FROM unnest(c_item, c_account, c_amount) AS c (item, account, amount)
                   GROUP BY c.item, p_currencies[c.account] HAVING sum(c.amount) <> 0) THEN
            RAISE EXCEPTION 'the legs of a transfer are not balanced in each currency' USING ERRCODE = '22023';
        END IF;
    END IF;

    plain := i_kind IS NULL AND c_item IS NULL;
    simple := fresh = n AND coalesce(sound, false) AND i_about IS NULL AND (plain OR NOT limited);
    IF simple AND i_effective IS NOT NULL AND closed IS NOT NULL THEN
        simple := NOT EXISTS (SELECT 1 FROM unnest(i_effective) AS u (at) WHERE to_timestamp(u.at) < closed);
    END IF;
    IF simple AND p_direct THEN
        PERFORM 1 FROM troth_schema.ledger_balance b WHERE b.account = ANY (x_account) ORDER BY b.account FOR NO KEY UPDATE;
    ELSIF simple AND limited THEN
        PERFORM 1 FROM troth_schema.ledger_balance b
        WHERE b.account IN (SELECT u.id FROM unnest(x_account, x_limited) AS u (id, limited) WHERE u.limited)
        ORDER BY b.account FOR NO KEY UPDATE;
    END IF;
    IF simple AND limited THEN
        -- Is there enough for all of it, whatever comes in meanwhile? Then nothing has to be decided one by one.
        simple := NOT EXISTS (
            SELECT 1 FROM (
                SELECT x_account[l.account] AS id, sum(CASE WHEN l.is_debit THEN i_amount[l.k] ELSE 0 END) AS debits,
                       sum(CASE WHEN l.is_debit THEN 0 ELSE i_amount[l.k] END) AS credits
                FROM generate_series(1, n) AS u (k)
                CROSS JOIN LATERAL (VALUES (u.k, i_debit[u.k], true), (u.k, i_credit[u.k], false)) AS l (k, account, is_debit)
                WHERE x_limited[l.account] GROUP BY l.account) AS s
            JOIN troth_schema.ledger_account a ON a.id = s.id
            JOIN troth_schema.ledger_balance b ON b.account = s.id
            WHERE s.debits > 0 AND (a.limited = 'debits_must_not_exceed_credits' OR a.limited = 'minimum_balance' AND a.side = 'credit')
                  AND b.debits_posted + b.debits_pending + s.debits > b.credits_posted - coalesce(a.minimum, 0)
               OR s.credits > 0 AND (a.limited = 'credits_must_not_exceed_debits' OR a.limited = 'minimum_balance' AND a.side = 'debit')
                  AND b.credits_posted + b.credits_pending + s.credits > b.debits_posted - coalesce(a.minimum, 0));
    END IF;
    IF simple THEN
        posted_at := clock_timestamp();
    ELSE
        SELECT * INTO verdict FROM troth_schema.ledger_decide(
            p_direct, first_seq, closed, fresh, x_account, x_currency, p_codes, p_currencies, i_id, i_debit, i_credit, i_amount,
            i_kind, i_about, i_keep, i_timeout, i_effective, i_group, i_currency, i_code, i_metadata,
            c_item, c_account, c_amount);
        posted_at := verdict.booked_at;
        o_outcome := verdict.outcomes;
        repeated := verdict.repeated;
        o_ok := ARRAY(SELECT o.outcome IS NULL FROM unnest(o_outcome) AS o (outcome));
        IF p_strict AND EXISTS (SELECT 1 FROM unnest(o_outcome) AS o (outcome) WHERE o.outcome <> 'exists') THEN
            PERFORM troth_schema.ledger_unclaim(ARRAY(
                SELECT u.id FROM unnest(i_id, repeated) AS u (id, repeated) WHERE u.repeated IS NULL));
            SELECT jsonb_agg(coalesce(u.repeated, jsonb_build_array(coalesce(u.outcome, 'linked_event_failed'))) ORDER BY u.n)
            INTO said FROM unnest(o_outcome, repeated) WITH ORDINALITY AS u (outcome, repeated, n);
            RETURN;
        END IF;
        x_account := verdict.accounts;
        x_limited := verdict.limited;
        limited := true = ANY (x_limited);
        i_debit := verdict.debits;
        i_credit := verdict.credits;
        i_amount := verdict.amounts;
        o_about := verdict.abouts;
        o_released := verdict.released;
        c_item := verdict.leg_items;
        c_account := verdict.leg_accounts;
        c_amount := verdict.leg_amounts;
        IF false = ANY (o_ok) THEN
            PERFORM troth_schema.ledger_unclaim(ARRAY(
                SELECT u.id FROM unnest(i_id, o_outcome) AS u (id, outcome) WHERE u.outcome = 'linked_event_failed'));
            INSERT INTO troth_schema.ledger_refusal (seq, id, outcome, refused_at, key, asked)
            SELECT first_seq + u.n - 1, u.id, u.outcome, posted_at, u.key, jsonb_strip_nulls(jsonb_build_object(
                'kind', kinds[coalesce(u.kind, 0) + 1], 'debit', p_codes[u.debit],
                'credit', p_codes[u.credit], 'amount', u.amount, 'currency', coalesce(p_currencies[u.debit], u.currency),
                'about', u.about, 'effective_at', to_timestamp(u.effective), 'code', u.code, 'metadata', u.metadata::jsonb,
                'legs', (SELECT jsonb_agg(jsonb_build_array(p_codes[c.account], c.amount, p_currencies[c.account]))
                         FROM unnest(c_item, c_account, c_amount) AS c (item, account, amount) WHERE c.item = u.n)))
            FROM unnest(i_id, i_debit, i_credit, i_amount, i_kind, i_about, i_effective, i_currency, i_key, i_code, i_metadata,
                        o_outcome, repeated) WITH ORDINALITY
                AS u (id, debit, credit, amount, kind, about, effective, currency, key, code, metadata, outcome, repeated, n)
            WHERE u.outcome <> 'linked_event_failed' AND u.repeated IS NULL;
        END IF;
        IF NOT true = ANY (o_ok) THEN
            INSERT INTO troth_schema.ledger_unsealed (batch)
            SELECT first_seq / place WHERE EXISTS (
                SELECT 1 FROM troth_schema.ledger_refusal r WHERE r.seq BETWEEN first_seq AND first_seq + n);
            SELECT jsonb_agg(coalesce(u.repeated, jsonb_build_array(u.outcome)) ORDER BY u.n)
            INTO said FROM unnest(o_outcome, repeated) WITH ORDINALITY AS u (outcome, repeated, n);
            RETURN;
        END IF;
        IF i_about IS NOT NULL OR false = ANY (o_ok) THEN
            SELECT jsonb_agg(coalesce(u.repeated, jsonb_build_array(
                coalesce(u.outcome, 'created'), CASE WHEN u.outcome IS NULL THEN first_seq + u.n - 1 END,
                CASE WHEN u.outcome IS NULL THEN posted_at END, CASE WHEN u.outcome IS NULL THEN u.amount END)) ORDER BY u.n)
            INTO said FROM unnest(o_outcome, repeated, i_amount) WITH ORDINALITY AS u (outcome, repeated, amount, n);
        END IF;
    END IF;

    IF posted_at < closed THEN  -- the clock was set back
        posted_at := closed;
    END IF;
    IF simple AND plain AND NOT p_direct AND NOT limited
       AND i_effective IS NULL AND i_key IS NULL AND i_code IS NULL AND i_metadata IS NULL THEN
        -- Most calls: transfers with two legs that say nothing else, and all wait to be folded. One statement, one row of legs.
        WITH unsealed AS (
            INSERT INTO troth_schema.ledger_unsealed (batch) VALUES (first_seq / place)
        ), written AS (
            INSERT INTO troth_schema.ledger_transfer (seq, id, booked_at, effective_at, debit, credit, amount, kind)
            SELECT first_seq + u.k - 1, i_id[u.k], posted_at, posted_at, x_account[i_debit[u.k]], x_account[i_credit[u.k]],
                   i_amount[u.k], 'transfer'
            FROM generate_series(1, n) AS u (k)
        )
        INSERT INTO troth_schema.ledger_unfolded (batch, booked_at, debits, accounts, posted)
        SELECT first_seq / place, posted_at, n, array_agg(x_account[i_debit[u.k]]) || array_agg(x_account[i_credit[u.k]]),
               i_amount || i_amount
        FROM generate_series(1, n) AS u (k);
        RETURN;
    END IF;
    INSERT INTO troth_schema.ledger_unsealed (batch) VALUES (first_seq / place);
    INSERT INTO troth_schema.ledger_transfer (
        seq, id, booked_at, effective_at, debit, credit, amount, about, released, kind, keeps, leg_accounts, leg_amounts,
        timeout, key, code, metadata)
    SELECT first_seq + u.k - 1, i_id[u.k], posted_at, coalesce(to_timestamp(i_effective[u.k]), posted_at), x_account[i_debit[u.k]],
           x_account[i_credit[u.k]], i_amount[u.k], o_about[u.k], o_released[u.k], kinds[coalesce(i_kind[u.k], 0) + 1],
           CASE WHEN i_kind[u.k] = 2 THEN i_keep[u.k] END,
           CASE WHEN c_item IS NOT NULL AND i_debit[u.k] IS NULL THEN ARRAY(
               SELECT x_account[c.account] FROM unnest(c_item, c_account) AS c (item, account) WHERE c.item = u.k) END,
           CASE WHEN c_item IS NOT NULL AND i_debit[u.k] IS NULL THEN ARRAY(
               SELECT c.amount FROM unnest(c_item, c_amount) AS c (item, amount) WHERE c.item = u.k) END,
           make_interval(secs => i_timeout[u.k]), i_key[u.k], i_code[u.k], i_metadata[u.k]::jsonb
    FROM generate_series(1, n) AS u (k)
    WHERE o_ok IS NULL OR o_ok[u.k];

    IF 1 = ANY (i_kind) THEN
        INSERT INTO troth_schema.ledger_hold (transfer, debit, credit, amount, remaining, state, expires_at)
        SELECT first_seq + u.n - 1, x_account[u.debit], x_account[u.credit], u.amount, u.amount, 'open',
               posted_at + make_interval(secs => u.timeout)
        FROM unnest(i_debit, i_credit, i_amount, i_kind, i_timeout) WITH ORDINALITY
            AS u (debit, credit, amount, kind, timeout, n)
        WHERE u.kind = 1 AND (o_ok IS NULL OR o_ok[u.n]);
    END IF;
    IF i_about IS NOT NULL THEN
        UPDATE troth_schema.ledger_hold h SET remaining = u.remaining, state = u.state::troth_schema.ledger_hold_state
        FROM unnest(verdict.hold_seqs, verdict.hold_left, verdict.hold_states) AS u (seq, remaining, state)
        WHERE h.transfer = u.seq AND (h.remaining <> u.remaining OR h.state <> u.state::troth_schema.ledger_hold_state);
        INSERT INTO troth_schema.ledger_reversed AS v (transfer, amount, most)
        SELECT u.seq, u.amount, u.most
        FROM unnest(verdict.reversed_seqs, verdict.reversed, verdict.reversible) AS u (seq, amount, most) WHERE u.amount > 0
        ON CONFLICT (transfer) DO UPDATE SET amount = excluded.amount;
    END IF;

    -- What follows is said twice, for two legs and for all there is: a statement costs by its length, and most are of two legs.
    IF plain AND (p_direct OR limited) THEN
        WITH leg AS (
            SELECT x_account[l.account] AS account, l.k, l.is_debit, i_amount[l.k] AS amount
            FROM generate_series(1, n) AS u (k)
            CROSS JOIN LATERAL (VALUES (u.k, i_debit[u.k], true), (u.k, i_credit[u.k], false)) AS l (k, account, is_debit)
            WHERE (o_ok IS NULL OR o_ok[l.k]) AND (p_direct OR x_limited[l.account])
        ), change AS (
            SELECT l.account, count(*) AS entries, sum(CASE WHEN l.is_debit THEN l.amount ELSE 0 END) AS debits,
                   sum(CASE WHEN l.is_debit THEN 0 ELSE l.amount END) AS credits
            FROM leg l GROUP BY l.account
        ), written AS (
            INSERT INTO troth_schema.ledger_entry (
                account, version, transfer, booked_at, effective_at, posted, pending, late_after, side,
                debits_posted, credits_posted, debits_pending, credits_pending)
            SELECT l.account, b.version + row_number() OVER w, first_seq + l.k - 1, posted_at,
                   coalesce(to_timestamp(i_effective[l.k]), posted_at), l.amount, 0,
                   CASE WHEN b.booked_at > posted_at THEN b.booked_at END,
                   CASE WHEN l.is_debit THEN 'debit' ELSE 'credit' END::troth_schema.ledger_side,
                   b.debits_posted + sum(CASE WHEN l.is_debit THEN l.amount ELSE 0 END) OVER w,
                   b.credits_posted + sum(CASE WHEN l.is_debit THEN 0 ELSE l.amount END) OVER w,
                   b.debits_pending, b.credits_pending
            FROM leg l JOIN troth_schema.ledger_balance b ON b.account = l.account
            WINDOW w AS (PARTITION BY l.account ORDER BY l.k ROWS UNBOUNDED PRECEDING)
        )
        UPDATE troth_schema.ledger_balance b
        SET version = b.version + c.entries, booked_at = greatest(b.booked_at, posted_at),
            most_late = greatest(b.most_late, b.booked_at - posted_at),
            debits_posted = b.debits_posted + c.debits, credits_posted = b.credits_posted + c.credits
        FROM change c WHERE b.account = c.account;
    ELSIF p_direct OR limited THEN
        WITH leg AS (
            SELECT u.n, u.account, u.side, u.effective,
                   CASE WHEN u.kind IN (0, 2, 5) THEN u.amount ELSE 0 END AS posted,
                   CASE WHEN u.kind = 1 THEN u.amount ELSE -coalesce(u.released, 0) END AS pending
            FROM (
                SELECT u.n, u.debit AS account, 'debit'::troth_schema.ledger_side AS side, u.amount, coalesce(u.kind, 0) AS kind,
                       u.released, u.effective
                FROM unnest(i_debit, i_amount, i_kind, o_released, i_effective) WITH ORDINALITY
                    AS u (debit, amount, kind, released, effective, n)
                UNION ALL
                SELECT u.n, u.credit, 'credit', u.amount, coalesce(u.kind, 0), u.released, u.effective
                FROM unnest(i_credit, i_amount, i_kind, o_released, i_effective) WITH ORDINALITY
                    AS u (credit, amount, kind, released, effective, n)
                UNION ALL
                SELECT c.item, c.account, CASE WHEN c.amount > 0 THEN 'debit' ELSE 'credit' END::troth_schema.ledger_side,
                       abs(c.amount), coalesce(i_kind[c.item], 0), NULL, i_effective[c.item]
                FROM unnest(c_item, c_account, c_amount) AS c (item, account, amount)) AS u
            WHERE u.account IS NOT NULL AND (o_ok IS NULL OR o_ok[u.n]) AND (p_direct OR x_limited[u.account])
        ), change AS (
            SELECT l.account, count(*) AS entries, sum(CASE WHEN l.side = 'debit' THEN l.posted ELSE 0 END) AS debits_posted,
                   sum(CASE WHEN l.side = 'credit' THEN l.posted ELSE 0 END) AS credits_posted,
                   sum(CASE WHEN l.side = 'debit' THEN l.pending ELSE 0 END) AS debits_pending,
                   sum(CASE WHEN l.side = 'credit' THEN l.pending ELSE 0 END) AS credits_pending
            FROM leg l GROUP BY l.account
        ), written AS (
            INSERT INTO troth_schema.ledger_entry (
                account, version, transfer, booked_at, effective_at, posted, pending, late_after, side,
                debits_posted, credits_posted, debits_pending, credits_pending)
            SELECT b.account, b.version + row_number() OVER w, first_seq + l.n - 1, posted_at,
                   coalesce(to_timestamp(l.effective), posted_at), l.posted, l.pending,
                   CASE WHEN b.booked_at > posted_at THEN b.booked_at END, l.side,
                   b.debits_posted + sum(CASE WHEN l.side = 'debit' THEN l.posted ELSE 0 END) OVER w,
                   b.credits_posted + sum(CASE WHEN l.side = 'credit' THEN l.posted ELSE 0 END) OVER w,
                   b.debits_pending + sum(CASE WHEN l.side = 'debit' THEN l.pending ELSE 0 END) OVER w,
                   b.credits_pending + sum(CASE WHEN l.side = 'credit' THEN l.pending ELSE 0 END) OVER w
            FROM leg l JOIN troth_schema.ledger_balance b ON b.account = x_account[l.account]
            WINDOW w AS (PARTITION BY l.account ORDER BY l.n ROWS UNBOUNDED PRECEDING)
        )
        UPDATE troth_schema.ledger_balance b
        SET version = b.version + c.entries, booked_at = greatest(b.booked_at, posted_at),
            most_late = greatest(b.most_late, b.booked_at - posted_at),
            debits_posted = b.debits_posted + c.debits_posted, credits_posted = b.credits_posted + c.credits_posted,
            debits_pending = b.debits_pending + c.debits_pending, credits_pending = b.credits_pending + c.credits_pending
        FROM change c WHERE b.account = x_account[c.account];
    END IF;

    IF NOT p_direct THEN
        INSERT INTO troth_schema.ledger_unfolded (batch, booked_at, debits, accounts, numbers, posted, pending, effective_at)
        SELECT first_seq / place, posted_at, count(*) FILTER (WHERE u.is_debit), array_agg(x_account[u.account]),
               array_agg((u.n - 1)::smallint), array_agg(CASE WHEN u.kind IN (0, 2, 5) THEN u.amount ELSE 0 END),
               CASE WHEN NOT plain THEN array_agg(CASE WHEN u.kind = 1 THEN u.amount ELSE -coalesce(u.released, 0) END) END,
               CASE WHEN i_effective IS NOT NULL THEN array_agg(coalesce(to_timestamp(i_effective[u.n]), posted_at)) END
        FROM (
            SELECT l.*, coalesce(i_kind[l.n], 0) AS kind
            FROM (
                SELECT u.k AS n, i_debit[u.k] AS account, true AS is_debit, i_amount[u.k] AS amount, o_released[u.k] AS released
                FROM generate_series(1, n) AS u (k)
                UNION ALL
                SELECT u.k, i_credit[u.k], false, i_amount[u.k], o_released[u.k] FROM generate_series(1, n) AS u (k)
                UNION ALL
                SELECT c.item, c.account, c.amount > 0, abs(c.amount), NULL
                FROM unnest(c_item, c_account, c_amount) AS c (item, account, amount)) AS l
            WHERE l.account IS NOT NULL AND (o_ok IS NULL OR o_ok[l.n]) AND NOT x_limited[l.account]
            ORDER BY l.is_debit DESC, l.n) AS u
        HAVING count(*) > 0;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION troth_schema.ledger_fold(p_limit integer, p_after bigint, OUT folded integer, OUT last bigint)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
-- Make entries of the legs of calls with a number greater than p_after, call after call until they are p_limit or more; how
-- many, and the last call. Calls that somebody else folds are left to them, and what is not committed yet is not seen: it is
-- there the next time.
DECLARE
    waiting CURSOR FOR SELECT f.batch, f.accounts FROM troth_schema.ledger_unfolded f WHERE f.batch > p_after
                       ORDER BY f.batch FOR UPDATE SKIP LOCKED;
    one record;
    calls bigint[] := '{}';
    touched bigint[] := '{}';
BEGIN
    folded := 0;
    last := p_after;
    OPEN waiting;
    WHILE folded < p_limit LOOP  -- one by one, so that no others are locked
        FETCH waiting INTO one;
        EXIT WHEN NOT FOUND;
        folded := folded + cardinality(one.accounts);
        last := one.batch;
        calls := calls || one.batch;
        touched := touched || one.accounts;
    END LOOP;
    CLOSE waiting;
    IF folded = 0 THEN
        RETURN;
    END IF;
    PERFORM 1 FROM troth_schema.ledger_balance b WHERE b.account = ANY (touched) ORDER BY b.account FOR NO KEY UPDATE;
    WITH leg AS (
        SELECT * FROM troth_schema.ledger_queue q WHERE q.batch = ANY (calls)
    ), change AS (
        SELECT l.account, count(*) AS entries, max(l.booked_at) AS latest, min(l.booked_at) AS earliest,
               sum(CASE WHEN l.side = 'debit' THEN l.posted ELSE 0 END) AS debits_posted,
               sum(CASE WHEN l.side = 'credit' THEN l.posted ELSE 0 END) AS credits_posted,
               sum(CASE WHEN l.side = 'debit' THEN l.pending ELSE 0 END) AS debits_pending,
               sum(CASE WHEN l.side = 'credit' THEN l.pending ELSE 0 END) AS credits_pending
        FROM leg l GROUP BY l.account
    ), written AS (
        INSERT INTO troth_schema.ledger_entry (
            account, version, transfer, booked_at, effective_at, posted, pending, late_after, side,
            debits_posted, credits_posted, debits_pending, credits_pending)
        SELECT l.account, b.version + row_number() OVER w, l.transfer, l.booked_at, l.effective_at, l.posted, l.pending,
               CASE WHEN b.booked_at > l.booked_at THEN b.booked_at END, l.side,
               b.debits_posted + sum(CASE WHEN l.side = 'debit' THEN l.posted ELSE 0 END) OVER w,
               b.credits_posted + sum(CASE WHEN l.side = 'credit' THEN l.posted ELSE 0 END) OVER w,
               b.debits_pending + sum(CASE WHEN l.side = 'debit' THEN l.pending ELSE 0 END) OVER w,
               b.credits_pending + sum(CASE WHEN l.side = 'credit' THEN l.pending ELSE 0 END) OVER w
        FROM leg l JOIN troth_schema.ledger_balance b ON b.account = l.account
        WINDOW w AS (PARTITION BY l.account ORDER BY l.booked_at, l.transfer ROWS UNBOUNDED PRECEDING)
    ), taken AS (
        DELETE FROM troth_schema.ledger_unfolded f WHERE f.batch = ANY (calls)
    )
    UPDATE troth_schema.ledger_balance b
    SET version = b.version + c.entries, booked_at = greatest(b.booked_at, c.latest),
        most_late = greatest(b.most_late, CASE WHEN b.booked_at > c.earliest THEN b.booked_at - c.earliest END),
        debits_posted = b.debits_posted + c.debits_posted, credits_posted = b.credits_posted + c.credits_posted,
        debits_pending = b.debits_pending + c.debits_pending, credits_pending = b.credits_pending + c.credits_pending
    FROM change c WHERE b.account = c.account;
END $$;
