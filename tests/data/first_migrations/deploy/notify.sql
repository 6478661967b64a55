-- Deploy apikeyd:notify to pg
-- Every change that can change a verdict is announced on channel apikeyd_key: an INSERT or DELETE
-- of a key (by a cascade from api."user" too), an UPDATE of what a verdict holds, a TRUNCATE. An
-- UPDATE of last_used, updated_at or key_name is not: the WHEN condition is all that it costs.
--
-- Payload: the first 16 bytes of the SHA-256 of the key ID in hex, or * for any key, then a blank
-- and the time in microseconds since 1970. Any role may LISTEN, so the key itself must not be sent.
--
-- The triggers' argument is the column that holds the key ID: the daemon looks whether that is its
-- option postgres.key_column.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION apikeyd.notify_key_change() RETURNS trigger
LANGUAGE plpgsql
-- It runs as whoever made the change, and calls nothing but what is in pg_catalog.
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made_at text := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    key text;
    digest text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('apikeyd_key', '* ' || made_at);
        RETURN NULL;
    END IF;

    FOR key IN
        SELECT DISTINCT r ->> TG_ARGV[0]
        FROM (VALUES (CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END),
                     (CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END)) AS v (r)
        WHERE r ->> TG_ARGV[0] IS NOT NULL
    LOOP
        BEGIN
            digest := left(encode(sha256(convert_to(key, 'UTF8')), 'hex'), 32);
        EXCEPTION
            -- No caller can send this key, as it has to be UTF-8. It must not fail the change.
            WHEN character_not_in_repertoire OR untranslatable_character THEN
                CONTINUE;
        END;
        PERFORM pg_notify('apikeyd_key', digest || ' ' || made_at);
    END LOOP;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION apikeyd.notify_key_change() IS
    'Announces a changed key to the apikeyd daemons, by digest.';

CREATE TRIGGER apikeyd_notify_rows
AFTER INSERT OR DELETE ON api.user_api_key
FOR EACH ROW EXECUTE FUNCTION apikeyd.notify_key_change('key_id');

-- A condition, not a list of columns: that would miss what a BEFORE trigger changes.
CREATE TRIGGER apikeyd_notify_update
AFTER UPDATE ON api.user_api_key
FOR EACH ROW WHEN (
    OLD.key_id IS DISTINCT FROM NEW.key_id
    OR OLD.is_active IS DISTINCT FROM NEW.is_active
    OR OLD.user_id IS DISTINCT FROM NEW.user_id
    OR OLD.api_key_id IS DISTINCT FROM NEW.api_key_id
)
EXECUTE FUNCTION apikeyd.notify_key_change('key_id');

CREATE TRIGGER apikeyd_notify_truncate
AFTER TRUNCATE ON api.user_api_key
FOR EACH STATEMENT EXECUTE FUNCTION apikeyd.notify_key_change('key_id');

-- Changes that logical replication applies count too.
ALTER TABLE api.user_api_key ENABLE ALWAYS TRIGGER apikeyd_notify_rows;
ALTER TABLE api.user_api_key ENABLE ALWAYS TRIGGER apikeyd_notify_update;
ALTER TABLE api.user_api_key ENABLE ALWAYS TRIGGER apikeyd_notify_truncate;

COMMIT;
