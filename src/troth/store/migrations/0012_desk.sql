-- The desk: what people did to what troth keeps, and what must hold before they may.
--
--   operator_act    who did what to what, with which role, from where      (append-only)
--   act_rule        acts that need more than one person                    (a row each; without one, one person is enough)
--   act_proposal    acts that wait for a second person                     (deleted when they happen, are withdrawn or void)
--   attention_note  who looks after a run in attention, and what they say
--
-- Acts of operators are written here alone: `access_act` goes, and `outbox_act`, too. The inbox and schedules keep with
-- their own rows who put an event back or paused a schedule, because they show it there.
--
-- A note is about one stay in attention: a run that comes back was claimed meanwhile, so its claim number is another, and
-- a note counts only while that is the same. Nothing has to watch runs for it.

CREATE TABLE troth_schema.operator_act (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    by           text NOT NULL,
    role         text,                           -- null: a program, whose acts nobody checks
    via          text NOT NULL,
    act          text NOT NULL,
    about        text NOT NULL,
    details      jsonb NOT NULL DEFAULT '{}',    -- without what may be confidential
    note         text,
    outcome      text NOT NULL,
    agrees_with  text,                           -- who proposed what this one did
    result       jsonb,                          -- what came of it, where that is not plain
    CHECK (role IN ('viewer', 'operator', 'admin')),
    CHECK (via IN ('cli', 'console', 'program')),
    CHECK (outcome IN ('done', 'proposed', 'refused'))
);
CREATE INDEX operator_act_about ON troth_schema.operator_act (about, id);
CREATE INDEX operator_act_by ON troth_schema.operator_act (by, id);
CREATE INDEX operator_act_act ON troth_schema.operator_act (act, id);
CREATE INDEX operator_act_at ON troth_schema.operator_act USING brin (at);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON troth_schema.operator_act
    FOR EACH ROW EXECUTE FUNCTION troth_schema.refuse_rewriting();
CREATE TRIGGER not_truncated BEFORE TRUNCATE ON troth_schema.operator_act
    FOR EACH STATEMENT EXECUTE FUNCTION troth_schema.refuse_rewriting();

CREATE TABLE troth_schema.act_rule (
    act   text PRIMARY KEY,
    eyes  smallint NOT NULL CHECK (eyes BETWEEN 1 AND 2)
);

CREATE TABLE troth_schema.act_proposal (
    id       bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    act      text NOT NULL,
    about    text NOT NULL,
    content  bytea NOT NULL,                     -- a digest of the details, all of them
    details  bytea NOT NULL,                     -- JSON; with what may be confidential, for as long as it waits
    by       text NOT NULL,
    note     text,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    until    timestamptz NOT NULL,
    PRIMARY KEY (act, about, content)
);
CREATE INDEX act_proposal_until ON troth_schema.act_proposal (until);

CREATE TABLE troth_schema.attention_note (
    run_id      uuid PRIMARY KEY,
    claim       integer NOT NULL,                -- it counts while the run is in attention with this claim number
    claimed_by  text,
    claimed_at  timestamptz,
    note        text,
    noted_by    text,
    noted_at    timestamptz
);

-- What was recorded elsewhere until now.

INSERT INTO troth_schema.operator_act (at, by, via, act, about, note, outcome)
SELECT a.at, a.by, 'cli',
       CASE a.what WHEN 'create key' THEN 'access.key.create' WHEN 'rotate key' THEN 'access.key.rotate'
           WHEN 'revoke key' THEN 'access.key.revoke' WHEN 'add person' THEN 'access.person.add'
           WHEN 'disable person' THEN 'access.person.disable' WHEN 'end session' THEN 'access.session.end'
           ELSE a.what END,
       a.subject, a.note, 'done'
FROM troth_schema.access_act a ORDER BY a.at;

INSERT INTO troth_schema.operator_act (at, by, via, act, about, note, outcome, result)
SELECT a.at, a.by, 'program',
       CASE a.act WHEN 'resend' THEN 'outbox.resend' ELSE 'outbox.endpoint.' || a.act END,
       coalesce(a.endpoint::text, a.messages[1]::text, 'dead letters'), a.note, 'done',
       CASE WHEN a.act = 'resend' THEN jsonb_build_object('messages', a.messages) END
FROM troth_schema.outbox_act a ORDER BY a.id;

DROP TABLE troth_schema.access_act;
DROP TABLE troth_schema.outbox_act;

DROP FUNCTION troth_schema.outbox_resend(uuid, uuid, timestamptz, text, text);
DROP FUNCTION troth_schema.outbox_switch(uuid, text, text, text);

CREATE FUNCTION troth_schema.outbox_resend(p_message uuid, p_endpoint uuid, p_since timestamptz) RETURNS uuid[]
LANGUAGE plpgsql AS $$
-- Send again: all deliveries of one message, or dead ones of an endpoint or of a time; the message of each of them. Who
-- said so is recorded by the caller.
DECLARE
    again bigint[];
BEGIN
    SELECT array_agg(o.id) INTO again FROM (
        SELECT d.id FROM troth_schema.outbox_delivery d
        LEFT JOIN troth_schema.outbox_endpoint e ON e.id = d.endpoint
        WHERE (p_message IS NULL OR d.message = p_message)
          AND (p_endpoint IS NULL OR d.endpoint = p_endpoint)
          AND (p_since IS NULL OR d.ended_at >= p_since)
          AND (d.state = 'dead' OR (p_message IS NOT NULL AND d.state IN ('in_doubt', 'delivered')))
          AND e.removed_at IS NULL
        ORDER BY d.id FOR UPDATE OF d) o;
    IF again IS NULL THEN
        RETURN '{}';
    END IF;
    UPDATE troth_schema.outbox_delivery d
    SET state = 'pending', held = NULL, tries = 0, next_at = clock_timestamp(), ended_at = NULL WHERE d.id = ANY (again);
    PERFORM pg_notify('troth_schema' || '.outbox', '');
    RETURN (SELECT array_agg(d.message ORDER BY d.id) FROM troth_schema.outbox_delivery d WHERE d.id = ANY (again));
END $$;

CREATE FUNCTION troth_schema.outbox_switch(p_endpoint uuid, p_act text, p_by text) RETURNS boolean
LANGUAGE plpgsql AS $$
-- Enable, disable or remove an endpoint; false if there is none. What waits goes out when it is enabled, in order, each
-- with all its tries before it; what waits when it is removed is dropped. Who said so is recorded by the caller.
BEGIN
    UPDATE troth_schema.outbox_endpoint e
    SET disabled_at = CASE WHEN p_act = 'enable' THEN NULL ELSE coalesce(e.disabled_at, clock_timestamp()) END,
        disabled_because = CASE WHEN p_act <> 'enable' THEN coalesce(e.disabled_because, p_act || 'd by ' || p_by) END,
        failing_since = CASE WHEN p_act <> 'enable' THEN e.failing_since END,
        removed_at = CASE WHEN p_act = 'remove' THEN clock_timestamp() END
    WHERE e.id = p_endpoint AND e.removed_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_act = 'enable' THEN
        UPDATE troth_schema.outbox_delivery d SET held = NULL, tries = 0, next_at = clock_timestamp()
        WHERE d.target = p_endpoint::text AND d.state = 'pending' AND d.held IS DISTINCT FROM 'leased';
        PERFORM pg_notify('troth_schema' || '.outbox', '');
    ELSIF p_act = 'remove' THEN
        UPDATE troth_schema.outbox_delivery d SET state = 'dropped', held = NULL, ended_at = clock_timestamp()
        WHERE d.target = p_endpoint::text AND d.state = 'pending';
    END IF;
    RETURN true;
END $$;
