-- Objects of declared machines.

-- name: move
-- Create an object, fire an event on it, or take over what another system says of it: once per cause.
SELECT m.outcome, m.seq, m.from_state, m.to_state, m.path, m.version, m.at, m.superseded, m.first_event, m.first_observed
FROM troth_schema.machine_move(
    %(machine)s::text, %(id)s::text, %(event)s::text, %(observed)s::text, %(begin)s::text, %(moves)s::text::jsonb,
    %(paths)s::text::jsonb, %(version)s::bigint, %(cause)s::text, %(by)s::text, %(why)s::text, %(data)s::text::jsonb) m

-- name: look
-- Where an object stands, and what time it is.
SELECT o.id, o.state, o.version, o.seq, o.since, clock_timestamp()
FROM troth_schema.machine_object o WHERE o.machine = %s::text AND o.id = %s::text

-- name: hold
-- The same; nobody changes it until this transaction has ended.
SELECT o.id, o.state, o.version, o.seq, o.since, clock_timestamp()
FROM troth_schema.machine_object o WHERE o.machine = %s::text AND o.id = %s::text FOR NO KEY UPDATE

-- name: history
-- The entries of an object before a number, the latest first.
SELECT h.seq, h.event, h.observed, h.from_state, h.to_state, h.path, h.superseded, h.version, h.cause, h.by, h.why,
       h.data::text, h.at
FROM troth_schema.machine_history h
WHERE h.machine = %(machine)s::text AND h.id = %(id)s::text AND h.seq < %(before)s::bigint
ORDER BY h.seq DESC LIMIT %(limit)s

-- name: standing_in
-- The objects in a state after an id, by their ids.
SELECT o.id, o.state, o.version, o.seq, o.since, clock_timestamp()
FROM troth_schema.machine_object o
WHERE o.machine = %(machine)s::text AND o.state = %(state)s::text AND o.id > %(after)s::text
ORDER BY o.id LIMIT %(limit)s

-- name: forget
-- Forget old entries of the history, but not the latest of an object.
SELECT troth_schema.machine_forget(%(machine)s::text, clock_timestamp() - make_interval(secs => %(keep_s)s), %(limit)s)
