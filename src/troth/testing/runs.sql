-- What a virtual clock must know of the runs of a schema.

-- name: next_due
-- When the next run that nobody has in memory is due.
SELECT extract(epoch FROM min(r.wake_at))::float8 FROM troth_schema.run r
WHERE r.owner IS NULL AND r.wake_at < 'infinity' AND r.state IN ('ready', 'running', 'waiting', 'undoing')

-- name: drop
DROP SCHEMA IF EXISTS troth_schema CASCADE
