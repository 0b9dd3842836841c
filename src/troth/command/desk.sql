-- What the desk records of people's acts, and of those that wait for a second person. Each is part of the act's transaction.

-- name: record
-- Write down what somebody did, proposed, or was refused.
INSERT INTO troth_schema.operator_act (by, role, via, act, about, details, note, outcome, agrees_with, result)
VALUES (%(by)s, %(role)s, %(via)s, %(act)s, %(about)s, %(details)s::jsonb, %(note)s, %(outcome)s, %(agrees_with)s,
        %(result)s::jsonb)

-- name: eyes
-- How many people an act needs, if there is a rule for it.
SELECT r.eyes FROM troth_schema.act_rule r WHERE r.act = %s

-- name: hold_rules
-- Nobody else changes a rule until this transaction has ended.
LOCK TABLE troth_schema.act_rule IN SHARE ROW EXCLUSIVE MODE

-- name: set_rule
-- From now on so many people.
INSERT INTO troth_schema.act_rule (act, eyes) VALUES (%(act)s, %(eyes)s)
ON CONFLICT (act) DO UPDATE SET eyes = excluded.eyes

-- name: void
-- Proposals that nobody has agreed to in time do not count; some of them, and this one in any case.
DELETE FROM troth_schema.act_proposal p
WHERE (p.act = %(act)s AND p.about = %(about)s AND p.content = %(content)s AND p.until <= clock_timestamp())
   OR p.id IN (SELECT o.id FROM troth_schema.act_proposal o WHERE o.until <= clock_timestamp()
               ORDER BY o.until LIMIT 100 FOR UPDATE SKIP LOCKED)

-- name: propose
-- Propose an act, or find the proposal that there is, and hold it: of two people at once, the second waits for the first.
INSERT INTO troth_schema.act_proposal AS p (act, about, content, details, by, note, until)
VALUES (%(act)s, %(about)s, %(content)s, %(details)s, %(by)s, %(note)s, clock_timestamp() + make_interval(secs => %(wait)s))
ON CONFLICT (act, about, content) DO UPDATE SET act = excluded.act
RETURNING p.id, p.act, p.about, p.by, p.until, p.xmax = 0

-- name: proposal
-- Hold a proposal that waits.
SELECT p.id, p.act, p.about, p.by, p.until FROM troth_schema.act_proposal p
WHERE p.id = %s AND p.until > clock_timestamp() FOR UPDATE

-- name: drop_proposal
-- It waits no more.
DELETE FROM troth_schema.act_proposal p WHERE p.id = %s

-- name: attempt
-- What follows is to be undone.
SAVEPOINT troth_desk

-- name: undo_attempt
-- Nothing since then has happened.
ROLLBACK TO SAVEPOINT troth_desk

-- name: looked_after
-- Who looks after a run that is in attention now.
SELECT n.claimed_by, n.claimed_at FROM troth_schema.attention_note n
JOIN troth_schema.run r ON r.id = n.run_id AND r.claim = n.claim AND r.state = 'attention'
WHERE n.run_id = %s AND n.claimed_by IS NOT NULL

-- name: look_after
-- Somebody looks after a run, or nobody does any more. The caller holds the run.
INSERT INTO troth_schema.attention_note AS n (run_id, claim, claimed_by, claimed_at)
SELECT r.id, r.claim, %(owner)s::text, CASE WHEN %(owner)s::text IS NOT NULL THEN clock_timestamp() END
FROM troth_schema.run r WHERE r.id = %(run)s
ON CONFLICT (run_id) DO UPDATE
SET claim = excluded.claim, claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at,
    note = CASE WHEN n.claim = excluded.claim THEN n.note END,
    noted_by = CASE WHEN n.claim = excluded.claim THEN n.noted_by END,
    noted_at = CASE WHEN n.claim = excluded.claim THEN n.noted_at END

-- name: note
-- What is to be known about a run in attention; null: nothing any more. The caller holds the run.
INSERT INTO troth_schema.attention_note AS n (run_id, claim, note, noted_by, noted_at)
SELECT r.id, r.claim, %(text)s::text, %(by)s, clock_timestamp() FROM troth_schema.run r WHERE r.id = %(run)s
ON CONFLICT (run_id) DO UPDATE
SET claim = excluded.claim, note = excluded.note, noted_by = excluded.noted_by, noted_at = excluded.noted_at,
    claimed_by = CASE WHEN n.claim = excluded.claim THEN n.claimed_by END,
    claimed_at = CASE WHEN n.claim = excluded.claim THEN n.claimed_at END

-- name: forget_notes
-- Notes about runs that have left attention, some of them.
DELETE FROM troth_schema.attention_note n WHERE n.run_id IN (
    SELECT o.run_id FROM troth_schema.attention_note o
    WHERE NOT EXISTS (SELECT 1 FROM troth_schema.run r
                      WHERE r.id = o.run_id AND r.claim = o.claim AND r.state = 'attention')
    LIMIT 100 FOR UPDATE SKIP LOCKED)

-- name: proposer
-- Who has proposed an act with just this content, and waits for a second person.
SELECT p.by FROM troth_schema.act_proposal p
WHERE p.act = %(act)s AND p.about = %(about)s AND p.content = %(content)s AND p.until > clock_timestamp()
