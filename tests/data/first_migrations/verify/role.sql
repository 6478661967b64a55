-- Verify apikeyd:role on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT 1 / (
    has_schema_privilege('apikeyd', 'api', 'USAGE')
    AND has_column_privilege('apikeyd', 'api.user_api_key', 'key_id', 'SELECT')
    AND has_column_privilege('apikeyd', 'api.user_api_key', 'last_used', 'UPDATE')
    AND NOT has_column_privilege('apikeyd', 'api.user_api_key', 'is_active', 'UPDATE')
)::int;

ROLLBACK;
