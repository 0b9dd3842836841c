-- Time in a test's schema. Functions of troth and of the user that ask for the time find these first: they are in a
-- schema that the connections of the test have before pg_catalog in their search_path.

-- name: make_time
CREATE SCHEMA troth_schema;
CREATE TABLE troth_schema.ahead (by interval NOT NULL);
INSERT INTO troth_schema.ahead VALUES ('0');
CREATE FUNCTION troth_schema.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + a.by FROM troth_schema.ahead a';
CREATE FUNCTION troth_schema.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT pg_catalog.statement_timestamp() + a.by FROM troth_schema.ahead a';
CREATE FUNCTION troth_schema.transaction_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT pg_catalog.transaction_timestamp() + a.by FROM troth_schema.ahead a';
CREATE FUNCTION troth_schema.now() RETURNS timestamptz LANGUAGE sql STABLE AS
    'SELECT pg_catalog.now() + a.by FROM troth_schema.ahead a'

-- name: now
SELECT extract(epoch FROM troth_schema.clock_timestamp())::float8

-- name: move
-- Move the time to a moment, never back.
UPDATE troth_schema.ahead SET by = greatest(by, to_timestamp(%s) - pg_catalog.clock_timestamp())

-- name: drop
DROP SCHEMA troth_schema CASCADE
