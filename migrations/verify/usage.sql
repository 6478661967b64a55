-- Verify apikeyd:usage on pg

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT api_key_id, bucket, verdict, uses FROM api.user_api_key_usage WHERE false;
SELECT ledger_id, number, updated_at FROM api.apikeyd_ledger WHERE false;
SELECT 1 / (
    has_table_privilege('apikeyd', 'api.user_api_key_usage', 'INSERT')
    AND NOT has_table_privilege('apikeyd', 'api.user_api_key_usage', 'DELETE')
)::int;

ROLLBACK;
