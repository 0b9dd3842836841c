-- What was decided about access.

-- name: lines
-- A page, the latest first, among so many that are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT d.id, d.at, d.principal_type, d.principal_id, d.action, d.resource_type, d.resource_id, d.allowed, d.because, d.policies
    FROM troth_schema.decision d WHERE d.id < %(before)s AND d.id >= troth_schema.first_id(%(since)s)
    ORDER BY d.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE (%(action)s::text IS NULL OR l.action = %(action)s)
      AND (%(resource)s::text IS NULL OR l.resource_id = %(resource)s)
      AND (%(allowed)s::bool IS NULL OR l.allowed = %(allowed)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, m.id, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8, m.principal_type, m.principal_id,
       m.action, m.resource_type, m.resource_id, m.allowed, m.because, m.policies
FROM (SELECT count(*) OVER () AS n, l.id FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: of_principal
-- The same, of one principal, which has an index.
WITH looked_at AS MATERIALIZED (
    SELECT d.id, d.at, d.principal_type, d.principal_id, d.action, d.resource_type, d.resource_id, d.allowed, d.because, d.policies
    FROM troth_schema.decision d
    WHERE d.principal_id = %(principal)s AND d.id < %(before)s AND d.id >= troth_schema.first_id(%(since)s)
    ORDER BY d.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE (%(action)s::text IS NULL OR l.action = %(action)s)
      AND (%(resource)s::text IS NULL OR l.resource_id = %(resource)s)
      AND (%(allowed)s::bool IS NULL OR l.allowed = %(allowed)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, m.id, m.at, greatest(0, extract(epoch FROM clock_timestamp() - m.at))::float8, m.principal_type, m.principal_id,
       m.action, m.resource_type, m.resource_id, m.allowed, m.because, m.policies
FROM (SELECT count(*) OVER () AS n, l.id FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: one
-- One decision, with what was known if that is asked for.
SELECT d.id, d.at, greatest(0, extract(epoch FROM clock_timestamp() - d.at))::float8, d.principal_type, d.principal_id,
       d.action, d.resource_type, d.resource_id, d.allowed, d.because, d.policies, d.errors, encode(d.digest, 'hex'),
       encode(d.policy_set, 'hex'), octet_length(d.inputs::text),
       CASE WHEN %(payloads)s THEN convert_to(left(d.inputs::text, %(most)s), 'UTF8') END, s.first_at
FROM troth_schema.decision d LEFT JOIN troth_schema.policy_set s ON s.digest = d.policy_set
WHERE d.id = %(id)s LIMIT 1

-- name: inputs
-- What was known when one decision was made: its size, and its beginning.
SELECT octet_length(d.inputs::text), substring(convert_to(d.inputs::text, 'UTF8') FROM 1 FOR %(most)s)
FROM troth_schema.decision d WHERE d.id = %(id)s LIMIT 1
