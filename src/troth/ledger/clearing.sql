-- name: look
-- Note which accounts of a flow are overdue; how many, or nothing if somebody else is looking.
SELECT troth_schema.ledger_look_at_clearing(%(flow)s, %(under)s, %(within)s);
