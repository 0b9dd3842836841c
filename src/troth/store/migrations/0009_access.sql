-- Who may: people and machines, how they prove who they are, and what was decided.
--
--   person          people, by address                          (read at each log-in, written when something changes)
--   session         who is logged in                            (a row each; seen at most once a minute)
--   login_throttle  failed log-ins by address, by client, by both (a row each; forgotten when they have leaked away)
--   known_client    from where a person has logged in
--   api_key         keys of machines                            (a row each; used at most once a minute)
--   policy_set      the policies that decisions were made with, as they were
--   decision        what was decided: append-only
--   access_act      what operators did to people, sessions and keys: append-only
--
-- Of every secret only its hash is here.

CREATE TABLE troth_schema.person (
    id           uuid PRIMARY KEY,
    email        text NOT NULL UNIQUE,           -- normalised
    password     text,                           -- argon2id, in PHC form; null: logs in by other means
    tenant       text,
    groups       text[] NOT NULL DEFAULT '{}',
    attributes   jsonb NOT NULL DEFAULT '{}',    -- as Cedar's JSON
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at  timestamptz
);

CREATE TABLE troth_schema.session (
    id          uuid PRIMARY KEY,
    token       bytea NOT NULL UNIQUE,           -- SHA-256 of the token
    person      uuid NOT NULL REFERENCES troth_schema.person ON DELETE CASCADE,
    client      text,                            -- where it began: to recognise it in a list
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),  -- to the minute
    idle_s      double precision NOT NULL,       -- it ends when nobody was seen for so long ...
    expires_at  timestamptz NOT NULL             -- ... and here in any case
) WITH (fillfactor = 80);
CREATE INDEX session_person ON troth_schema.session (person);
CREATE INDEX session_expires ON troth_schema.session (expires_at);

CREATE TABLE troth_schema.login_throttle (
    key            bytea PRIMARY KEY,            -- SHA-256 of what is counted: addresses are not kept here
    failures       double precision NOT NULL,    -- at the time below; they leak away
    at             timestamptz NOT NULL,
    blocked_until  timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX login_throttle_at ON troth_schema.login_throttle (at);

CREATE TABLE troth_schema.known_client (
    person       uuid NOT NULL REFERENCES troth_schema.person ON DELETE CASCADE,
    client       bytea NOT NULL,                 -- SHA-256
    last_at      timestamptz NOT NULL,
    PRIMARY KEY (person, client)
);
CREATE INDEX known_client_last ON troth_schema.known_client (last_at);

CREATE TABLE troth_schema.api_key (
    prefix      text PRIMARY KEY,                -- shown; finds the key
    secret      bytea NOT NULL,                  -- SHA-256 of the secret
    machine     uuid NOT NULL,                   -- the principal; stays when its key is rotated
    name        text NOT NULL,
    owner       uuid REFERENCES troth_schema.person ON DELETE CASCADE,
    tenant      text,
    scopes      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,
    revoked_at  timestamptz,
    used_at     timestamptz                      -- to the minute
) WITH (fillfactor = 80);
CREATE INDEX api_key_machine ON troth_schema.api_key (machine);
CREATE INDEX api_key_owner ON troth_schema.api_key (owner);

CREATE TABLE troth_schema.policy_set (
    digest    bytea PRIMARY KEY,
    policies  text NOT NULL,
    schema    text NOT NULL,
    first_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE troth_schema.decision (
    id              uuid PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    principal_type  text NOT NULL,
    principal_id    text NOT NULL,
    action          text NOT NULL,
    resource_type   text NOT NULL,
    resource_id     text NOT NULL,
    allowed         boolean NOT NULL,
    because         text NOT NULL,               -- permit, forbid, default, scope, error
    policies        text[] NOT NULL,             -- those that decided
    errors          text[] NOT NULL,
    digest          bytea NOT NULL,              -- of the inputs as they are here
    inputs          jsonb NOT NULL,              -- without what is private
    policy_set      bytea NOT NULL,
    CHECK (allowed = (because = 'permit'))
);
CREATE INDEX decision_principal ON troth_schema.decision (principal_id, id);
CREATE INDEX decision_at ON troth_schema.decision USING brin (at);

CREATE TABLE troth_schema.access_act (
    id       uuid PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    by       text NOT NULL,
    note     text,
    what     text NOT NULL,
    subject  text NOT NULL
);

CREATE FUNCTION troth_schema.refuse_rewriting() RETURNS trigger
LANGUAGE plpgsql AS $$
-- Guards against accidents, not against the owner of the table.
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('troth.retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON troth_schema.decision
    FOR EACH ROW EXECUTE FUNCTION troth_schema.refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON troth_schema.access_act
    FOR EACH ROW EXECUTE FUNCTION troth_schema.refuse_rewriting();

CREATE FUNCTION troth_schema.begin_login(
    p_email text, p_keys bytea[],  -- of the address, the client, and both
    p_client bytea, p_free integer[], p_leak_s double precision[], p_first_s double precision[],
    p_cap_s double precision[],
    OUT person uuid, OUT password text, OUT wait_s double precision
)
LANGUAGE plpgsql AS $$
-- Count an attempt as failed before anybody knows, so that no parallel guess is free. wait_s: it may not be made yet, and
-- was not counted. The caller commits before it verifies.
DECLARE
    moment timestamptz;
    known boolean;
    blocked timestamptz;
BEGIN
    INSERT INTO troth_schema.login_throttle AS t (key, failures, at, blocked_until)
    SELECT k, 0, '-infinity', '-infinity' FROM unnest(p_keys) AS k ORDER BY k
    ON CONFLICT (key) DO UPDATE SET failures = t.failures;  -- locks it
    moment := clock_timestamp();
    SELECT p.id, p.password INTO person, password FROM troth_schema.person p
    WHERE p.email = p_email AND p.disabled_at IS NULL;
    known := EXISTS (SELECT 1 FROM troth_schema.known_client c WHERE c.person = begin_login.person AND c.client = p_client);
    -- What strangers did to the address is not held against a client from which its owner has logged in before.
    SELECT max(t.blocked_until) INTO blocked FROM troth_schema.login_throttle t
    WHERE t.key = ANY (CASE WHEN known THEN p_keys[2:3] ELSE p_keys END);
    IF blocked > moment THEN
        wait_s := extract(epoch FROM blocked - moment);
        person := NULL;
        password := NULL;
        RETURN;
    END IF;
    UPDATE troth_schema.login_throttle t
    SET failures = n.count, at = moment,
        blocked_until = CASE WHEN ceil(n.count) >= n.free
            THEN moment + make_interval(secs => least(n.cap_s, n.first_s * power(2, least(ceil(n.count) - n.free, 60))))
            ELSE '-infinity' END
    FROM (
        SELECT x.key, l.free, l.first_s, l.cap_s, 1 + CASE WHEN x.failures = 0 THEN 0
            ELSE greatest(0, x.failures - extract(epoch FROM moment - x.at) / l.leak_s) END AS count
        FROM unnest(p_keys, p_free, p_leak_s, p_first_s, p_cap_s) AS l (key, free, leak_s, first_s, cap_s)
        JOIN troth_schema.login_throttle x ON x.key = l.key) AS n
    WHERE t.key = n.key;
END $$;

CREATE FUNCTION troth_schema.finish_login(
    p_person uuid, p_password text,  -- the hash that was verified
    p_rehashed text, p_keys bytea[], p_client bytea, p_client_free integer, p_session uuid, p_token bytea, p_client_name text,
    p_idle_s double precision, p_lifetime_s double precision, p_replaces bytea,
    OUT tenant text, OUT groups text[], OUT attributes text, OUT expires_at double precision
)
LANGUAGE plpgsql AS $$
-- The password was right: forget the address's failures, begin a session. expires_at is null if the person has been
-- disabled, or the password changed, meanwhile.
DECLARE
    moment timestamptz;
BEGIN
    PERFORM 1 FROM troth_schema.login_throttle t WHERE t.key = ANY (p_keys) ORDER BY t.key FOR UPDATE;
    SELECT p.tenant, p.groups, p.attributes::text INTO tenant, groups, attributes FROM troth_schema.person p
    WHERE p.id = p_person AND p.password = p_password AND p.disabled_at IS NULL FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    moment := clock_timestamp();
    IF p_rehashed IS NOT NULL THEN
        UPDATE troth_schema.person p SET password = p_rehashed WHERE p.id = p_person;
    END IF;
    DELETE FROM troth_schema.login_throttle t WHERE t.key IN (p_keys[1], p_keys[3]);
    UPDATE troth_schema.login_throttle t  -- this one did not fail; the others of this client did
    SET failures = greatest(0, t.failures - 1),
        blocked_until = CASE WHEN t.failures - 1 < p_client_free THEN '-infinity' ELSE t.blocked_until END
    WHERE t.key = p_keys[2];
    INSERT INTO troth_schema.known_client AS c (person, client, last_at) VALUES (p_person, p_client, moment)
    ON CONFLICT (person, client) DO UPDATE SET last_at = EXCLUDED.last_at WHERE c.last_at < EXCLUDED.last_at - interval '1 day';
    DELETE FROM troth_schema.session s WHERE s.token = p_replaces;
    INSERT INTO troth_schema.session AS s (id, token, person, client, created_at, seen_at, idle_s, expires_at)
    VALUES (p_session, p_token, p_person, p_client_name, moment, moment, p_idle_s, moment + make_interval(secs => p_lifetime_s))
    RETURNING extract(epoch FROM s.expires_at) INTO expires_at;
END $$;

CREATE FUNCTION troth_schema.authenticate_session(
    p_token bytea,
    OUT session uuid, OUT person uuid, OUT tenant text, OUT groups text[], OUT attributes text
)
LANGUAGE plpgsql AS $$
-- Whose session this is; nothing if it has ended. Writes at most once a minute, and never waits to do it.
DECLARE
    moment timestamptz := clock_timestamp();
    seen timestamptz;
BEGIN
    SELECT s.id, p.id, p.tenant, p.groups, p.attributes::text, s.seen_at INTO session, person, tenant, groups, attributes, seen
    FROM troth_schema.session s JOIN troth_schema.person p ON p.id = s.person
    WHERE s.token = p_token AND s.expires_at > moment AND s.seen_at + make_interval(secs => s.idle_s) > moment
      AND p.disabled_at IS NULL;
    IF seen < moment - interval '1 minute' AND current_setting('transaction_read_only') = 'off' THEN
        BEGIN
            UPDATE troth_schema.session s SET seen_at = moment
            WHERE s.id = (SELECT x.id FROM troth_schema.session x WHERE x.token = p_token FOR NO KEY UPDATE SKIP LOCKED);
        EXCEPTION WHEN serialization_failure THEN
            NULL;  -- another request of this session has just written it
        END;
    END IF;
END $$;

CREATE FUNCTION troth_schema.authenticate_key(
    p_prefix text, p_secret bytea,
    OUT secret bytea, OUT machine uuid, OUT owner uuid, OUT tenant text, OUT scopes text[]
)
LANGUAGE plpgsql AS $$
-- The key of this prefix, if it is valid; the caller compares the secret. Writes at most once a minute, and never waits.
DECLARE
    moment timestamptz := clock_timestamp();
    used timestamptz;
BEGIN
    SELECT k.secret, k.machine, k.owner, k.tenant, k.scopes, coalesce(k.used_at, '-infinity')
    INTO secret, machine, owner, tenant, scopes, used
    FROM troth_schema.api_key k LEFT JOIN troth_schema.person p ON p.id = k.owner
    WHERE k.prefix = p_prefix AND k.revoked_at IS NULL AND coalesce(k.expires_at > moment, true) AND p.disabled_at IS NULL;
    IF secret = p_secret AND used < moment - interval '1 minute' AND current_setting('transaction_read_only') = 'off' THEN
        BEGIN
            UPDATE troth_schema.api_key k SET used_at = moment
            WHERE k.prefix = (SELECT x.prefix FROM troth_schema.api_key x WHERE x.prefix = p_prefix FOR NO KEY UPDATE SKIP LOCKED);
        EXCEPTION WHEN serialization_failure THEN
            NULL;
        END;
    END IF;
END $$;

CREATE FUNCTION troth_schema.change_person(
    p_person uuid, p_password text, p_groups text[], p_attributes jsonb, p_disabled boolean, OUT existed boolean
)
LANGUAGE plpgsql AS $$
-- Change what is not null, and end all sessions of the person: whoever stays logged in has logged in after the change.
BEGIN
    UPDATE troth_schema.person p
    SET password = coalesce(p_password, p.password), groups = coalesce(p_groups, p.groups),
        attributes = coalesce(p_attributes, p.attributes),
        disabled_at = CASE WHEN p_disabled IS NULL THEN p.disabled_at
                           WHEN p_disabled THEN coalesce(p.disabled_at, clock_timestamp()) END
    WHERE p.id = p_person;
    existed := FOUND;
    DELETE FROM troth_schema.session s WHERE s.person = p_person;
    IF p_password IS NOT NULL THEN
        DELETE FROM troth_schema.known_client c WHERE c.person = p_person;
    END IF;
END $$;

CREATE FUNCTION troth_schema.record_decision(
    p_id uuid, p_principal_type text, p_principal_id text, p_action text, p_resource_type text, p_resource_id text,
    p_allowed boolean, p_because text, p_policies text[], p_errors text[], p_digest bytea, p_inputs text, p_policy_set bytea,
    p_policy_text text, p_schema_text text
) RETURNS void
LANGUAGE plpgsql AS $$
-- Record a decision, once, and the text of its policies if that is not here yet.
BEGIN
    IF p_policy_text IS NOT NULL AND NOT EXISTS (SELECT 1 FROM troth_schema.policy_set s WHERE s.digest = p_policy_set) THEN
        INSERT INTO troth_schema.policy_set (digest, policies, schema) VALUES (p_policy_set, p_policy_text, p_schema_text)
        ON CONFLICT (digest) DO NOTHING;
    END IF;
    INSERT INTO troth_schema.decision (id, principal_type, principal_id, action, resource_type, resource_id, allowed,
                                       because, policies, errors, digest, inputs, policy_set)
    VALUES (p_id, p_principal_type, p_principal_id, p_action, p_resource_type, p_resource_id, p_allowed, p_because,
            p_policies, p_errors, p_digest, p_inputs::jsonb, p_policy_set)
    ON CONFLICT (id) DO NOTHING;
END $$;

CREATE FUNCTION troth_schema.forget_access(p_keep_decisions_s double precision) RETURNS integer
LANGUAGE plpgsql AS $$
-- Delete, in small parts, what nobody can use any more. Returns how many rows.
DECLARE
    part integer;
    total integer := 0;
    moment timestamptz := clock_timestamp();
BEGIN
    PERFORM set_config('troth.retention', 'on', true);
    DELETE FROM troth_schema.session WHERE id IN (
        SELECT s.id FROM troth_schema.session s
        WHERE s.expires_at <= moment LIMIT 1000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS part = ROW_COUNT;
    total := total + part;
    DELETE FROM troth_schema.login_throttle WHERE key IN (  -- after a month everything has leaked away
        SELECT t.key FROM troth_schema.login_throttle t
        WHERE t.at <= moment - interval '31 days' LIMIT 1000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS part = ROW_COUNT;
    total := total + part;
    DELETE FROM troth_schema.known_client WHERE (person, client) IN (
        SELECT c.person, c.client FROM troth_schema.known_client c
        WHERE c.last_at <= moment - interval '180 days' LIMIT 1000 FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS part = ROW_COUNT;
    total := total + part;
    IF p_keep_decisions_s IS NOT NULL THEN
        DELETE FROM troth_schema.decision WHERE id IN (
            SELECT d.id FROM troth_schema.decision d
            WHERE d.at <= moment - make_interval(secs => p_keep_decisions_s) LIMIT 1000 FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS part = ROW_COUNT;
        total := total + part;
    END IF;
    PERFORM set_config('troth.retention', 'off', true);
    RETURN total;
END $$;

CREATE FUNCTION troth_schema.protect_tenants(p_table text, p_column text, p_apply boolean) RETURNS text
LANGUAGE plpgsql AS $$
-- The statements that isolate tenants in a table; carried out, if p_apply. The restrictive policy holds whatever other
-- policies permit; the permissive one is there because without any nobody sees anything.
DECLARE
    target regclass := p_table::regclass;
    kind text;
    rule text;
    script text := '';
    line text;
BEGIN
    SELECT format_type(a.atttypid, a.atttypmod) INTO kind FROM pg_attribute a
    WHERE a.attrelid = target AND a.attname = p_column AND NOT a.attisdropped AND a.attnum > 0;
    IF kind IS NULL THEN
        RAISE EXCEPTION '% has no column %', p_table, p_column USING ERRCODE = 'undefined_column';
    END IF;
    rule := format('(%I = nullif(current_setting(''troth.tenant'', true), '''')::%s)', p_column, kind);
    FOREACH line IN ARRAY ARRAY[
        format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target),
        format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target),
        format('DROP POLICY IF EXISTS troth_tenant ON %s', target),
        format('DROP POLICY IF EXISTS troth_tenant_rows ON %s', target),
        format('CREATE POLICY troth_tenant ON %s AS RESTRICTIVE FOR ALL TO PUBLIC USING %s WITH CHECK %s', target, rule, rule),
        format('CREATE POLICY troth_tenant_rows ON %s FOR ALL TO PUBLIC USING %s WITH CHECK %s', target, rule, rule)]
    LOOP
        IF p_apply THEN
            EXECUTE line;
        END IF;
        script := script || line || E';\n';
    END LOOP;
    RETURN script;
END $$;
