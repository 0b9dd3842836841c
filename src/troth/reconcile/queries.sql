-- Runs of reconciliations, and what they read. The functions are in migration 0019.

-- name: now
-- The time.
SELECT clock_timestamp()

-- name: declare
-- A program with this reconciliation is there.
INSERT INTO troth_schema.reconcile AS d (name, ours, theirs, every, lookback, margin)
VALUES (%(name)s, %(ours)s, %(theirs)s, make_interval(secs => %(every_s)s), make_interval(secs => %(lookback_s)s),
    make_interval(secs => %(margin_s)s))
ON CONFLICT (name) DO UPDATE SET ours = excluded.ours, theirs = excluded.theirs, every = excluded.every,
    lookback = excluded.lookback, margin = excluded.margin, seen_at = clock_timestamp()
WHERE d.seen_at < clock_timestamp() - interval '1 minute'
   OR (d.ours, d.theirs, d.every, d.lookback, d.margin)
      IS DISTINCT FROM (excluded.ours, excluded.theirs, excluded.every, excluded.lookback, excluded.margin)

-- name: declared
-- The reconciliations that programs have declared.
SELECT d.name, d.ours, d.theirs, d.every, d.lookback, d.margin, d.seen_at FROM troth_schema.reconcile d
WHERE (%(name)s::text IS NULL OR d.name = %(name)s) ORDER BY d.name

-- name: span
-- What the window of the next run depends on: the time, where the last closed period ends, and the oldest break that stands.
SELECT clock_timestamp(),
       (SELECT max(p.until) FROM troth_schema.reconcile_period p WHERE p.reconciliation = %(name)s),
       (SELECT min(b.at) FROM troth_schema.reconcile_break b WHERE b.reconciliation = %(name)s AND b.state <> 'resolved')

-- name: ask
-- Ask for a run, unless one is asked for or under way.
INSERT INTO troth_schema.reconcile_run (reconciliation, since, until, margin, asked_by, note)
VALUES (%(name)s, %(since)s, %(until)s, make_interval(secs => %(margin_s)s), %(by)s, %(note)s)
ON CONFLICT (reconciliation) WHERE ended_at IS NULL DO NOTHING
RETURNING id

-- name: ring
-- Tell the workers; it hurries them, and nothing depends on it.
SELECT pg_notify('troth_schema' || '.reconcile', %(name)s)

-- name: asked_ago
-- How many seconds ago the last run began that nobody asked for; null: never.
SELECT extract(epoch FROM clock_timestamp() - max(r.asked_at))::float8
FROM troth_schema.reconcile_run r WHERE r.reconciliation = %(name)s AND r.asked_by IS NULL

-- name: alive
-- The run that is asked for or under way.
SELECT r.id, r.phase, r.asked_at, r.held_until > clock_timestamp()
FROM troth_schema.reconcile_run r WHERE r.reconciliation = %(name)s AND r.ended_at IS NULL

-- name: take
-- Take up a run that nobody holds, for so long.
UPDATE troth_schema.reconcile_run r
SET turn = r.turn + 1, held_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
    began_at = coalesce(r.began_at, clock_timestamp())
WHERE r.id = (
    SELECT a.id FROM troth_schema.reconcile_run a
    WHERE a.reconciliation = %(name)s AND a.ended_at IS NULL AND a.held_until <= clock_timestamp() AND a.due_at <= clock_timestamp()
    FOR UPDATE SKIP LOCKED)
RETURNING r.id, r.turn, r.since, r.until, r.margin, r.phase, r.failures, r.readings, r.ours, r.theirs, r.began_at

-- name: hold
-- Hold on to a run; no row: it is somebody else's by now.
UPDATE troth_schema.reconcile_run r SET held_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE r.id = %(run)s AND r.turn = %(turn)s AND r.ended_at IS NULL
RETURNING r.id

-- name: fail
-- It could not go on, and is to be tried again.
UPDATE troth_schema.reconcile_run r
SET failures = r.failures + 1, error = %(error)s, held_until = '-infinity',
    due_at = clock_timestamp() + make_interval(secs => %(due_s)s)
WHERE r.id = %(run)s AND r.turn = %(turn)s AND r.ended_at IS NULL

-- name: due_in
-- In how many seconds a run can be taken up; null: none is there.
SELECT extract(epoch FROM greatest(r.held_until, r.due_at, r.asked_at) - clock_timestamp())::float8
FROM troth_schema.reconcile_run r WHERE r.reconciliation = %(name)s AND r.ended_at IS NULL

-- name: enter
-- It has come to another phase.
UPDATE troth_schema.reconcile_run r
SET phase = %(phase)s, failures = 0, error = NULL, rules = coalesce(%(rules)s::jsonb, r.rules),
    ours = coalesce(%(ours)s::jsonb, r.ours), theirs = coalesce(%(theirs)s::jsonb, r.theirs)
WHERE r.id = %(run)s

-- name: reading
-- A side is being read for the first or the second time.
UPDATE troth_schema.reconcile_run r SET readings[%(side)s] = %(reading)s WHERE r.id = %(run)s

-- name: end
-- It is over.
UPDATE troth_schema.reconcile_run r
SET phase = 'ended', ended_at = clock_timestamp(), verdict = %(verdict)s, counts = %(counts)s::jsonb, held_until = '-infinity',
    error = %(error)s
WHERE r.id = %(run)s

-- name: found
-- What it came to, before what is to be settled is.
UPDATE troth_schema.reconcile_run r SET counts = %(counts)s::jsonb, result = %(result)s WHERE r.id = %(run)s

-- name: outcome
-- What it has come to.
SELECT r.counts FROM troth_schema.reconcile_run r WHERE r.id = %(run)s

-- Staging

-- name: open
-- Make room for its items.
SELECT troth_schema.reconcile_open(%(run)s)

-- name: pages
-- What was read of a side.
SELECT p.n, p.cursor, p.next, p.digest, p.said, p.checked
FROM troth_schema.reconcile_page p WHERE p.run = %(run)s AND p.side = %(side)s ORDER BY p.n

-- name: page
-- A page was read.
INSERT INTO troth_schema.reconcile_page (run, side, n, cursor, next, digest, said)
VALUES (%(run)s, %(side)s, %(n)s, %(cursor)s, %(next)s, %(digest)s, %(said)s::jsonb)

-- name: copy
-- Its items.
COPY troth_schema.reconcile_item (run, side, n, id, amount, currency, at, key, standing, kind, fee, reference, "group", evidence)
FROM STDIN

-- name: checked
-- A page gave the same when it was read again.
UPDATE troth_schema.reconcile_page p SET checked = true WHERE p.run = %(run)s AND p.side = %(side)s AND p.n = %(n)s

-- name: forget_items
-- Read a side anew: forget its items.
DELETE FROM troth_schema.reconcile_item i WHERE i.run = %(run)s AND i.side = %(side)s

-- name: forget_pages
-- And its pages.
DELETE FROM troth_schema.reconcile_page p WHERE p.run = %(run)s AND p.side = %(side)s

-- name: once
-- Keep the first of items that came twice.
SELECT troth_schema.reconcile_once(%(run)s, %(side)s::smallint)

-- name: sorted
-- Let the planner know what was staged.
SELECT troth_schema.reconcile_sorted(%(run)s)

-- name: forget
-- Forget the items of older runs.
SELECT troth_schema.reconcile_forget(%(name)s, %(keep)s)

-- Comparing

-- name: memory
-- Sorts and hashes of this transaction may have so much; more goes to disk.
SELECT set_config('work_mem', '128MB', true), set_config('cursor_tuple_fraction', '1', true), set_config('jit', 'off', true)

-- name: rest
-- Where items are kept that have no other half so far.
CREATE TEMP TABLE reconcile_rest (side smallint NOT NULL, n integer NOT NULL, PRIMARY KEY (side, n)) ON COMMIT DROP

-- name: keyed
-- How many items have a key.
SELECT count(*) FROM troth_schema.reconcile_item i WHERE i.run = %(run)s AND i.key IS NOT NULL

-- name: odd
-- All items of the keys that do not simply agree: one of each side, the same in all that counts. As `rules.agree` has it.
DECLARE reconcile_odd NO SCROLL CURSOR FOR
SELECT i.side, i.n, i.id, i.amount, i.currency, i.at, i.key, i.standing, i.kind, i.fee, i.reference, i."group", i.evidence
FROM troth_schema.reconcile_item i JOIN (
    SELECT k.key FROM troth_schema.reconcile_item k WHERE k.run = %(run)s AND k.key IS NOT NULL GROUP BY k.key
    HAVING NOT (
        count(*) = 2 AND count(*) FILTER (WHERE k.side = 1) = 1 AND min(k.amount) = max(k.amount)
        AND min(k.currency) = max(k.currency) AND min(k.standing) = max(k.standing) AND max(k.standing) <> 5
        AND (NOT %(fees)s
             OR cardinality(%(kinds)s::text[]) > 0 AND max(k.kind) FILTER (WHERE k.side = 2) <> ALL (%(kinds)s::text[])
             OR abs(coalesce(max(k.fee) FILTER (WHERE k.side = 2), 0)
            - troth_schema.reconcile_fee(min(k.amount), %(numerator)s, %(denominator)s, %(fixed)s)) <= %(tolerance)s))) odd
    ON odd.key = i.key
WHERE i.run = %(run)s ORDER BY i.key, i.side, i.n

-- name: fetch_odd
-- Some more of them.
FETCH 2000 FROM reconcile_odd

-- name: close_odd
-- No more.
CLOSE reconcile_odd

-- name: loose
-- Items without an other half.
INSERT INTO pg_temp.reconcile_rest (side, n) SELECT * FROM unnest(%(sides)s::smallint[], %(places)s::integer[])

-- name: keyless
-- All items without a key.
INSERT INTO pg_temp.reconcile_rest (side, n) SELECT i.side, i.n FROM troth_schema.reconcile_item i WHERE i.run = %(run)s AND i.key IS NULL

-- name: known
-- Let the planner know how many these are.
ANALYZE pg_temp.reconcile_rest

-- name: eligible
-- What a rule may look at, in buckets.
DECLARE reconcile_eligible NO SCROLL CURSOR FOR
SELECT i.side, i.n, i.id, i.amount, i.currency, i.at, i.key, i.standing, i.kind, i.fee, i.reference, i."group", i.evidence
FROM pg_temp.reconcile_rest r JOIN troth_schema.reconcile_item i ON i.run = %(run)s AND i.side = r.side AND i.n = r.n
WHERE (NOT %(kind)s OR i.kind <> '') AND (NOT %(reference)s OR i.reference <> '') AND (NOT %(group)s OR i."group" <> '')
ORDER BY i.currency, CASE WHEN %(kind)s THEN i.kind END, CASE WHEN %(reference)s THEN i.reference END,
         CASE WHEN %(group)s THEN i."group" END, i.amount, i.at, i.side, i.id

-- name: fetch_eligible
-- Some more of them.
FETCH 2000 FROM reconcile_eligible

-- name: close_eligible
-- No more.
CLOSE reconcile_eligible

-- name: matches
-- What a rule has found to be the same.
INSERT INTO troth_schema.reconcile_match (run, n, rule, version, ours, theirs, why)
SELECT %(run)s, m.n, m.rule, m.version, m.ours::integer[], m.theirs::integer[], m.why
FROM unnest(%(numbers)s::integer[], %(rules)s::text[], %(versions)s::integer[], %(ours)s::text[], %(theirs)s::text[], %(whys)s::text[])
    AS m (n, rule, version, ours, theirs, why)

-- name: taken
-- These have an other half, or are in a break.
DELETE FROM pg_temp.reconcile_rest r USING unnest(%(sides)s::smallint[], %(places)s::integer[]) AS t (side, n)
WHERE r.side = t.side AND r.n = t.n

-- name: single
-- What has none in the end.
DECLARE reconcile_single NO SCROLL CURSOR FOR
SELECT i.side, i.n, i.id, i.amount, i.currency, i.at, i.key, i.standing, i.kind, i.fee, i.reference, i."group", i.evidence
FROM pg_temp.reconcile_rest r JOIN troth_schema.reconcile_item i ON i.run = %(run)s AND i.side = r.side AND i.n = r.n
ORDER BY i.side, i.at, i.id

-- name: fetch_single
-- Some more of them.
FETCH 2000 FROM reconcile_single

-- name: close_single
-- No more.
CLOSE reconcile_single

-- Looking

-- name: runs
-- The latest runs.
SELECT r.id, r.reconciliation, r.since, r.until, r.asked_at, r.asked_by, r.phase, r.began_at, r.ended_at, r.failures, r.error,
       r.verdict, r.counts, r.ours, r.theirs, r.rules, r.result, r.held_until > clock_timestamp()
FROM troth_schema.reconcile_run r
WHERE (%(name)s::text IS NULL OR r.reconciliation = %(name)s) AND (%(run)s::bigint IS NULL OR r.id = %(run)s)
ORDER BY r.id DESC LIMIT %(limit)s

-- name: progress
-- How much was read so far, by side, and whether it is checked.
SELECT p.side, sum((p.said->>'staged')::bigint)::bigint, count(*), count(*) FILTER (WHERE p.checked)
FROM troth_schema.reconcile_page p WHERE p.run = %(run)s GROUP BY p.side ORDER BY p.side
