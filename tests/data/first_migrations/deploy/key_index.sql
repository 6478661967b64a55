-- Deploy apikeyd:key_index to pg
-- Where an equal index exists already, under whatever name, it is kept.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    duplicates bigint;
BEGIN
    IF EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = 'api.user_api_key'::regclass AND indisunique AND indisvalid
            AND indpred IS NULL AND pg_get_indexdef(indexrelid) LIKE '%(key_id)'
    ) THEN
        RETURN;
    END IF;

    SELECT count(*) INTO duplicates
    FROM (SELECT FROM api.user_api_key GROUP BY key_id HAVING count(*) > 1) AS d;

    IF duplicates > 0 THEN
        RAISE EXCEPTION '% key IDs stand in more than one row of api.user_api_key; '
            'a unique index cannot be made', duplicates
            USING HINT = 'The daemon works without it, and denies a key unless all of its rows are '
                'active. List them: SELECT key_id, count(*) FROM api.user_api_key '
                'GROUP BY key_id HAVING count(*) > 1. Give it a plain index meanwhile: '
                'CREATE INDEX ON api.user_api_key (key_id).';
    END IF;

    CREATE UNIQUE INDEX user_api_key_key_id_idx ON api.user_api_key (key_id);
    COMMENT ON INDEX api.user_api_key_key_id_idx IS 'made by apikeyd';
END
$$;

-- last_used changes often and is in no index: with room left on its page, the new version of a
-- row needs no index entry (HOT).
ALTER TABLE api.user_api_key SET (fillfactor = 80);

COMMIT;
