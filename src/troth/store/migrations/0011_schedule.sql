-- Schedules: runs that are started by the clock.
--
--   schedule         when each one fires next                     (a row each; written when it fires)
--   schedule_firing  what came of its last firings                (so many of each schedule are kept)
--   schedule_wish    firings that people asked for                (deleted when they are started)
--
-- A firing is a transaction that starts the run, writes what came of it, and moves `next_at` on: so each time is fired
-- once, whoever does it. The start key, which names the schedule and the time, holds even if a clock is set back.
--
-- A schedule with a `digest` is declared in code, and only a program with that very declaration fires it; one without is
-- data, and every program that has its workflow does. When a schedule fires is computed by the program, not here.

CREATE TABLE troth_schema.schedule (
    name         text PRIMARY KEY,
    workflow     text NOT NULL,
    cron         text NOT NULL,
    tz           text NOT NULL,
    overlap      text NOT NULL,
    catch_up     interval NOT NULL,
    missed       text NOT NULL,
    jitter       interval NOT NULL,
    partition    text,
    priority     smallint NOT NULL DEFAULT 0,
    input        bytea,                          -- of a stored one: arguments by name
    time_in      text,                           -- and the parameter that gets the time of the firing
    digest       bytea,                          -- of the declaration in code
    superseded   bytea[] NOT NULL DEFAULT '{}',  -- declarations that it took the place of
    seen_at      timestamptz,                    -- when a program with this declaration was there
    next_at      timestamptz,                    -- the time on the clock of the next firing; null: there is none
    look_at      timestamptz,                    -- when it is to be looked at: that, a little later, or again soon
    held_until   timestamptz,                    -- firings up to then wait for the run before, and are not late
    paused_at    timestamptz,
    paused_by    text,
    paused_note  text,
    last_at      timestamptz,
    last_result  text,
    last_run     uuid,                           -- of its last firing that started one: the run that others must not overlap
    entries      integer NOT NULL DEFAULT 0,     -- how many its history has had
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((input IS NULL) <> (digest IS NULL))
) WITH (fillfactor = 70);

CREATE INDEX schedule_due ON troth_schema.schedule (look_at) WHERE paused_at IS NULL AND look_at IS NOT NULL;

CREATE TABLE troth_schema.schedule_firing (
    schedule    text NOT NULL,
    n           integer NOT NULL,
    at          timestamptz NOT NULL,            -- the time on the clock
    until       timestamptz,                     -- of several that were left out: the last
    result      text NOT NULL,
    run         uuid,
    by          text,                            -- who asked for it
    note        text,
    written_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schedule, n)
);

CREATE TABLE troth_schema.schedule_wish (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule  text NOT NULL,
    at        timestamptz NOT NULL,
    by        text NOT NULL,
    note      text
);

CREATE INDEX ON troth_schema.schedule_wish (schedule);

CREATE FUNCTION troth_schema.schedule_write(
    p_schedules text[], p_ns integer[], p_ats timestamptz[], p_untils timestamptz[], p_results text[], p_bys text[],
    p_notes text[], p_runs uuid[], p_workflows text[], p_keys text[], p_inputs bytea[], p_digests bytea[],
    p_queues text[], p_partitions text[], p_priorities smallint[]
) RETURNS TABLE (of_schedule text, entry integer, started uuid)
LANGUAGE plpgsql AS $$
-- Write entries of histories, and start the runs of those that have one. The caller has locked the schedules.
DECLARE
    step record;
BEGIN
    FOR step IN SELECT * FROM unnest(p_schedules, p_ns, p_ats, p_untils, p_results, p_bys, p_notes, p_runs, p_workflows,
            p_keys, p_inputs, p_digests, p_queues, p_partitions, p_priorities)
        AS s (schedule, n, at, until, result, author, note, run, workflow, key, input, digest, queue, partition, priority)
    LOOP
        of_schedule := step.schedule;
        entry := step.n;
        started := NULL;
        IF step.run IS NOT NULL THEN
            SELECT s.run_id INTO started FROM troth_schema.start_run(p_id => step.run, p_workflow => step.workflow,
                p_key => step.key, p_input => step.input, p_digest => step.digest,
                p_starts_at => extract(epoch FROM clock_timestamp())::float8, p_queue => step.queue,
                p_partition => step.partition, p_priority => step.priority) s;
        END IF;
        INSERT INTO troth_schema.schedule_firing (schedule, n, at, until, result, run, by, note)
        VALUES (step.schedule, step.n, step.at, step.until, step.result, started, step.author, step.note);
        RETURN NEXT;
    END LOOP;
END $$;
