-- Pulses: each statement is one row with a text that is another one when something has changed.

-- name: tables
-- Of some tables: how many rows were ever written, by the server's own counters.
SELECT coalesce(sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid)), 0)::text
FROM pg_class c WHERE c.relnamespace = %(schema)s::text::regnamespace AND c.relname = ANY (%(tables)s)

-- name: runs
-- Of runs: the newest that has ended, how the newest that are alive stand, and the counters for all the others.
SELECT concat_ws('/',
    (SELECT h.id FROM troth_schema.run_history h ORDER BY h.id DESC LIMIT 1),
    (SELECT concat(count(*), ':', sum(hashtext(concat_ws(',', s.id, s.state, s.claim, s.owner, s.reason))::bigint))
     FROM (SELECT r.id, r.state, r.claim, r.owner, r.reason FROM troth_schema.run r ORDER BY r.id DESC LIMIT 2000) s),
    (SELECT sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid))
     FROM pg_class c WHERE c.relnamespace = %(schema)s::text::regnamespace AND c.relname = ANY (%(tables)s)))

-- name: of_run
-- Of one run: how it stands, and the latest of its journal, of its messages and of its children.
SELECT concat_ws('/',
    (SELECT concat_ws(',', r.state, r.claim, r.owner, r.wake_at, r.reason) FROM troth_schema.run r WHERE r.id = %(id)s),
    (SELECT h.ended_at FROM troth_schema.run_history h WHERE h.id = %(id)s),
    (SELECT concat(count(*), ':', max(j.at)) FROM troth_schema.journal j WHERE j.run_id = %(id)s),
    (SELECT concat(count(*), ':', max(m.id::text)) FROM troth_schema.message m WHERE m.run_id = %(id)s),
    (SELECT count(*) FROM troth_schema.run c WHERE c.parent = %(id)s))
