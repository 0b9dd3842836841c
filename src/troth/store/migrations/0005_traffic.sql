-- Permission to call a provider, shared by all workers: its rate, its breaker, its calls under way.
--
--   provider        what was declared of a provider, and where its traffic stands (a row each; written once per batch)
--   provider_lease  how many of its calls each worker may have under way          (a row per provider and worker)
--
-- A worker takes a *turn*: one short transaction that reserves slots for all who ask there, reports how calls ended, and
-- exchanges leases. Turns commit without waiting for the disk. Nothing is sent before its intent is durable, and the log
-- is durable in order: whoever sends has made the turn before it durable, too. What a crash loses, nobody has used.

CREATE TABLE troth_schema.provider (
    name              text PRIMARY KEY,
    declared_by       bigint NOT NULL,            -- worker.id; a later worker's declaration replaces it
    rate_limit        integer,                    -- this many calls ...
    rate_per_s        double precision,           -- ... in any span of so many seconds
    spacing_s         double precision,           -- between slots
    tolerance_s       double precision,           -- for which a slot may be used
    breaker_failures  integer,
    breaker_pause_s   double precision,
    concurrency       integer,                    -- calls at once
    next_at           double precision NOT NULL DEFAULT 0,  -- the first slot that is free, in seconds since 1970
    era               integer NOT NULL DEFAULT 0, -- grows when the breaker moves: how older calls end says nothing any more
    failures          integer NOT NULL DEFAULT 0, -- in a row
    open_until        timestamptz,                -- null: the breaker is closed; past: one call at a time is a trial
    trial_until       timestamptz                 -- when a trial that nobody has reported on is replaced
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE troth_schema.provider_lease (
    provider      text NOT NULL,
    worker        bigint NOT NULL,
    turn          bigint NOT NULL,                -- of this worker: one that was overtaken changes nothing
    held          integer NOT NULL,               -- calls that it may have under way
    demand        integer NOT NULL,               -- calls that it has under way or wants to make
    hungry_since  timestamptz,                    -- it has less than its share since
    in_flight_s   double precision NOT NULL,      -- how long after the worker's death its calls can be under way
    asked_at      timestamptz NOT NULL,
    lost_at       timestamptz,                    -- the worker was found dead
    PRIMARY KEY (provider, worker)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION troth_schema.exchange_leases(
    p_provider text, p_limit integer, p_worker bigint, p_turn bigint, p_kept integer, p_demand integer,
    p_in_flight_s double precision,
    OUT held integer, OUT share integer, OUT lacking integer
)
LANGUAGE plpgsql AS $$
-- Give back all leases but p_kept, and take more, up to p_demand. The caller has locked the provider's row.
--
-- Who holds less than an equal share of the limit, and wants more, is hungry. Hungry workers are served first, in the
-- order in which they became so; what is left is anybody's. *lacking*: leases that the hungry wait for others to give back.
DECLARE
    at timestamptz := clock_timestamp();
    free integer;
    hungry integer;  -- what the others lack for their share
    before integer;  -- what those of them lack who have waited for longer
    mine integer;    -- what I lack for my share
    my_turn timestamptz;  -- since when
BEGIN
    IF NOT EXISTS (SELECT 1 FROM troth_schema.worker w WHERE w.id = p_worker) THEN
        RAISE EXCEPTION 'worker % was taken over', p_worker USING ERRCODE = 'TR001';
    END IF;
    -- The number kept, not a difference: what an answer brought that was lost on its way is given back by the next turn.
    INSERT INTO troth_schema.provider_lease AS l (provider, worker, turn, held, demand, in_flight_s, asked_at)
    VALUES (p_provider, p_worker, p_turn, p_kept, p_demand, p_in_flight_s, at)
    ON CONFLICT (provider, worker) DO UPDATE
    SET turn = p_turn, held = p_kept, demand = p_demand, in_flight_s = greatest(l.in_flight_s, p_in_flight_s), asked_at = at
    WHERE l.turn < p_turn
    RETURNING hungry_since INTO my_turn;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'turn % of worker % was overtaken', p_turn, p_worker USING ERRCODE = '40001';
    END IF;

    -- A dead worker's calls may still be under way for as long as it said, counted from when its death was certain.
    UPDATE troth_schema.provider_lease l SET lost_at = at WHERE l.provider = p_provider AND l.lost_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM troth_schema.worker w WHERE w.id = l.worker);
    DELETE FROM troth_schema.provider_lease l
    WHERE l.provider = p_provider AND (l.held = 0 OR l.lost_at + make_interval(secs => l.in_flight_s) <= at)
      AND l.lost_at IS NOT NULL;

    SELECT p_limit / greatest(count(*) FILTER (WHERE l.demand > 0 AND l.lost_at IS NULL), 1), p_limit - sum(l.held)
    INTO share, free FROM troth_schema.provider_lease l WHERE l.provider = p_provider;
    mine := greatest(0, least(greatest(share, 1), p_demand) - p_kept);
    my_turn := CASE WHEN mine > 0 THEN coalesce(my_turn, at) END;
    -- Whoever is hungry asks again and again: one who has stopped asking has stalled, and holds nobody up.
    SELECT coalesce(sum(h.lack), 0),
           coalesce(sum(h.lack) FILTER (WHERE mine = 0 OR (h.since, h.worker) < (my_turn, p_worker)), 0)
    INTO hungry, before
    FROM (SELECT least(greatest(share, 1), l.demand) - l.held AS lack, l.hungry_since AS since, l.worker
          FROM troth_schema.provider_lease l
          WHERE l.provider = p_provider AND l.worker <> p_worker AND l.hungry_since IS NOT NULL AND l.lost_at IS NULL
            AND l.asked_at > at - interval '1 second') AS h
    WHERE h.lack > 0;
    held := p_kept + greatest(0, least(mine, free - before))
                   + greatest(0, least(p_demand - p_kept - mine, free - hungry - mine));
    lacking := greatest(0, hungry - (free - (held - p_kept)));
    UPDATE troth_schema.provider_lease l
    SET held = exchange_leases.held, hungry_since = CASE WHEN exchange_leases.held < p_kept + mine THEN my_turn END
    WHERE l.provider = p_provider AND l.worker = p_worker
      AND (l.held, l.hungry_since IS NULL) IS DISTINCT FROM
          (exchange_leases.held, exchange_leases.held >= p_kept + mine);
END $$;

CREATE FUNCTION troth_schema.take_turn(
    p_provider text, p_worker bigint, p_turn bigint,
    p_slots integer,                                      -- how many to reserve
    p_era integer, p_answered boolean, p_failed integer,  -- since the last turn a call was answered, and so many failed after it
    p_unsent boolean,                                     -- the trial was not sent
    p_trial boolean,                                      -- a call is ready to be the trial
    p_in_flight_s double precision,                       -- the longest time for which a call can be under way
    p_kept integer, p_demand integer,                     -- leases, see exchange_leases
    OUT now double precision, OUT rate_limit integer, OUT rate_per_s double precision, OUT spacing_s double precision,
    OUT tolerance_s double precision, OUT breaker_failures integer, OUT breaker_pause_s double precision,
    OUT concurrency integer, OUT era integer, OUT failures integer, OUT open_until double precision,
    OUT trial_until double precision, OUT first_slot double precision, OUT trial boolean,
    OUT held integer, OUT share integer, OUT lacking integer
)
LANGUAGE plpgsql AS $$
-- All that one worker has to say and to ask about one provider. Nothing (now is null): the provider was never declared.
DECLARE
    was troth_schema.provider;
    p troth_schema.provider;
    at timestamptz;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);  -- see the head of this file
    SELECT * INTO p FROM troth_schema.provider WHERE name = p_provider FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    was := p;
    at := clock_timestamp();  -- of the moment at which the row is ours
    trial := false;

    IF p.breaker_failures IS NULL THEN
        p.open_until := NULL;
        p.failures := 0;
    ELSIF p_era = p.era AND p.open_until IS NULL THEN
        p.failures := p_failed + CASE WHEN p_answered THEN 0 ELSE p.failures END;
        IF p.failures >= p.breaker_failures THEN
            p.era := p.era + 1;
            p.open_until := at + make_interval(secs => p.breaker_pause_s);
        END IF;
    ELSIF p_era = p.era THEN  -- the outcome of the trial: nothing else was sent in this era
        IF p_answered THEN
            p.era := p.era + 1;
            p.open_until := NULL;
            p.failures := 0;
        ELSIF p_failed > 0 THEN
            p.era := p.era + 1;
            p.open_until := at + make_interval(secs => p.breaker_pause_s);
            p.trial_until := NULL;
        ELSIF p_unsent THEN
            p.trial_until := NULL;
        END IF;
    END IF;
    IF p.open_until IS NULL THEN
        p.trial_until := NULL;
    ELSIF p_trial AND p.open_until <= at AND coalesce(p.trial_until <= at, true) THEN
        trial := true;
        p.era := p.era + CASE WHEN p.trial_until IS NULL THEN 0 ELSE 1 END;  -- it replaces one that was lost
        p.trial_until := at + make_interval(secs => p_in_flight_s);
    END IF;

    now := extract(epoch FROM at);
    IF p_slots > 0 AND p.spacing_s IS NOT NULL THEN
        first_slot := greatest(p.next_at, now, extract(epoch FROM p.open_until));
        p.next_at := first_slot + p_slots * p.spacing_s;
    END IF;
    IF p IS DISTINCT FROM was THEN
        UPDATE troth_schema.provider r
        SET next_at = p.next_at, era = p.era, failures = p.failures, open_until = p.open_until, trial_until = p.trial_until
        WHERE r.name = p_provider;
    END IF;
    IF p.concurrency IS NOT NULL THEN
        SELECT x.held, x.share, x.lacking INTO held, share, lacking
        FROM troth_schema.exchange_leases(
            p_provider, p.concurrency, p_worker, p_turn, p_kept, p_demand, p_in_flight_s) x;
    END IF;

    rate_limit := p.rate_limit;
    rate_per_s := p.rate_per_s;
    spacing_s := p.spacing_s;
    tolerance_s := p.tolerance_s;
    breaker_failures := p.breaker_failures;
    breaker_pause_s := p.breaker_pause_s;
    concurrency := p.concurrency;
    era := p.era;
    failures := p.failures;
    open_until := extract(epoch FROM p.open_until);
    trial_until := extract(epoch FROM p.trial_until);
END $$;
