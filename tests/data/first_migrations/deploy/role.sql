-- Deploy apikeyd:role to pg
-- Roles belong to the whole server: another database may have made this one already.
-- It has no password; give it one, or let pg_hba.conf or a client certificate say who it is.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'apikeyd') THEN
        CREATE ROLE apikeyd LOGIN;
    END IF;
END
$$;

-- A daemon that no longer waits for a query hangs up. A server that can notices that within a
-- second (PostgreSQL 14 and later), so that such queries do not pile up behind a lock.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'client_connection_check_interval') THEN
        ALTER ROLE apikeyd SET client_connection_check_interval = '1s';
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR invalid_parameter_value THEN
        RAISE NOTICE 'client_connection_check_interval of role apikeyd stays as it is: %', SQLERRM;
END
$$;

GRANT USAGE ON SCHEMA api TO apikeyd;
GRANT SELECT (api_key_id, key_id, user_id, is_active, created_at, last_used)
ON api.user_api_key TO apikeyd;
GRANT UPDATE (last_used, updated_at) ON api.user_api_key TO apikeyd;

COMMIT;
