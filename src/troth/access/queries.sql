-- People, sessions, keys, decisions. What must be decided under a lock is in SQL functions of the migration.

-- name: add_person
-- A new person, unless the address is taken.
INSERT INTO troth_schema.person (id, email, password, tenant, groups, attributes)
VALUES (%s, %s, %s, %s, %s::text[], %s::text::jsonb)
ON CONFLICT (email) DO NOTHING RETURNING id

-- name: change_person
-- Change a person and end their sessions.
SELECT existed FROM troth_schema.change_person(%s, %s::text, %s::text[], %s::text::jsonb, %s::boolean)

-- name: remove_person
-- Forget a person, with sessions, keys they own and known clients; decisions about them stay.
DELETE FROM troth_schema.person p WHERE p.id = %s RETURNING p.id

-- name: find_person
-- A person by address.
SELECT p.id, p.email, p.tenant, p.groups, p.attributes::text, p.disabled_at IS NOT NULL
FROM troth_schema.person p WHERE p.email = %s

-- name: address_of
-- The address of a person.
SELECT p.email FROM troth_schema.person p WHERE p.id = %s

-- name: begin_login
-- Count an attempt, and find the hash to verify.
SELECT person, password, wait_s
FROM troth_schema.begin_login(%s, %s::bytea[], %s, %s::integer[], %s::float8[], %s::float8[], %s::float8[])

-- name: finish_login
-- Begin a session.
SELECT tenant, groups, attributes, expires_at
FROM troth_schema.finish_login(%s, %s, %s::text, %s::bytea[], %s, %s, %s, %s, %s::text, %s, %s, %s::bytea)

-- name: start_session
-- A session for a person who has been recognised by other means.
WITH p AS (
    SELECT x.id, x.tenant, x.groups, x.attributes FROM troth_schema.person x
    WHERE x.id = %s AND x.disabled_at IS NULL FOR NO KEY UPDATE
), s AS (
    INSERT INTO troth_schema.session (id, token, person, client, idle_s, expires_at)
    SELECT %s, %s, p.id, %s::text, %s, clock_timestamp() + make_interval(secs => %s) FROM p RETURNING expires_at
)
SELECT p.tenant, p.groups, p.attributes::text, extract(epoch FROM s.expires_at)::float8 FROM p CROSS JOIN s

-- name: authenticate_session
-- Whose session a token is.
SELECT session, person, tenant, groups, attributes FROM troth_schema.authenticate_session(%s)

-- name: authenticate_key
-- Whose key a prefix is.
SELECT secret, machine, owner, tenant, scopes FROM troth_schema.authenticate_key(%s, %s)

-- name: renew_session
-- Another token for a session that is valid; its end stays the same.
UPDATE troth_schema.session s SET token = %s, seen_at = clock_timestamp()
WHERE s.token = %s AND s.expires_at > clock_timestamp()
  AND s.seen_at + make_interval(secs => s.idle_s) > clock_timestamp()
RETURNING s.id

-- name: end_session
-- End the session of a token.
DELETE FROM troth_schema.session WHERE token = %s RETURNING id

-- name: end_session_by_id
-- End a session that was found in a list.
DELETE FROM troth_schema.session WHERE id = %s RETURNING id

-- name: end_sessions
-- Log a person out everywhere.
DELETE FROM troth_schema.session WHERE person = %s RETURNING id

-- name: list_sessions
-- Sessions that have not ended, the last seen first; of one person, if one is named.
SELECT s.id, p.email, s.client, s.created_at, s.seen_at, s.expires_at
FROM troth_schema.session s JOIN troth_schema.person p ON p.id = s.person
WHERE (%(email)s::text IS NULL OR p.email = %(email)s) AND s.expires_at > clock_timestamp()
  AND s.seen_at + make_interval(secs => s.idle_s) > clock_timestamp()
ORDER BY s.seen_at DESC LIMIT %(limit)s

-- name: add_key
-- A new key, unless its prefix is taken.
INSERT INTO troth_schema.api_key (prefix, secret, machine, name, owner, tenant, scopes, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s::text[], clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (prefix) DO NOTHING RETURNING machine, scopes

-- name: rotate_key
-- A second key for the same machine; the first one ends after the overlap.
WITH old AS (
    UPDATE troth_schema.api_key k
    SET expires_at = least(k.expires_at, clock_timestamp() + make_interval(secs => %(overlap)s))
    WHERE k.prefix = %(old)s AND k.revoked_at IS NULL AND coalesce(k.expires_at > clock_timestamp(), true)
    RETURNING k.machine, k.name, k.owner, k.tenant, k.scopes
)
INSERT INTO troth_schema.api_key (prefix, secret, machine, name, owner, tenant, scopes, expires_at)
SELECT %(prefix)s, %(secret)s, o.machine, o.name, o.owner, o.tenant, o.scopes,
       clock_timestamp() + make_interval(secs => %(lifetime)s)
FROM old o RETURNING machine, scopes

-- name: revoke_key
-- A key is not valid from now on.
UPDATE troth_schema.api_key SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE prefix = %s RETURNING machine

-- name: list_keys
-- Keys, the newest first.
SELECT k.prefix, k.name, k.machine, p.email, k.tenant, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.used_at
FROM troth_schema.api_key k LEFT JOIN troth_schema.person p ON p.id = k.owner
ORDER BY k.created_at DESC LIMIT %s

-- name: record_decision
-- Record a decision.
SELECT troth_schema.record_decision(%s::uuid, %s, %s, %s, %s, %s, %s, %s, %s::text[], %s::text[], %s::bytea, %s, %s::bytea, %s, %s)

-- name: decision
-- A decision, and the policies of that time.
SELECT d.id, d.at, d.principal_type, d.principal_id, d.action, d.resource_type, d.resource_id, d.because, d.policies,
       d.errors, d.inputs::text, d.digest, s.policies, s.schema
FROM troth_schema.decision d LEFT JOIN troth_schema.policy_set s ON s.digest = d.policy_set
WHERE d.id = %s

-- name: last_decision
-- The last decision about a principal, an action and a resource; the latter two may be left open.
SELECT d.id FROM troth_schema.decision d
WHERE d.principal_id = %(principal)s AND (%(action)s::text IS NULL OR d.action = %(action)s)
  AND (%(resource)s::text IS NULL OR d.resource_id = %(resource)s)
ORDER BY d.id DESC LIMIT 1

-- name: forget
-- Delete what nobody can use any more.
SELECT troth_schema.forget_access(%s::float8)

-- name: protect
-- The statements that isolate tenants in a table; carried out, if the last argument says so.
SELECT troth_schema.protect_tenants(%s, %s, %s)

-- name: as_tenant
-- Act for a tenant, and as a role (null: as the present one), until the transaction ends.
SELECT set_config('troth.tenant', %(tenant)s, true), set_config('role', coalesce(%(role)s::text, current_setting('role')), true)

-- name: bypass
-- Whether a role sees through row-level security.
SELECT r.rolname, r.rolsuper, r.rolbypassrls FROM pg_roles r WHERE r.rolname = coalesce(%s::text, current_user)

-- name: unprotected
-- Tables with a column of that name in which tenants are not isolated, and why not.
SELECT n.nspname || '.' || c.relname,
       CASE WHEN NOT c.relrowsecurity THEN 'row-level security is not enabled'
            WHEN NOT c.relforcerowsecurity THEN 'row-level security does not hold for its owner (FORCE)'
            ELSE 'the policy troth_tenant is missing or weaker than it was' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p')
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (
      SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'troth_tenant' AND NOT p.polpermissive
        AND p.polcmd = '*' AND p.polroles = '{0}' AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL
        AND strpos(pg_get_expr(p.polqual, p.polrelid), 'current_setting(''troth.tenant''') > 0
        AND pg_get_expr(p.polqual, p.polrelid) = pg_get_expr(p.polwithcheck, p.polrelid)))
ORDER BY 1
