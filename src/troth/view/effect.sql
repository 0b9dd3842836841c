-- One effect, in parts that are small however large it is: what was sent and what came back as sizes.

-- name: stands
-- What a run was parked with, if that is too large to be read as a whole: without what the step was given.
SELECT CASE WHEN position(convert_to('\u0000', 'UTF8') IN r.detail) = 0 THEN convert_to((
           SELECT json_strip_nulls(row_to_json(d))::text
           FROM json_to_record(convert_from(r.detail, 'UTF8')::json) AS d (
               at json, message json, type json, provider json, key json, key_until json, sent_at json, answers json, stake json,
               probed json, attempts json, lands_until json, settled_by json) LIMIT 1), 'UTF8') END
FROM troth_schema.run r WHERE r.id = %(id)s

-- name: entries
-- The latest entries about one effect, and what people decided about its run: what they say of themselves, findings whole.
SELECT j.path, j.kind, j.attempt, j.seq, j.ok,
       CASE WHEN (j.kind IN (3, 4, 6) OR j.ok IS DISTINCT FROM true AND j.kind = 2) AND octet_length(j.payload) <= %(limit)s
              OR j.kind = 5 AND octet_length(j.payload) <= %(finding)s THEN j.payload END,
       j.at, octet_length(j.payload), NULL::timestamptz
FROM troth_schema.journal j
WHERE j.run_id = %(id)s AND j.path IN (%(path)s, '!resume', '!rewind')
ORDER BY j.at DESC, j.seq DESC NULLS LAST, j.kind DESC, j.attempt DESC LIMIT %(rows)s

-- name: proposals
-- The latest decision about some effects, each of its run, if nothing else was recorded of the effect after it.
SELECT e.run, d.path, 5::smallint, d.attempt, NULL::integer, NULL::boolean, d.payload, d.at
FROM unnest(%(runs)s::uuid[], %(paths)s::text[]) AS e (run, path)
CROSS JOIN LATERAL (
    SELECT j.path, j.attempt, j.payload, j.at FROM troth_schema.journal j
    WHERE j.run_id = e.run AND j.path = e.path AND j.kind = 5 ORDER BY j.attempt DESC LIMIT 1) d
WHERE octet_length(d.payload) <= %(finding)s
  AND NOT EXISTS (SELECT FROM troth_schema.journal o
                  WHERE o.run_id = e.run AND o.path = e.path AND o.kind <> 5 AND o.at > d.at)
LIMIT %(rows)s
