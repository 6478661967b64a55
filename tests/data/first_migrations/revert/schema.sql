-- Revert apikeyd:schema from pg
-- Drops only what the deploy made.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    made apikeyd.made_by_schema;
BEGIN
    SELECT * INTO made FROM apikeyd.made_by_schema;
    IF made.made_user_api_key THEN
        DROP TABLE api.user_api_key;
    END IF;
    IF made.made_user THEN
        DROP TABLE api."user";
    END IF;
END
$$;

DROP TABLE apikeyd.made_by_schema;
DROP SCHEMA apikeyd;

COMMIT;
