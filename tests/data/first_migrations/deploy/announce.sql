-- Deploy apikeyd:announce to pg
-- The trigger function of "notify", made anew: it reads no column but the one that it announces,
-- never fails the statement that fired it, announces a change of many keys as one, and does not
-- depend on room in PostgreSQL's notification queue.
--
-- Payload: as before, the first 16 bytes of the SHA-256 of the key ID in hex, or * for any key, then
-- a blank and the time in microseconds since 1970.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Transactions whose changes could not be notified, as the notification queue was more than half
-- full: a full queue fails a COMMIT, where no trigger can help. Each heartbeat of a daemon looks for
-- new rows here. Rows of more than a minute ago are of no use and may be deleted.
CREATE TABLE apikeyd.unannounced_change (
    xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
    made_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE apikeyd.unannounced_change IS
    'Transactions that changed keys while the notification queue was more than half full.';

-- The daemon may listen as any role. Nothing but transaction IDs is here.
GRANT USAGE ON SCHEMA apikeyd TO PUBLIC;
GRANT SELECT ON apikeyd.unannounced_change TO PUBLIC;

-- Whether the queue is so full that this transaction was noted instead. SECURITY DEFINER: whoever
-- changes a key needs no rights on the table. It takes nothing from its caller.
CREATE FUNCTION apikeyd.note_unannounced_change() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_notification_queue_usage() <= 0.5 THEN
        RETURN false;
    END IF;
    INSERT INTO apikeyd.unannounced_change DEFAULT VALUES ON CONFLICT DO NOTHING;
    RETURN true;
END
$$;

-- It runs as whoever made the change: the key column's type, and with it the cast to text, is the
-- table owner's to choose.
CREATE OR REPLACE FUNCTION apikeyd.notify_key_change() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Keys that one transaction announces by name. Beyond that it announces * once, as PostgreSQL
    -- drops a notification that equals an earlier one of the same transaction.
    announced_max CONSTANT int := 1000;
    announced int := announced_max;  -- so far in this transaction
    keys text[];
    digests text[] := '{}';
BEGIN
    -- A setting that somebody made up announces too much at worst.
    BEGIN
        IF TG_OP <> 'TRUNCATE' THEN
            announced := coalesce(nullif(current_setting('apikeyd.announced', true), ''), '0')::int;
        END IF;
        IF announced BETWEEN 0 AND announced_max - 1 THEN
            CASE TG_OP
                WHEN 'INSERT' THEN
                    EXECUTE format('SELECT array[$1.%I::text]', TG_ARGV[0]) INTO keys USING NEW;
                WHEN 'DELETE' THEN
                    EXECUTE format('SELECT array[$1.%I::text]', TG_ARGV[0]) INTO keys USING OLD;
                ELSE
                    EXECUTE format('SELECT array[$1.%1$I::text, $2.%1$I::text]', TG_ARGV[0])
                    INTO keys USING OLD, NEW;
            END CASE;
            FOR i IN 1 .. array_length(keys, 1) LOOP
                BEGIN
                    IF keys[i] IS NOT NULL AND (i = 1 OR keys[i] IS DISTINCT FROM keys[1]) THEN
                        digests := digests ||
                            left(encode(sha256(convert_to(keys[i], 'UTF8')), 'hex'), 32);
                    END IF;
                EXCEPTION
                    -- No caller can send this key, as it has to be UTF-8.
                    WHEN character_not_in_repertoire OR untranslatable_character THEN
                        NULL;
                END;
            END LOOP;
            PERFORM set_config('apikeyd.announced', (announced + 1)::text, true);
        ELSE
            digests := NULL;
        END IF;
    EXCEPTION
        WHEN OTHERS THEN
            digests := NULL;
    END;

    -- Once a transaction, and before each *; a transaction that was noted is so at each change.
    IF announced <= 0 OR digests IS NULL THEN
        BEGIN
            IF apikeyd.note_unannounced_change() THEN
                PERFORM set_config('apikeyd.announced', '0', true);
                RETURN NULL;
            END IF;
        EXCEPTION
            WHEN OTHERS THEN
                NULL; -- then by notification
        END;
    END IF;

    IF digests IS NULL THEN
        PERFORM pg_notify('apikeyd_key', '* ' || (extract(epoch FROM now()) * 1000000)::bigint);
        RETURN NULL;
    END IF;
    FOR i IN 1 .. coalesce(array_length(digests, 1), 0) LOOP
        PERFORM pg_notify('apikeyd_key', digests[i] || ' '
            || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    END LOOP;
    RETURN NULL;
END
$$;

-- TRUNCATE of a partition, and any change of a child that is no partition, fires its own triggers
-- only.
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
        EXECUTE format('CREATE TRIGGER apikeyd_notify_truncate AFTER TRUNCATE ON %s '
            'FOR EACH STATEMENT EXECUTE FUNCTION apikeyd.notify_key_change(''key_id'')', child);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER apikeyd_notify_truncate', child);
        IF is_partition THEN
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER apikeyd_notify_rows', child);
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER apikeyd_notify_update', child);
            CONTINUE;
        END IF;
        EXECUTE format('CREATE TRIGGER apikeyd_notify_rows AFTER INSERT OR DELETE OR UPDATE ON %s '
            'FOR EACH ROW EXECUTE FUNCTION apikeyd.notify_key_change(''key_id'')', child);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER apikeyd_notify_rows', child);
    END LOOP;
END
$$;

-- The daemon's statements name their schemas, and nothing that another role made in a schema of the
-- default path can come before them.
DO $$
BEGIN
    ALTER ROLE apikeyd SET search_path = pg_catalog, pg_temp;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'search_path of role apikeyd stays as it is: %', SQLERRM;
END
$$;

COMMIT;
