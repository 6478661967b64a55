-- Revert apikeyd:announce from pg
-- The function of "notify" again. Also where a part is missing: to revert and deploy again is how it is
-- repaired.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION apikeyd.notify_key_change() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
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

DO $$
DECLARE
    child regclass;
    is_partition boolean;
BEGIN
    FOR child, is_partition IN
        WITH RECURSIVE tree (oid) AS (
            SELECT 'api.user_api_key'::regclass::oid
            UNION
            SELECT i.inhrelid FROM pg_inherits AS i JOIN tree ON tree.oid = i.inhparent
        )
        SELECT c.oid::regclass, c.relispartition
        FROM tree JOIN pg_class AS c USING (oid)
        WHERE c.oid <> 'api.user_api_key'::regclass AND c.relkind = 'r'
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS apikeyd_notify_truncate ON %s', child);
        IF NOT is_partition THEN
            EXECUTE format('DROP TRIGGER IF EXISTS apikeyd_notify_rows ON %s', child);
        END IF;
    END LOOP;
END
$$;

REVOKE USAGE ON SCHEMA apikeyd FROM PUBLIC;
DROP FUNCTION IF EXISTS apikeyd.note_unannounced_change();
DROP TABLE IF EXISTS apikeyd.unannounced_change;
ALTER ROLE apikeyd RESET search_path;

COMMIT;
