-- Deciding: what is to be said of each item of a call, in the order of docs/ledger/outcomes.md. Only ledger_post calls these.

CREATE FUNCTION troth_schema.ledger_repeated(
    p_id uuid, p_kind smallint, p_about uuid, p_timeout double precision, p_debit text, p_credit text,
    p_leg_codes text[], p_leg_amounts bigint[], p_amount bigint, p_currency text, p_effective double precision,
    p_metadata jsonb, p_code text, p_keep boolean,
    OUT outcome text, OUT seq bigint, OUT at timestamptz, OUT amount bigint, OUT first text
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
-- What to say of an id that is taken: is it the same transfer? What was left to the ledger (the time, all that is left) is
-- not compared.
DECLARE
    t troth_schema.ledger_transfer;
BEGIN
    SELECT x.* INTO t FROM troth_schema.ledger_id d JOIN troth_schema.ledger_transfer x ON x.seq = d.seq WHERE d.id = p_id;
    IF NOT FOUND THEN
        SELECT r.outcome, r.refused_at INTO first, at
        FROM troth_schema.ledger_id d JOIN troth_schema.ledger_refusal r ON r.seq = d.seq WHERE d.id = p_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'transfer % is twice in one call', p_id USING ERRCODE = '22023';
        END IF;
        outcome := 'id_already_failed';
        RETURN;
    END IF;
    seq := t.seq;
    at := t.booked_at;
    amount := t.amount;
    outcome := CASE
        WHEN t.kind <> (enum_range(NULL::troth_schema.ledger_kind))[p_kind + 1]
            OR (t.leg_accounts IS NULL) <> (p_leg_codes IS NULL) AND p_about IS NULL
            OR p_kind = 2 AND p_keep <> t.keeps THEN 'exists_with_different_flags'
        WHEN t.about IS DISTINCT FROM (SELECT d.seq FROM troth_schema.ledger_id d WHERE d.id = p_about) THEN
            CASE WHEN p_kind = 5 THEN 'exists_with_different_reversed_id' ELSE 'exists_with_different_pending_id' END
        WHEN t.timeout IS DISTINCT FROM make_interval(secs => p_timeout) THEN 'exists_with_different_timeout'
        WHEN p_debit IS DISTINCT FROM (SELECT a.code FROM troth_schema.ledger_account a WHERE a.id = t.debit)
            AND p_about IS NULL THEN 'exists_with_different_debit_account_id'
        WHEN p_credit IS DISTINCT FROM (SELECT a.code FROM troth_schema.ledger_account a WHERE a.id = t.credit)
            AND p_about IS NULL THEN 'exists_with_different_credit_account_id'
        WHEN p_leg_codes IS NOT NULL AND EXISTS (
            (SELECT u.code, u.amount FROM unnest(p_leg_codes, p_leg_amounts) AS u (code, amount)
             EXCEPT ALL
             SELECT a.code, u.amount FROM unnest(t.leg_accounts, t.leg_amounts) AS u (account, amount)
             JOIN troth_schema.ledger_account a ON a.id = u.account)
            UNION ALL
            (SELECT a.code, u.amount FROM unnest(t.leg_accounts, t.leg_amounts) AS u (account, amount)
             JOIN troth_schema.ledger_account a ON a.id = u.account
             EXCEPT ALL
             SELECT u.code, u.amount FROM unnest(p_leg_codes, p_leg_amounts) AS u (code, amount))
        ) THEN 'exists_with_different_legs'
        WHEN t.amount <> p_amount THEN 'exists_with_different_amount'
        WHEN p_currency <> (SELECT a.currency FROM troth_schema.ledger_account a WHERE a.id = t.debit)
            THEN 'exists_with_different_currency'
        WHEN t.effective_at <> to_timestamp(p_effective) THEN 'exists_with_different_effective_at'
        WHEN t.metadata IS DISTINCT FROM p_metadata THEN 'exists_with_different_metadata'
        WHEN t.code IS DISTINCT FROM p_code THEN 'exists_with_different_code'
        ELSE 'exists' END;
END $$;

CREATE FUNCTION troth_schema.ledger_decide(
    p_direct boolean, p_first bigint, p_closed timestamptz, p_fresh integer, x_account bigint[], x_currency text[],
    p_codes text[], p_currencies text[], i_id uuid[], i_debit integer[], i_credit integer[], i_amount bigint[],
    i_kind smallint[], i_about uuid[], i_keep boolean[], i_timeout double precision[], i_effective double precision[],
    i_group integer[], i_currency text[], i_code text[], i_metadata text[], c_item integer[], c_account integer[], c_amount bigint[],
    OUT booked_at timestamptz,
    OUT outcomes text[],                               -- null: created
    OUT repeated jsonb[],                              -- what to answer for ids that were taken
    OUT accounts bigint[], OUT limited boolean[], OUT debits integer[], OUT credits integer[], OUT amounts bigint[],
    OUT abouts bigint[], OUT released bigint[], OUT leg_items integer[], OUT leg_accounts integer[], OUT leg_amounts bigint[],
    OUT hold_seqs bigint[], OUT hold_left bigint[], OUT hold_states text[],
    OUT reversed_seqs bigint[], OUT reversed numeric[], OUT reversible numeric[]
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
SET jit = off
AS $$
-- Decide item after item what comes of it, as if each were posted before the next one is looked at; write nothing. The ids
-- are taken. Holds, what is reversed, and the balances of limited accounts are locked here and stay so.
DECLARE
    n CONSTANT integer := cardinality(i_id);
    i integer := 1;
    j integer;
    l integer;
    from_group integer;       -- the first and the last item of the group that i is in
    to_group integer;
    item record;
    now_taken bigint[];
    r_seq bigint[]; r_kind text[]; r_debit bigint[]; r_credit bigint[]; r_amount bigint[]; r_accounts bigint[];
    h_amount bigint[]; h_expires timestamptz[];
    a_limit text[]; a_minimum bigint[]; a_side text[]; a_closed boolean[];
    a_debits numeric[]; a_credits numeric[]; a_debits_held numeric[]; a_credits_held numeric[];
    due_debits numeric[]; due_credits numeric[];  -- of what is held: holds whose time is over, and of which nobody has booked the end
    s_debits numeric[]; s_credits numeric[]; s_debits_held numeric[]; s_credits_held numeric[];
    s_due_debits numeric[]; s_due_credits numeric[]; s_hold_left bigint[]; s_hold_states text[]; s_reversed numeric[];
    kind smallint;
    origin smallint;
    ref bigint;
    outcome text;
    moved bigint;             -- what is posted, or held
    freed bigint;             -- what is no longer held
    is_due boolean;
    leg_from integer := 1;
    leg_to integer := 0;
    legs integer[];           -- the item's accounts
    sums bigint[];            -- and what goes there: a debit is greater than 0
    currency text;
    fresh integer;
BEGIN
    outcomes := array_fill(NULL::text, ARRAY[n]);
    repeated := array_fill(NULL::jsonb, ARRAY[n]);
    abouts := array_fill(NULL::bigint, ARRAY[n]);
    released := array_fill(NULL::bigint, ARRAY[n]);
    accounts := coalesce(x_account, '{}');
    debits := i_debit;
    credits := i_credit;
    amounts := i_amount;
    leg_items := c_item;
    leg_accounts := c_account;
    leg_amounts := c_amount;

    IF p_fresh < n THEN
        FOR item IN
            SELECT u.n, r.* FROM unnest(i_id) WITH ORDINALITY AS u (id, n)
            JOIN troth_schema.ledger_id d ON d.id = u.id
            CROSS JOIN LATERAL troth_schema.ledger_repeated(
                u.id, coalesce(i_kind[u.n], 0::smallint), i_about[u.n], i_timeout[u.n], p_codes[i_debit[u.n]], p_codes[i_credit[u.n]],
                (SELECT array_agg(p_codes[c.account]) FROM unnest(c_item, c_account) AS c (item, account) WHERE c.item = u.n),
                (SELECT array_agg(c.amount) FROM unnest(c_item, c_amount) AS c (item, amount) WHERE c.item = u.n),
                i_amount[u.n], coalesce(p_currencies[i_debit[u.n]], i_currency[u.n]), i_effective[u.n], i_metadata[u.n]::jsonb,
                i_code[u.n], i_keep[u.n]) AS r
            WHERE d.seq <> p_first + u.n - 1
        LOOP
            outcomes[item.n] := item.outcome;
            repeated[item.n] := jsonb_build_array(item.outcome, item.seq, item.at, item.amount, item.first);
        END LOOP;
    END IF;

    IF i_about IS NOT NULL THEN
        SELECT array_agg(x.seq), array_agg(x.kind), array_agg(x.debit), array_agg(x.credit), array_agg(x.amount)
        INTO r_seq, r_kind, r_debit, r_credit, r_amount
        FROM (SELECT d.seq, t.kind::text AS kind, t.debit, t.credit, t.amount
              FROM unnest(i_about) WITH ORDINALITY AS u (id, n)
              LEFT JOIN troth_schema.ledger_id d ON d.id = u.id
              LEFT JOIN troth_schema.ledger_transfer t ON t.seq = d.seq ORDER BY u.n) AS x;
        SELECT array_agg(h.transfer), array_agg(h.remaining), array_agg(h.state::text), array_agg(h.amount), array_agg(h.expires_at)
        INTO hold_seqs, hold_left, hold_states, h_amount, h_expires
        FROM (SELECT * FROM troth_schema.ledger_hold h WHERE h.transfer = ANY (r_seq) ORDER BY h.transfer FOR UPDATE) AS h;
        -- What is reversed is locked itself: where nothing was reversed yet, there is no row for that.
        PERFORM 1 FROM troth_schema.ledger_transfer t
        WHERE t.seq IN (SELECT u.seq FROM unnest(r_seq, i_kind) AS u (seq, kind) WHERE u.kind = 5)
        ORDER BY t.seq FOR NO KEY UPDATE;
        SELECT array_agg(v.transfer), array_agg(v.amount), array_agg(v.most) INTO reversed_seqs, reversed, reversible
        FROM troth_schema.ledger_reversed v WHERE v.transfer = ANY (r_seq);
        accounts := accounts || ARRAY(
            SELECT DISTINCT r.account FROM (
                SELECT unnest(r_debit || r_credit)
                UNION ALL
                SELECT unnest(t.leg_accounts) FROM troth_schema.ledger_transfer t WHERE t.seq = ANY (r_seq)) AS r (account)
            WHERE r.account IS NOT NULL AND array_position(accounts, r.account) IS NULL);
    END IF;

    SELECT array_agg(coalesce(x.limited <> 'none', false) ORDER BY x.n), array_agg(x.limited::text ORDER BY x.n),
           array_agg(x.minimum ORDER BY x.n), array_agg(x.side::text ORDER BY x.n), array_agg(x.closed_at IS NOT NULL ORDER BY x.n)
    INTO limited, a_limit, a_minimum, a_side, a_closed
    FROM (SELECT u.n, a.* FROM unnest(accounts) WITH ORDINALITY AS u (id, n)
          LEFT JOIN troth_schema.ledger_account a ON a.id = u.id) AS x;
    PERFORM 1 FROM troth_schema.ledger_balance b
    WHERE b.account IN (SELECT u.id FROM unnest(accounts, limited) AS u (id, limited) WHERE p_direct OR u.limited)
    ORDER BY b.account FOR NO KEY UPDATE;
    SELECT array_agg(b.debits_posted ORDER BY u.n), array_agg(b.credits_posted ORDER BY u.n),
           array_agg(b.debits_pending ORDER BY u.n), array_agg(b.credits_pending ORDER BY u.n)
    INTO a_debits, a_credits, a_debits_held, a_credits_held
    FROM unnest(accounts, limited) WITH ORDINALITY AS u (id, limited, n)
    LEFT JOIN troth_schema.ledger_balance b ON b.account = u.id AND u.limited;
    booked_at := clock_timestamp();
    due_debits := array_fill(0::numeric, ARRAY[cardinality(accounts)]);
    due_credits := due_debits;
    FOR item IN
        SELECT array_position(accounts, h.debit) AS debit, array_position(accounts, h.credit) AS credit, h.remaining
        FROM troth_schema.ledger_hold h
        WHERE (0 < ANY (a_debits_held) OR 0 < ANY (a_credits_held)) AND h.state = 'open' AND h.expires_at <= ledger_decide.booked_at
          AND (h.debit = ANY (accounts) OR h.credit = ANY (accounts))
    LOOP
        IF item.debit IS NOT NULL THEN
            due_debits[item.debit] := due_debits[item.debit] + item.remaining;
        END IF;
        IF item.credit IS NOT NULL THEN
            due_credits[item.credit] := due_credits[item.credit] + item.remaining;
        END IF;
    END LOOP;

    WHILE i <= n LOOP
        IF i_group[i] IS NOT NULL AND (i = 1 OR i_group[i] IS DISTINCT FROM i_group[i - 1]) THEN
            from_group := i;
            to_group := i;
            fresh := 0;
            WHILE to_group < n AND i_group[to_group + 1] = i_group[i] LOOP
                to_group := to_group + 1;
            END LOOP;
            FOR j IN from_group .. to_group LOOP
                fresh := fresh + CASE WHEN repeated[j] IS NULL THEN 1 ELSE 0 END;
            END LOOP;
            IF fresh <= to_group - from_group THEN
                -- Some of it was here before, and was all or nothing then: with what is new it is no such group.
                FOR j IN from_group .. to_group LOOP
                    outcomes[j] := coalesce(outcomes[j], 'linked_event_failed');
                END LOOP;
                i := to_group + 1;
                CONTINUE;
            END IF;
            s_debits := a_debits; s_credits := a_credits; s_debits_held := a_debits_held; s_credits_held := a_credits_held;
            s_due_debits := due_debits; s_due_credits := due_credits;
            s_hold_left := hold_left; s_hold_states := hold_states; s_reversed := reversed;
        END IF;
        IF repeated[i] IS NOT NULL THEN
            i := i + 1;
            CONTINUE;
        END IF;
        kind := coalesce(i_kind[i], 0);
        outcome := NULL;
        moved := i_amount[i];
        freed := NULL;
        is_due := false;
        legs := NULL;
        IF kind IN (0, 1) THEN
            IF i_debit[i] IS NOT NULL THEN
                legs := ARRAY[i_debit[i], i_credit[i]];
                sums := ARRAY[moved, -moved];
            ELSE
                WHILE c_item[leg_from] < i LOOP
                    leg_from := leg_from + 1;
                END LOOP;
                leg_to := leg_from;
                WHILE c_item[leg_to + 1] = i LOOP
                    leg_to := leg_to + 1;
                END LOOP;
                legs := c_account[leg_from:leg_to];
                sums := c_amount[leg_from:leg_to];
            END IF;
            FOR l IN 1 .. cardinality(legs) LOOP
                IF x_currency[legs[l]] IS NULL AND sums[l] > 0 THEN
                    outcome := 'debit_account_not_found';
                    EXIT;
                ELSIF x_currency[legs[l]] IS NULL THEN
                    outcome := 'credit_account_not_found';
                ELSIF accounts[legs[l]] IS NULL AND outcome IS NULL THEN
                    outcome := 'transfer_must_have_the_same_currency_as_accounts';
                END IF;
            END LOOP;
            IF outcome = 'transfer_must_have_the_same_currency_as_accounts' AND i_debit[i] IS NOT NULL
               AND x_currency[legs[1]] <> x_currency[legs[2]] THEN
                outcome := 'accounts_must_have_the_same_currency';
            END IF;
        ELSE
            -- About a transfer: of the books, or of this very call.
            ref := r_seq[i];
            abouts[i] := ref;
            IF ref >= p_first AND ref < p_first + i - 1 AND outcomes[ref - p_first + 1] IS NULL THEN
                j := ref - p_first + 1;
                origin := coalesce(i_kind[j], 0);
                r_kind[i] := (ARRAY['transfer', 'hold', 'post', 'void', 'expiry', 'reversal'])[origin + 1];
                debits[i] := debits[j];
                credits[i] := credits[j];
                r_amount[i] := amounts[j];
            ELSIF ref < p_first AND r_kind[i] IS NOT NULL THEN
                debits[i] := CASE WHEN r_debit[i] IS NOT NULL THEN array_position(accounts, r_debit[i]) END;
                credits[i] := CASE WHEN r_credit[i] IS NOT NULL THEN array_position(accounts, r_credit[i]) END;
            ELSE
                outcome := CASE WHEN kind = 5 THEN 'reversed_transfer_not_found' ELSE 'pending_transfer_not_found' END;
            END IF;
            IF outcome IS NULL AND kind = 5 AND r_kind[i] NOT IN ('transfer', 'post', 'reversal') THEN
                outcome := 'reversed_transfer_not_posted';
            ELSIF outcome IS NULL AND kind < 5 AND r_kind[i] <> 'hold' THEN
                outcome := 'pending_transfer_not_pending';
            END IF;
            IF outcome IS NULL AND kind = 5 THEN
                j := array_position(reversed_seqs, ref);
                IF j IS NULL THEN
                    reversed_seqs := reversed_seqs || ref;
                    reversed := reversed || 0::numeric;
                    reversible := reversible || coalesce(r_amount[i], 1)::numeric;
                    s_reversed := s_reversed || 0::numeric;
                    j := cardinality(reversed_seqs);
                END IF;
                l := debits[i];
                debits[i] := credits[i];
                credits[i] := l;
                IF debits[i] IS NULL THEN
                    -- Several legs: all of them turn round, and amount stays null.
                    SELECT array_agg(array_position(accounts, u.account)), array_agg(-u.amount) INTO legs, sums
                    FROM unnest(coalesce((SELECT t.leg_accounts FROM troth_schema.ledger_transfer t WHERE t.seq = ref),
                                         ARRAY(SELECT accounts[c.account] FROM unnest(leg_items, leg_accounts) AS c (item, account)
                                               WHERE c.item = ref - p_first + 1)),
                                coalesce((SELECT t.leg_amounts FROM troth_schema.ledger_transfer t WHERE t.seq = ref),
                                         ARRAY(SELECT c.amount FROM unnest(leg_items, leg_amounts) AS c (item, amount)
                                               WHERE c.item = ref - p_first + 1))) AS u (account, amount);
                    IF reversed[j] > 0 OR moved IS NOT NULL THEN
                        outcome := 'exceeds_reversible';
                    END IF;
                ELSE
                    moved := coalesce(moved, reversible[j] - reversed[j]);
                    IF moved > reversible[j] - reversed[j] OR moved = 0 THEN
                        outcome := 'exceeds_reversible';
                    END IF;
                END IF;
            ELSIF outcome IS NULL THEN
                j := array_position(hold_seqs, ref);
                moved := coalesce(moved, hold_left[j]);
                is_due := coalesce(h_expires[j] <= ledger_decide.booked_at, false);
                freed := CASE WHEN kind = 2 AND i_keep[i] THEN moved ELSE hold_left[j] END;
                outcome := CASE
                    WHEN moved > h_amount[j] THEN 'exceeds_pending_transfer_amount'
                    WHEN hold_states[j] = 'posted' THEN 'pending_transfer_already_posted'
                    WHEN hold_states[j] = 'voided' THEN 'pending_transfer_already_voided'
                    WHEN hold_states[j] = 'expired' OR kind <> 4 AND is_due THEN 'pending_transfer_expired'
                    WHEN kind = 4 AND NOT is_due THEN 'pending_transfer_not_expired'
                    WHEN moved > hold_left[j] THEN 'exceeds_pending_transfer_amount' END;
            END IF;
            IF outcome IS NULL AND i_currency[i] IS NOT NULL AND debits[i] IS NOT NULL THEN
                SELECT a.currency INTO currency FROM troth_schema.ledger_account a WHERE a.id = accounts[debits[i]];
                IF currency <> i_currency[i] THEN
                    outcome := 'transfer_must_have_the_same_currency_as_accounts';
                END IF;
            END IF;
            IF legs IS NULL THEN
                legs := ARRAY[debits[i], credits[i]];
                sums := ARRAY[moved, -moved];
            END IF;
        END IF;
        IF outcome IS NULL AND to_timestamp(i_effective[i]) < p_closed THEN
            outcome := 'period_closed';
        END IF;
        IF outcome IS NULL AND kind NOT IN (3, 4) THEN
            FOR l IN 1 .. cardinality(legs) LOOP
                IF a_closed[legs[l]] AND sums[l] > 0 THEN
                    outcome := 'debit_account_already_closed';
                    EXIT;
                ELSIF a_closed[legs[l]] THEN
                    outcome := 'credit_account_already_closed';
                END IF;
            END LOOP;
        END IF;
        IF outcome IS NULL AND kind IN (0, 1, 5) THEN
            FOR l IN 1 .. cardinality(legs) LOOP
                j := legs[l];
                IF limited[j] THEN
                    IF sums[l] > 0 AND (a_limit[j] = 'debits_must_not_exceed_credits'
                                        OR a_limit[j] = 'minimum_balance' AND a_side[j] = 'credit')
                       AND a_debits[j] + a_debits_held[j] - due_debits[j] + sums[l] > a_credits[j] - coalesce(a_minimum[j], 0) THEN
                        outcome := CASE a_limit[j] WHEN 'minimum_balance' THEN coalesce(outcome, 'balance_below_minimum')
                                                   ELSE 'exceeds_credits' END;
                    ELSIF sums[l] < 0 AND (a_limit[j] = 'credits_must_not_exceed_debits'
                                           OR a_limit[j] = 'minimum_balance' AND a_side[j] = 'debit')
                       AND a_credits[j] + a_credits_held[j] - due_credits[j] - sums[l] > a_debits[j] - coalesce(a_minimum[j], 0) THEN
                        outcome := CASE WHEN a_limit[j] = 'minimum_balance' THEN coalesce(outcome, 'balance_below_minimum')
                                        WHEN outcome = 'exceeds_credits' THEN outcome ELSE 'exceeds_debits' END;
                    END IF;
                END IF;
            END LOOP;
        END IF;

        IF outcome IS NULL THEN
            amounts[i] := moved;
            released[i] := freed;
            FOR l IN 1 .. cardinality(legs) LOOP
                j := legs[l];
                IF limited[j] AND sums[l] > 0 THEN
                    IF kind IN (0, 2, 5) THEN
                        a_debits[j] := a_debits[j] + sums[l];
                    ELSIF kind = 1 THEN
                        a_debits_held[j] := a_debits_held[j] + sums[l];
                    END IF;
                    a_debits_held[j] := a_debits_held[j] - coalesce(freed, 0);
                    due_debits[j] := due_debits[j] - CASE WHEN is_due THEN freed ELSE 0 END;
                ELSIF limited[j] THEN
                    IF kind IN (0, 2, 5) THEN
                        a_credits[j] := a_credits[j] - sums[l];
                    ELSIF kind = 1 THEN
                        a_credits_held[j] := a_credits_held[j] - sums[l];
                    END IF;
                    a_credits_held[j] := a_credits_held[j] - coalesce(freed, 0);
                    due_credits[j] := due_credits[j] - CASE WHEN is_due THEN freed ELSE 0 END;
                END IF;
            END LOOP;
            IF kind = 1 THEN
                hold_seqs := hold_seqs || (p_first + i - 1);
                hold_left := hold_left || moved;
                hold_states := hold_states || 'open'::text;
                h_amount := h_amount || moved;
                h_expires := h_expires || (ledger_decide.booked_at + make_interval(secs => i_timeout[i]));
                s_hold_left := s_hold_left || moved;
                s_hold_states := s_hold_states || 'open'::text;
            ELSIF kind IN (2, 3, 4) THEN
                j := array_position(hold_seqs, ref);
                hold_left[j] := hold_left[j] - freed;
                IF hold_left[j] = 0 THEN
                    hold_states[j] := CASE kind WHEN 2 THEN 'posted' WHEN 3 THEN 'voided' ELSE 'expired' END;
                END IF;
            ELSIF kind = 5 THEN
                j := array_position(reversed_seqs, ref);
                reversed[j] := reversed[j] + coalesce(moved, 1);
                IF debits[i] IS NULL THEN
                    leg_items := leg_items || array_fill(i, ARRAY[cardinality(legs)]);
                    leg_accounts := leg_accounts || legs;
                    leg_amounts := leg_amounts || sums;
                END IF;
            END IF;
            i := i + 1;
        ELSE
            outcomes[i] := outcome;
            IF i_group[i] IS NULL THEN
                i := i + 1;
            ELSE
                FOR j IN from_group .. to_group LOOP
                    outcomes[j] := CASE WHEN j = i THEN outcome ELSE 'linked_event_failed' END;
                END LOOP;
                a_debits := s_debits; a_credits := s_credits; a_debits_held := s_debits_held; a_credits_held := s_credits_held;
                due_debits := s_due_debits; due_credits := s_due_credits;
                hold_left := s_hold_left; hold_states := s_hold_states; reversed := s_reversed;
                i := to_group + 1;
            END IF;
        END IF;
    END LOOP;
END $$;
