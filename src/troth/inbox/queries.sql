-- Events from other systems. What works on several rows at once is a function of the migration.

-- name: accept
-- Take an event in, once.
SELECT outcome, stands FROM troth_schema.inbox_accept(%(source)s, %(event)s, %(type)s, %(object)s, %(created)s, %(version)s,
    %(found_by)s, %(verified_by)s, %(digest)s, %(headers)s, %(body)s)

-- name: claim
-- Hold an object, and read its event whose turn it is.
SELECT c.object, c.wait_s, c.head, c.type, c.created_at, c.version, c.body, c.headers, c.received_at, c.found_by,
       c.failures, c.parks, c.parked_s, c.overtaken
FROM troth_schema.inbox_claim(%(source)s, %(object)s, %(idle_s)s) c

-- name: fetching
-- Somebody asks the provider for this object: others need not, for a while.
UPDATE troth_schema.inbox_object o SET fetching_until = clock_timestamp() + make_interval(secs => %(for_s)s)
WHERE o.source = %(source)s AND o.object_key = %(object)s

-- name: settle
-- What became of an event.
SELECT troth_schema.inbox_settle(%(source)s, %(object)s, %(event)s, %(failures)s, %(parks)s, %(state)s, %(reason)s, %(wait_s)s,
    %(new_failures)s, %(new_parks)s, %(blocks)s)

-- name: before_handler
-- To come back to when the handler fails: its work is undone, and the object still held.
SAVEPOINT troth_inbox

-- name: undo_handler
-- Undo what the handler did.
ROLLBACK TO SAVEPOINT troth_inbox

-- name: begin_sweep
-- Let one process read the provider's list; without a row, it is somebody else's turn, or too early.
INSERT INTO troth_schema.inbox_sweep AS s (source, turn, due_at)
VALUES (%(source)s, 1, clock_timestamp() + make_interval(secs => %(lease_s)s))
ON CONFLICT (source) DO UPDATE SET turn = s.turn + 1, due_at = excluded.due_at WHERE s.due_at <= clock_timestamp()
RETURNING s.turn, s.trail, s.failures, extract(epoch FROM clock_timestamp())::float8

-- name: sweep_due
-- In how many seconds a sweep is due; no row before the first.
SELECT extract(epoch FROM s.due_at - clock_timestamp())::float8 FROM troth_schema.inbox_sweep s WHERE s.source = %(source)s

-- name: save_sweep
-- How far this turn has come, if it is still this one's.
UPDATE troth_schema.inbox_sweep s
SET trail = %(trail)s, due_at = clock_timestamp() + make_interval(secs => %(due_in_s)s), failures = 0, error = NULL,
    swept_at = CASE WHEN %(complete)s THEN clock_timestamp() ELSE s.swept_at END
WHERE s.source = %(source)s AND s.turn = %(turn)s
RETURNING s.turn

-- name: fail_sweep
-- The provider's list could not be read.
UPDATE troth_schema.inbox_sweep s
SET due_at = clock_timestamp() + make_interval(secs => %(due_in_s)s), failures = s.failures + 1, error = %(error)s
WHERE s.source = %(source)s AND s.turn = %(turn)s

-- name: accept_swept
-- Take in a page of the provider's list, in the order of objects, so that two of these do not wait for each other in a ring.
SELECT (troth_schema.inbox_accept(%(source)s, p.event, p.type, p.object, p.created, p.version, 'sweep', NULL, p.digest, '{}', p.body)).outcome
FROM (SELECT * FROM unnest(%(events)s::text[], %(types)s::text[], %(objects)s::text[], %(created)s::float8[], %(versions)s::bigint[],
                           %(digests)s::bytea[], %(bodies)s::bytea[]) AS u (event, type, object, created, version, digest, body)
      ORDER BY u.object, u.created, u.event) p

-- name: forget
-- Forget settled events that were last heard of long ago, some at a time.
DELETE FROM troth_schema.inbox_event e USING (
    SELECT x.source, x.event_id FROM troth_schema.inbox_event x
    WHERE x.source = %(source)s AND x.state = %(state)s
      AND x.received_at < clock_timestamp() - make_interval(secs => %(keep_s)s)
      AND x.last_seen < clock_timestamp() - make_interval(secs => %(keep_s)s)
    ORDER BY x.received_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) old
WHERE e.source = old.source AND e.event_id = old.event_id

-- name: forget_bodies
-- Forget what applied and superseded events said, some at a time; that they came is remembered.
UPDATE troth_schema.inbox_event e SET body = NULL FROM (
    SELECT x.source, x.event_id FROM troth_schema.inbox_event x
    WHERE x.source = %(source)s AND x.state IN ('applied', 'superseded') AND x.body IS NOT NULL
      AND x.received_at < clock_timestamp() - make_interval(secs => %(keep_s)s)
    ORDER BY x.received_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) old
WHERE e.source = old.source AND e.event_id = old.event_id

-- name: in_state
-- Events in a state, those that came last first.
SELECT e.source, e.event_id, e.type, e.object_key, e.state, e.received_at, e.parked_since, e.failures, e.delivered, e.reason
FROM troth_schema.inbox_event e
WHERE e.state = %(state)s AND (%(source)s::text IS NULL OR e.source = %(source)s)
  AND (%(type)s::text IS NULL OR e.type = %(type)s) AND (%(object)s::text IS NULL OR e.object_key = %(object)s)
ORDER BY e.received_at DESC, e.seq DESC LIMIT %(limit)s

-- name: show
-- All that is known of an event.
SELECT e.source, e.event_id, e.type, e.object_key, e.created_at, e.version, e.state, e.due_at, e.failures, e.parks, e.parked_since,
       e.blocks, e.reason, e.received_at, e.last_seen, e.delivered, e.found_by, e.verified_by, e.settled_at, e.headers, e.body
FROM troth_schema.inbox_event e
WHERE e.event_id = %(event)s AND e.source = ANY (%(sources)s)

-- name: sources
-- The names of all sources that events came from.
WITH RECURSIVE source AS (
    (SELECT e.source FROM troth_schema.inbox_event e ORDER BY e.source LIMIT 1)
    UNION ALL
    SELECT (SELECT e.source FROM troth_schema.inbox_event e WHERE e.source > s.source ORDER BY e.source LIMIT 1)
    FROM source s WHERE s.source IS NOT NULL
)
SELECT s.source FROM source s WHERE s.source IS NOT NULL

-- name: conflicts
-- What else came under the id of an event.
SELECT c.type, c.found_by, c.first_seen, c.last_seen, c.seen, c.body FROM troth_schema.inbox_conflict c
WHERE c.source = %(source)s AND c.event_id = %(event)s ORDER BY c.first_seen

-- name: replays
-- Who put an event back, and why.
SELECT r.at, r.by, r.note, r.was, r.reason FROM troth_schema.inbox_replay r
WHERE r.source = %(source)s AND r.event_id = %(event)s ORDER BY r.n

-- name: hold
-- Lock an event, and say how it stands.
SELECT e.state, e.reason FROM troth_schema.inbox_event e
WHERE e.source = %(source)s AND e.event_id = %(event)s FOR NO KEY UPDATE

-- name: put_back
-- Let an event be tried anew, and record who decided so.
WITH back AS (
    UPDATE troth_schema.inbox_event e
    SET state = 'received', due_at = clock_timestamp(), failures = 0, parks = 0, parked_since = NULL, blocks = true,
        reason = NULL, settled_at = NULL
    WHERE e.source = %(source)s AND e.event_id = %(event)s
)
INSERT INTO troth_schema.inbox_replay (source, event_id, at, by, note, was, reason)
VALUES (%(source)s, %(event)s, clock_timestamp(), %(by)s, %(note)s, %(was)s, %(reason)s)

-- name: enqueue
-- Let its object be looked at.
SELECT troth_schema.inbox_enqueue(%(source)s, %(object)s)
