# Make a header with the SHA-256 of the trigger function's body, as FROM, a migration, creates it:
# the daemon believes in no other.
file(READ ${FROM} sql)
string(FIND "${sql}" "CREATE OR REPLACE FUNCTION apikeyd.notify_key_change()" begin)
string(SUBSTRING "${sql}" ${begin} -1 sql)
string(FIND "${sql}" "$$" begin)
math(EXPR begin "${begin} + 2")
string(SUBSTRING "${sql}" ${begin} -1 sql)
string(FIND "${sql}" "$$" end)
string(SUBSTRING "${sql}" 0 ${end} body)
string(SHA256 hash "${body}")
file(WRITE ${TO} "/* Made from ${NAME}. */\n#define TRIGGER_FUNCTION_SHA256 \"${hash}\"\n")
