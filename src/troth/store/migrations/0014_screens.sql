-- What screens need: since when runs stand in attention, and the indexes of lists.
--
--   attention   since when a run stands in attention   (a row for each such run; deleted when it leaves)
--
-- A trigger keeps it, whoever moves the run: only a change into attention or out of it costs anything.

CREATE TABLE troth_schema.attention (
    run_id  uuid PRIMARY KEY,
    since   timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX attention_since ON troth_schema.attention (since, run_id);

-- Of those that are there already, the last thing that is known is when something was recorded.
INSERT INTO troth_schema.attention (run_id, since)
SELECT r.id, coalesce((SELECT max(j.at) FROM troth_schema.journal j WHERE j.run_id = r.id), r.starts_at)
FROM troth_schema.run r WHERE r.state = 'attention';

CREATE FUNCTION troth_schema.keep_attention() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'attention' THEN
        INSERT INTO troth_schema.attention AS a (run_id) VALUES (NEW.id)
        ON CONFLICT (run_id) DO UPDATE SET since = excluded.since;
    ELSE
        DELETE FROM troth_schema.attention a WHERE a.run_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER attention AFTER UPDATE OF state ON troth_schema.run FOR EACH ROW
    WHEN ((OLD.state = 'attention') <> (NEW.state = 'attention'))
    EXECUTE FUNCTION troth_schema.keep_attention();

-- The list of requests, the latest first, and the look-up by key.
CREATE INDEX IF NOT EXISTS request_at ON troth_schema.request (at, id);
CREATE INDEX IF NOT EXISTS request_key ON troth_schema.request (key) WHERE key IS NOT NULL;

-- The list of events, the latest first; the same of those that are open, which may be few among millions.
CREATE INDEX IF NOT EXISTS inbox_event_seq ON troth_schema.inbox_event (seq);
CREATE INDEX IF NOT EXISTS inbox_event_open_seq ON troth_schema.inbox_event (seq) WHERE state IN ('received', 'parked', 'quarantined');
