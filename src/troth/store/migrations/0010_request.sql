-- Idempotent requests: what was answered to a key.
--
--   request   what was asked under a key, as digests, and what was answered   (deleted when it has expired)

CREATE TABLE troth_schema.request (
    id          bytea PRIMARY KEY,              -- digest of name, caller, method, route and key; random without a key
    name        text NOT NULL,                  -- of the Requests that it came through
    caller      text NOT NULL,
    method      text NOT NULL,
    route       text NOT NULL,
    key         text,                           -- null: there was none, and the row is here for its run
    salt        bytea NOT NULL,
    parts       bytea NOT NULL,                 -- {"body.plan": digest under the salt, …}: what must be the same again
    status      smallint,                       -- null: the run has not been answered for yet
    headers     bytea,
    body        bytea,
    run_id      uuid,                           -- the operation that the answer is about
    render      text,                           -- who words its answer
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    CHECK (status IS NOT NULL OR run_id IS NOT NULL)
);
CREATE INDEX request_expires ON troth_schema.request (expires_at);
CREATE INDEX request_run ON troth_schema.request (run_id) WHERE run_id IS NOT NULL;


CREATE FUNCTION troth_schema.request_goes_on(p_run uuid, p_status smallint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    -- Nobody has been told how its run ended, because it has not: then the key is not forgotten, however old it is.
    SELECT p_run IS NOT NULL AND p_status IS NULL AND EXISTS (
        SELECT 1 FROM troth_schema.run r WHERE r.id = (SELECT troth_schema.latest(p_run)))
$$;

CREATE FUNCTION troth_schema.admit_request(p_id bytea, p_lock bigint)
RETURNS TABLE (verdict text, salt bytea, parts bytea, status smallint, headers bytea, body bytea, run_id uuid, render text)
LANGUAGE plpgsql AS $$
-- The first statement of a request's transaction. Its lock lasts until the end of that, and is tried before the look:
-- who has the lock and sees no answer is alone with this key. Nobody waits here.
DECLARE
    alone boolean := pg_try_advisory_xact_lock(p_lock);
    known troth_schema.request;
BEGIN
    SELECT * INTO known FROM troth_schema.request q WHERE q.id = p_id;
    IF FOUND AND known.expires_at <= clock_timestamp()
       AND NOT troth_schema.request_goes_on(known.run_id, known.status) THEN
        IF alone THEN
            DELETE FROM troth_schema.request q WHERE q.id = p_id;
        END IF;
        known := NULL;
    END IF;
    IF known.id IS NOT NULL THEN
        RETURN QUERY SELECT 'known', known.salt, known.parts, known.status, known.headers, known.body,
                            known.run_id, known.render;
    ELSE
        RETURN QUERY SELECT CASE WHEN alone THEN 'fresh' ELSE 'busy' END, NULL::bytea, NULL::bytea, NULL::smallint,
                            NULL::bytea, NULL::bytea, NULL::uuid, NULL::text;
    END IF;
END $$;

CREATE FUNCTION troth_schema.settle_request(p_id bytea, p_status smallint, p_headers bytea, p_body bytea)
RETURNS TABLE (status smallint, headers bytea, body bytea)
LANGUAGE plpgsql AS $$
-- The final answer about a run. The first one that is stored is the answer for ever.
BEGIN
    UPDATE troth_schema.request q SET status = p_status, headers = p_headers, body = p_body
    WHERE q.id = p_id AND q.status IS NULL;
    RETURN QUERY SELECT q.status, q.headers, q.body FROM troth_schema.request q WHERE q.id = p_id;
END $$;

CREATE FUNCTION troth_schema.purge_requests(p_limit integer) RETURNS integer
LANGUAGE plpgsql AS $$
-- Forget some of what has expired; how many. What must be kept is looked at again in an hour.
DECLARE
    due bytea[];
    gone integer;
BEGIN
    due := ARRAY(SELECT q.id FROM troth_schema.request q WHERE q.expires_at <= clock_timestamp()
                 ORDER BY q.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    UPDATE troth_schema.request q SET expires_at = clock_timestamp() + interval '1 hour'
    WHERE q.id = ANY (due) AND troth_schema.request_goes_on(q.run_id, q.status);
    DELETE FROM troth_schema.request q WHERE q.id = ANY (due) AND q.expires_at <= clock_timestamp();
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;
