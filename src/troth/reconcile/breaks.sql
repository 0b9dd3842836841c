-- Breaks, what became of them, and periods.

-- name: standing
-- The breaks about some subjects, held.
SELECT b.id, b.subject, b.kind, b.state, b.minor, b.currency FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.subject = ANY (%(subjects)s) ORDER BY b.id FOR NO KEY UPDATE

-- name: found
-- New ones.
INSERT INTO troth_schema.reconcile_break (reconciliation, subject, kind, at, minor, currency, note, action, evidence, last_run)
SELECT %(name)s, f.subject, f.kind, f.at, f.minor, f.currency, f.note, f.action, f.evidence::jsonb, %(run)s
FROM unnest(%(subjects)s::text[], %(kinds)s::text[], %(ats)s::timestamptz[], %(minors)s::bigint[], %(currencies)s::text[],
            %(notes)s::text[], %(actions)s::text[], %(evidence)s::text[])
    AS f (subject, kind, at, minor, currency, note, action, evidence)
RETURNING id

-- name: seen
-- Those that were known, as they are now. What explained them does not outlast another difference.
UPDATE troth_schema.reconcile_break b
SET kind = f.kind, state = f.state, at = f.at, minor = f.minor, currency = f.currency, note = f.note, action = f.action,
    evidence = f.evidence::jsonb, last_seen = clock_timestamp(), last_run = %(run)s,
    until = CASE WHEN f.state = 'accepted' THEN b.until END,
    explained_by = CASE WHEN f.state = 'open' THEN NULL ELSE b.explained_by END,
    explanation = CASE WHEN f.state = 'open' THEN NULL ELSE b.explanation END
FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(kinds)s::text[], %(ats)s::timestamptz[], %(minors)s::bigint[],
            %(currencies)s::text[], %(notes)s::text[], %(actions)s::text[], %(evidence)s::text[])
    AS f (id, state, kind, at, minor, currency, note, action, evidence)
WHERE b.id = f.id

-- name: tell
-- Add to their histories.
SELECT troth_schema.reconcile_tell(e.break, e.what, %(run)s, %(by)s, %(note)s)
FROM unnest(%(breaks)s::bigint[], %(whats)s::text[]) AS e (break, what)

-- name: gone
-- What a run did not find any more, of what it would have found. About a feed: if that is not among those that are wrong.
UPDATE troth_schema.reconcile_break b SET state = 'resolved', until = NULL, wanted = NULL
WHERE b.reconciliation = %(name)s AND b.state <> 'resolved' AND b.last_run <> %(run)s AND b.at >= %(since)s AND b.at < %(until)s
  AND CASE WHEN b.kind IN ('stale_source', 'statement_arithmetic') THEN true ELSE %(proven)s END
RETURNING b.id

-- name: accepted_statements
-- Of which statements somebody has explained that they are wrong, and by how much.
SELECT b.subject, b.minor FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.state = 'accepted' AND b.kind = 'statement_arithmetic' AND b.until > clock_timestamp()

-- name: open_found
-- How many breaks of a run are not explained.
SELECT count(*) FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.last_run = %(run)s AND b.state = 'open'

-- name: to_settle
-- Effects in doubt that their side shows.
SELECT b.id FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.last_run = %(run)s AND b.state = 'open' AND b.action = 'settle_done' AND b.kind = 'state'
ORDER BY b.id

-- name: settled
-- How many a run has settled.
SELECT count(*) FROM troth_schema.reconcile_break b
WHERE b.last_run = %(run)s AND b.state = 'resolved' AND b.action = 'settle_done' AND b.explained_by IS NOT NULL

-- name: hold
-- One break, held.
SELECT b.id, b.reconciliation, b.subject, b.kind, b.state, b.at, b.minor, b.currency, b.note, b.action, b.first_seen, b.last_seen,
       b.last_run, b.evidence, b.owner, b.until, b.explained_by, b.explanation, b.correction, b.wanted
FROM troth_schema.reconcile_break b WHERE b.id = %(id)s FOR NO KEY UPDATE

-- name: explain
-- It is explained, or was settled.
UPDATE troth_schema.reconcile_break b
SET state = %(state)s, until = %(until)s, explained_by = %(by)s, explanation = %(note)s, wanted = NULL,
    correction = coalesce(%(correction)s, b.correction)
WHERE b.id = %(id)s

-- name: reopen
-- It is not explained any more.
UPDATE troth_schema.reconcile_break b
SET state = 'open', until = NULL, explained_by = NULL, explanation = NULL WHERE b.id = %(id)s

-- name: own
-- Somebody looks after it, or nobody does.
UPDATE troth_schema.reconcile_break b SET owner = %(owner)s WHERE b.id = %(id)s

-- name: want
-- Somebody wants it to be corrected.
UPDATE troth_schema.reconcile_break b SET wanted = %(by)s WHERE b.id = %(id)s

-- name: wanted
-- The next break that is to be corrected, held.
SELECT b.id FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.wanted IS NOT NULL ORDER BY b.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED

-- name: expire
-- Acceptances that are over.
UPDATE troth_schema.reconcile_break b SET state = 'open', until = NULL, explained_by = NULL, explanation = NULL
WHERE b.id IN (
    SELECT e.id FROM troth_schema.reconcile_break e
    WHERE e.reconciliation = %(name)s AND e.state = 'accepted' AND e.until <= clock_timestamp()
    ORDER BY e.id LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING b.id

-- name: breaks
-- Breaks, the most money first.
SELECT b.id, b.reconciliation, b.subject, b.kind, b.state, b.at, b.minor, b.currency, b.note, b.action, b.first_seen, b.last_seen,
       b.last_run, b.evidence, b.owner, b.until, b.explained_by, b.explanation, b.correction, b.wanted
FROM troth_schema.reconcile_break b
WHERE (%(name)s::text IS NULL OR b.reconciliation = %(name)s)
  AND (%(states)s::text[] IS NULL OR b.state = ANY (%(states)s)) AND (%(kind)s::text IS NULL OR b.kind = %(kind)s)
  AND (%(owner)s::text IS NULL OR b.owner = %(owner)s)
ORDER BY b.minor DESC, b.id LIMIT %(limit)s

-- name: one
-- One break.
SELECT b.id, b.reconciliation, b.subject, b.kind, b.state, b.at, b.minor, b.currency, b.note, b.action, b.first_seen, b.last_seen,
       b.last_run, b.evidence, b.owner, b.until, b.explained_by, b.explanation, b.correction, b.wanted
FROM troth_schema.reconcile_break b WHERE b.id = %(id)s

-- name: history
-- What happened to it.
SELECT e.n, e.at, e.what, e.run, e.by, e.kind, e.minor, e.state, e.note
FROM troth_schema.reconcile_event e WHERE e.break = %(id)s ORDER BY e.n

-- Periods

-- name: hold_periods
-- One closes at a time.
SELECT pg_advisory_xact_lock(hashtextextended('troth_schema.reconcile_period.' || %(name)s, 0))

-- name: last_period
-- Where the last closed one ends.
SELECT max(p.until) FROM troth_schema.reconcile_period p WHERE p.reconciliation = %(name)s

-- name: covering
-- The last run that has looked at a whole period.
SELECT r.id, r.verdict, r.result, r.until FROM troth_schema.reconcile_run r
WHERE r.reconciliation = %(name)s AND r.ended_at IS NOT NULL AND r.until >= %(until)s
  AND (%(since)s::timestamptz IS NULL OR r.since <= %(since)s)
ORDER BY r.id DESC LIMIT 1

-- name: unexplained
-- Breaks in a period that nobody has explained: how many, and the one with the most money.
SELECT count(*), (array_agg(b.id ORDER BY b.minor DESC, b.id))[1]
FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.at < %(until)s
  AND (b.state = 'open' OR b.state = 'accepted' AND b.until <= clock_timestamp())

-- name: explained
-- Breaks in a period that are explained and not resolved: how many, and a digest of them.
SELECT count(*), md5(coalesce(string_agg(concat_ws('|', b.id, b.kind, b.state, b.minor, b.currency, b.explained_by, b.explanation),
                                          E'\n' ORDER BY b.id), ''))
FROM troth_schema.reconcile_break b
WHERE b.reconciliation = %(name)s AND b.at < %(until)s AND b.state IN ('accepted', 'corrected')

-- name: close
-- The period is closed.
INSERT INTO troth_schema.reconcile_period (reconciliation, until, since, run, result, accepted, prepared_by, approved_by, note)
VALUES (%(name)s, %(until)s, %(since)s, %(run)s, %(result)s, %(accepted)s, %(prepared)s, %(approved)s, %(note)s)

-- name: periods
-- Which periods are closed, the last first.
SELECT p.reconciliation, p.since, p.until, p.run, p.accepted, p.prepared_by, p.approved_by, p.closed_at, p.note
FROM troth_schema.reconcile_period p WHERE (%(name)s::text IS NULL OR p.reconciliation = %(name)s)
ORDER BY p.until DESC LIMIT %(limit)s
