-- Events on their way out.

-- name: targets
-- Who still gets something, by skipping from one target to the next; how far each is behind.
WITH RECURSIVE target AS (
    (SELECT d.target FROM troth_schema.outbox_delivery d WHERE d.state = 'pending' ORDER BY d.target LIMIT 1)
    UNION ALL
    SELECT (SELECT d.target FROM troth_schema.outbox_delivery d WHERE d.state = 'pending' AND d.target > t.target
            ORDER BY d.target LIMIT 1)
    FROM target t WHERE t.target IS NOT NULL
)
SELECT t.target, p.outbox, p.destination, p.endpoint, p.n, p.leased, p.behind, p.late,
       CASE WHEN m.published_at IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - m.published_at)) END::float8
FROM (SELECT t.target FROM target t WHERE t.target IS NOT NULL LIMIT 500) t
CROSS JOIN LATERAL (
    SELECT min(x.outbox) AS outbox, min(x.destination) AS destination, (array_agg(x.endpoint))[1] AS endpoint, count(*) AS n,
           count(*) FILTER (WHERE x.held = 'leased') AS leased, count(*) FILTER (WHERE x.held = 'behind') AS behind,
           count(*) FILTER (WHERE x.next_at <= now()) AS late, min(x.id) AS oldest
    FROM (SELECT d.id, d.outbox, d.destination, d.endpoint, d.held, d.next_at FROM troth_schema.outbox_delivery d
          WHERE d.state = 'pending' AND d.target = t.target ORDER BY d.next_at LIMIT %(cap)s) x) p
LEFT JOIN troth_schema.outbox_delivery o ON o.id = p.oldest
LEFT JOIN troth_schema.outbox_message m ON m.id = o.message
ORDER BY t.target LIMIT 500

-- name: failures
-- The deliveries that nobody tries any more, by target; at most so many are counted.
SELECT x.target, min(x.outbox), min(x.destination), (array_agg(x.endpoint))[1],
       count(*) FILTER (WHERE x.state = 'dead'), count(*) FILTER (WHERE x.state = 'in_doubt'), sum(count(*)) OVER ()
FROM (SELECT d.target, d.outbox, d.destination, d.endpoint, d.state FROM troth_schema.outbox_delivery d
      WHERE d.state IN ('dead', 'in_doubt') ORDER BY d.id DESC LIMIT %(cap)s) x
GROUP BY x.target ORDER BY x.target LIMIT 500

-- name: endpoints
-- The endpoints, without their secrets, the latest first.
SELECT e.id, e.outbox, e.destination, e.url, e.types, e.per_key, e.allow_private, e.created_at,
       CASE WHEN e.failing_since IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - e.failing_since)) END::float8, e.failing_since, e.disabled_at,
       e.disabled_because,
       e.old_secret_until
FROM troth_schema.outbox_endpoint e
WHERE e.removed_at IS NULL AND e.id < %(before)s AND (%(outbox)s::text IS NULL OR e.outbox = %(outbox)s)
  AND (NOT %(failing)s OR e.failing_since IS NOT NULL OR e.disabled_at IS NOT NULL)
ORDER BY e.id DESC LIMIT %(limit)s

-- name: urls
-- Where these endpoints are.
SELECT e.id, e.url, CASE WHEN e.failing_since IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - e.failing_since)) END::float8, e.failing_since,
       e.disabled_at
FROM troth_schema.outbox_endpoint e WHERE e.id = ANY (%(ids)s) LIMIT %(limit)s

-- name: lines
-- A page of deliveries, the latest first, among so many that are looked at.
WITH looked_at AS MATERIALIZED (
    SELECT d.* FROM troth_schema.outbox_delivery d WHERE d.id < %(before)s ORDER BY d.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE (%(states)s::text[] IS NULL OR l.state::text = ANY (%(states)s::text[]))
      AND (%(outbox)s::text IS NULL OR l.outbox = %(outbox)s)
      AND (%(destination)s::text IS NULL OR l.destination = %(destination)s)
      AND (%(endpoint)s::uuid IS NULL OR l.endpoint = %(endpoint)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, m.id, g.id, m.outbox, g.type, g.key, g.published_at,
       greatest(0, extract(epoch FROM clock_timestamp() - g.published_at))::float8, m.destination, m.endpoint, e.url,
       m.state::text, m.held, m.claim, m.tries, CASE WHEN m.state = 'pending' THEN m.next_at END, a.outcome, a.at
FROM (SELECT count(*) OVER () AS n, l.id FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
LEFT JOIN troth_schema.outbox_message g ON g.id = m.message
LEFT JOIN troth_schema.outbox_endpoint e ON e.id = m.endpoint
LEFT JOIN LATERAL (
    SELECT left(t.outcome, 500) AS outcome, t.at FROM troth_schema.outbox_attempt t WHERE t.delivery = m.id
    ORDER BY t.claim DESC LIMIT 1) a ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: failed_lines
-- The same, of deliveries that nobody tries any more.
WITH looked_at AS MATERIALIZED (
    SELECT d.* FROM troth_schema.outbox_delivery d
    WHERE d.id < %(before)s AND d.state IN ('dead', 'in_doubt') ORDER BY d.id DESC LIMIT %(scan)s
), matching AS (
    SELECT l.* FROM looked_at l
    WHERE l.state::text = ANY (%(states)s::text[])
      AND (%(outbox)s::text IS NULL OR l.outbox = %(outbox)s)
      AND (%(destination)s::text IS NULL OR l.destination = %(destination)s)
      AND (%(endpoint)s::uuid IS NULL OR l.endpoint = %(endpoint)s)
    ORDER BY l.id DESC LIMIT %(limit)s
)
SELECT s.n, s.id, m.id, g.id, m.outbox, g.type, g.key, g.published_at,
       greatest(0, extract(epoch FROM clock_timestamp() - g.published_at))::float8, m.destination, m.endpoint, e.url,
       m.state::text, m.held, m.claim, m.tries, CASE WHEN m.state = 'pending' THEN m.next_at END, a.outcome, a.at
FROM (SELECT count(*) OVER () AS n, l.id FROM looked_at l ORDER BY l.id LIMIT 1) s
LEFT JOIN matching m ON true
LEFT JOIN troth_schema.outbox_message g ON g.id = m.message
LEFT JOIN troth_schema.outbox_endpoint e ON e.id = m.endpoint
LEFT JOIN LATERAL (
    SELECT left(t.outcome, 500) AS outcome, t.at FROM troth_schema.outbox_attempt t WHERE t.delivery = m.id
    ORDER BY t.claim DESC LIMIT 1) a ON true
ORDER BY m.id DESC LIMIT %(limit)s

-- name: of_message
-- The deliveries of one message.
SELECT m.id, g.id, m.outbox, g.type, g.key, g.published_at,
       greatest(0, extract(epoch FROM clock_timestamp() - g.published_at))::float8, m.destination, m.endpoint, e.url,
       m.state::text, m.held, m.claim, m.tries, CASE WHEN m.state = 'pending' THEN m.next_at END, a.outcome, a.at
FROM troth_schema.outbox_delivery m
JOIN troth_schema.outbox_message g ON g.id = m.message
LEFT JOIN troth_schema.outbox_endpoint e ON e.id = m.endpoint
LEFT JOIN LATERAL (
    SELECT left(t.outcome, 500) AS outcome, t.at FROM troth_schema.outbox_attempt t WHERE t.delivery = m.id
    ORDER BY t.claim DESC LIMIT 1) a ON true
WHERE m.message = %(message)s ORDER BY m.id LIMIT %(limit)s

-- name: message
-- One message, with the beginning of what it says if that is asked for.
SELECT m.id, m.outbox, m.type, m.key, m.published_at, greatest(0, extract(epoch FROM clock_timestamp() - m.published_at))::float8,
       octet_length(m.headers), CASE WHEN %(payloads)s THEN substring(m.headers FROM 1 FOR %(most)s) END,
       octet_length(m.payload), CASE WHEN %(payloads)s THEN substring(m.payload FROM 1 FOR %(most)s) END
FROM troth_schema.outbox_message m WHERE m.id = %(message)s LIMIT 1

-- name: attempts
-- What came of the latest attempts of some deliveries.
SELECT t.delivery, t.claim, t.at, t.duration_s, t.outcome, octet_length(t.answer),
       CASE WHEN %(payloads)s THEN t.answer END
FROM troth_schema.outbox_attempt t WHERE t.delivery = ANY (%(deliveries)s)
ORDER BY t.at DESC, t.claim DESC LIMIT %(limit)s

-- name: endpoint
-- One endpoint, without its secrets.
SELECT e.id, e.outbox, e.destination, e.url, e.types, e.per_key, e.allow_private, e.created_at,
       CASE WHEN e.failing_since IS NOT NULL THEN greatest(0, extract(epoch FROM clock_timestamp() - e.failing_since)) END::float8,
       e.failing_since, e.disabled_at, e.disabled_because, e.old_secret_until
FROM troth_schema.outbox_endpoint e WHERE e.id = %(id)s AND e.removed_at IS NULL LIMIT 1

-- name: dead
-- How many dead letters there are, of one endpoint or of all; the latest so many that failed are looked at.
SELECT count(*) FILTER (WHERE x.state = 'dead' AND (%(endpoint)s::uuid IS NULL OR x.endpoint = %(endpoint)s)), count(*)
FROM (SELECT d.state, d.endpoint FROM troth_schema.outbox_delivery d
      WHERE d.state IN ('dead', 'in_doubt') ORDER BY d.id DESC LIMIT %(scan)s) x

-- name: payload
-- The beginning of what one message says.
SELECT octet_length(x.data), substring(x.data FROM 1 FOR %(limit)s) FROM (
    SELECT CASE %(what)s::text WHEN 'headers' THEN m.headers WHEN 'payload' THEN m.payload END AS data
    FROM troth_schema.outbox_message m WHERE m.id = %(message)s LIMIT 1) x

-- name: answer
-- The beginning of what one attempt was answered.
SELECT octet_length(t.answer), substring(t.answer FROM 1 FOR %(limit)s) FROM troth_schema.outbox_attempt t
JOIN troth_schema.outbox_delivery d ON d.id = t.delivery
WHERE d.message = %(message)s AND t.delivery = %(delivery)s AND t.claim = %(claim)s LIMIT 1
