-- Deploy apikeyd:role to pg
-- Made by tests/harness/migrations.py. It may run again at any time.

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- The role that the daemon uses, and its rights. It gets no password: give it one, or let pg_hba.conf or
-- a client certificate say who it is. Where roles log in with IAM tokens:
-- GRANT rds_iam TO "apikeyd";
DO $apikeyd$
DECLARE
    path CONSTANT pg_catalog.text := pg_catalog.current_setting('search_path');
    role CONSTANT pg_catalog.text := E'apikeyd';
    keys pg_catalog.regclass;
    f pg_catalog.record;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- Roles belong to the whole server: another database may have made this one already.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
        BEGIN
            CREATE ROLE "apikeyd" LOGIN;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'role % is missing, and % may not create roles', role, current_user
                    USING HINT = 'Have it created, or name another one with --role, or leave role and '
                        'grants out with --no-role.';
        END;
    END IF;

    -- A daemon that no longer waits for a query hangs up. With the first setting the server notices
    -- within a second, so that such queries do not pile up behind a lock. With the second, no object
    -- of another role comes before PostgreSQL's own.
    FOR f IN
        SELECT * FROM (VALUES ('client_connection_check_interval', '1s', '''1s'''),
                              ('search_path', 'pg_catalog, pg_temp', 'pg_catalog, pg_temp')) AS v (name, value, sql)
    LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_roles
            WHERE rolname = role AND rolconfig @> ARRAY[concat(f.name, '=', f.value)]
        );
        BEGIN
            EXECUTE format('ALTER ROLE %I SET %I = %s', role, f.name, f.sql);
        EXCEPTION
            WHEN insufficient_privilege OR invalid_parameter_value OR undefined_object THEN
                RAISE NOTICE '% of role % stays as it is: %', f.name, role, SQLERRM;
        END;
    END LOOP;

    keys := E'"api"."user_api_key"'::regclass;
    IF NOT has_schema_privilege(role, (SELECT relnamespace FROM pg_class WHERE oid = keys), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I',
            (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = keys), role);
    END IF;
    FOR f IN
        SELECT * FROM (VALUES ('SELECT', ARRAY[E'key_id', E'is_active', E'user_id', E'api_key_id', E'created_at', E'last_used']), ('UPDATE', ARRAY[E'last_used', E'updated_at'])) AS v (verb, names)
    LOOP
        IF NOT (SELECT bool_and(has_column_privilege(role, keys, name, f.verb)) FROM unnest(f.names) AS name)
        THEN
            EXECUTE format('GRANT %s (%s) ON %s TO %I', f.verb,
                (SELECT string_agg(quote_ident(name), ', ') FROM unnest(f.names) AS name), keys, role);
        END IF;
    END LOOP;

    PERFORM set_config('search_path', path, true);
END
$apikeyd$;

COMMIT;
