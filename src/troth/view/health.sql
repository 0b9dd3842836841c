-- How the server, the schema and its tables are. What an ordinary user may not see is null.

-- name: server
-- The server, what it was told, and how many connections it has.
SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_postmaster_start_time(),
       extract(epoch FROM clock_timestamp())::float8, current_database(), pg_database_size(current_database()),
       pg_is_in_recovery(), current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.backend_type = 'client backend'),
       (SELECT count(*) FROM pg_stat_activity a WHERE a.backend_type = 'client backend' AND a.application_name LIKE 'troth%%'),
       age(d.datfrozenxid)::bigint
FROM pg_database d WHERE d.datname = current_database() LIMIT 1

-- name: clock
-- What time it is there, in seconds since 1970.
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: settings
-- Settings that promises and speed depend on, as sessions of this role begin: not what this one has set for itself.
SELECT s.name, s.reset_val, s.unit, s.source FROM pg_settings s WHERE s.name = ANY (%(names)s) ORDER BY s.name LIMIT 100

-- name: tables
-- The tables of the schema, partitions by themselves: sizes in bytes, rows as the statistics have them.
SELECT c.relname, p.relname, pg_total_relation_size(c.oid), pg_indexes_size(c.oid), greatest(0, c.reltuples)::bigint,
       s.n_live_tup, s.n_dead_tup, s.last_vacuum, s.last_autovacuum,
       CASE WHEN greatest(s.last_vacuum, s.last_autovacuum) IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum))) END::float8,
       s.last_autoanalyze, coalesce('autovacuum_enabled=false' = ANY (c.reloptions), false)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE n.nspname = 'troth_schema' AND c.relkind = 'r'
ORDER BY c.relname LIMIT %(limit)s

-- name: weeks
-- The weeks of history there are: the first, the last, how many; for how many seconds the last reaches ahead.
SELECT min(w.week), max(w.week) + interval '7 days', count(*),
       extract(epoch FROM max(w.week) + interval '7 days' - clock_timestamp())::float8,
       extract(epoch FROM clock_timestamp() - min(w.week))::float8,
       bool_or(w.week <= now() AND now() < w.week + interval '7 days')
FROM (SELECT to_date(right(c.relname, 7), 'IYYY"w"IW')::timestamp AT TIME ZONE 'UTC' AS week
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = to_regclass('troth_schema.journal') LIMIT %(limit)s) w

-- name: forgotten
-- When history was last forgotten on request.
SELECT max(a.at), extract(epoch FROM clock_timestamp() - max(a.at))::float8
FROM (SELECT o.at FROM troth_schema.operator_act o WHERE o.act = 'db.retain' AND o.outcome = 'done'
      ORDER BY o.id DESC LIMIT 1) a

-- name: slow
-- What other sessions of this database have been at for long: statements, and transactions that do nothing.
SELECT a.pid, a.usename::text, a.application_name, a.state,
       CASE WHEN a.xact_start IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - a.xact_start)) END::float8,
       CASE WHEN a.state_change IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - a.state_change)) END::float8,
       CASE WHEN a.query_start IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - a.query_start)) END::float8,
       a.wait_event_type, a.wait_event, left(a.query, 500)
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND (a.state = 'active' AND a.query_start < clock_timestamp() - make_interval(secs => %(running_s)s)
       OR a.state LIKE 'idle in transaction%%' AND a.state_change < clock_timestamp() - make_interval(secs => %(idle_s)s))
ORDER BY a.xact_start NULLS LAST LIMIT %(limit)s

-- name: snapshots
-- What keeps dead rows from being removed: old transactions, prepared ones, replication slots and standbys.
SELECT h.kind, h.what, h.xids, h.age_s FROM (
    SELECT 'transaction' AS kind, 'pid ' || a.pid || coalesce(' of ' || nullif(a.application_name, ''), '') AS what,
           age(a.backend_xmin)::bigint AS xids,
           CASE WHEN a.xact_start IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - a.xact_start)) END::float8 AS age_s
    FROM pg_stat_activity a  -- what other databases look at keeps none of these rows
    WHERE a.datname = current_database() AND a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
    UNION ALL
    SELECT 'prepared transaction', x.gid, age(x.transaction)::bigint,
           CASE WHEN x.prepared IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - x.prepared)) END::float8
    FROM pg_prepared_xacts x WHERE x.database = current_database()
    UNION ALL
    SELECT 'replication slot', s.slot_name::text || CASE WHEN s.active THEN '' ELSE ' (nobody reads it)' END,
           greatest(age(s.xmin), age(s.catalog_xmin))::bigint, NULL
    FROM pg_replication_slots s
) h ORDER BY h.age_s DESC NULLS LAST, h.xids DESC NULLS LAST LIMIT %(limit)s

-- name: has_statistics
-- Are statistics of statements collected, and in reach?
SELECT to_regclass('pg_stat_statements') IS NOT NULL AND current_setting('pg_stat_statements.max', true) IS NOT NULL

-- name: statements
-- The statements on this schema that have taken most time since the statistics were reset; milliseconds.
SELECT left(s.query, 500), s.calls, s.mean_exec_time, s.max_exec_time, s.total_exec_time
FROM pg_stat_statements s
WHERE s.dbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND s.query LIKE '%%troth_schema.%%'
ORDER BY s.total_exec_time DESC LIMIT %(limit)s
