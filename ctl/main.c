/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <locale.h>
#include <unistd.h>

#include "command.h"
#include "daemon_commands.h"
#include "die.h"
#include "keys.h"
#include "report.h"
#include "revoke.h"
#include "rotate.h"
#include "schema.h"
#include "stats.h"
#include "top.h"
#include "usage.h"

enum {
    TAKES_KEYS = TAKES_DSN | TAKES_JSON,
    TAKES_ONE = TAKES_KEYS | TAKES_USER,
    TAKES_NEW = TAKES_ONE | TAKES_ID | TAKES_NAME | TAKES_KEY_ID | TAKES_ACTIVE,
};

const struct command command_table[] = {
    {"", "check", "[KEY]", 0, 1, TAKES_WITHIN | TAKES_ATTRIBUTES | TAKES_JSON, run_check,
     "may this key pass? Counts as a use of it"},
    {"", "explain", "[KEY]", 0, 1, TAKES_JSON, run_explain, "why check answers as it does"},
    {"", "invalidate", "[KEY]", 0, 1, TAKES_ALL, run_invalidate,
     "forget a key's verdict, or with --all every verdict"},
    {"", "flush", "", 0, 0, TAKES_JSON, run_flush, "write pending usage now"},
    {"", "stats", "", 0, 0, TAKES_JSON | TAKES_WATCH, run_stats,
     "rates, latencies and the state of the stores"},
    {"", "top", "", 0, 0, 0, run_top, "the same as stats, live, with the busiest clients"},
    {"", "config", "[GLOB]", 0, 1, TAKES_JSON, run_config, "show the options in force"},
    {"", "reload", "", 0, 0, 0, run_reload, "read the configuration again"},
    {"", "clients", "", 0, 0, TAKES_JSON, run_clients, "list the connected clients"},
    {"", "health", "", 0, 0, TAKES_JSON, run_health, "exit 0 when checks can be answered"},
    {"keys", "create", "", 0, 0, TAKES_NEW, run_keys_create, "create a key and show it once"},
    {"keys", "list", "", 0, 0, TAKES_ONE, run_keys_list,
     "list keys, newest first, inactive keys too"},
    {"keys", "show", "API_KEY_ID", 1, 1, TAKES_ONE, run_keys_show,
     "show everything about a key except the key itself"},
    {"keys", "rename", "API_KEY_ID NAME", 2, 2, TAKES_ONE, run_keys_rename, "change a key's name"},
    {"keys", "deactivate", "API_KEY_ID", 1, 1, TAKES_ONE, run_keys_deactivate,
     "refuse a key from now on"},
    {"keys", "activate", "API_KEY_ID", 1, 1, TAKES_ONE, run_keys_activate, "accept a key again"},
    {"keys", "rotate", "API_KEY_ID", 1, 1, TAKES_ONE | TAKES_ID | TAKES_NAME | TAKES_ROTATION,
     run_keys_rotate, "make a key's successor, and let the key end after an overlap"},
    {"keys", "revoke", "", 0, 0, TAKES_KEYS | TAKES_LEAKED, run_keys_revoke,
     "deactivate all keys of a list of leaked ones"},
    {"keys", "report", "", 0, 0, TAKES_ONE | TAKES_REPORT | TAKES_CSV, run_keys_report,
     "list keys that nobody uses, that are about to end, or that are refused and still sent"},
    {"keys", "delete", "API_KEY_ID", 1, 1, TAKES_ONE | TAKES_YES, run_keys_delete,
     "remove a key for good"},
    {"usage", "", "", 0, 0, TAKES_ONE | TAKES_CSV | TAKES_USAGE, run_usage,
     "how often keys were used, by time, or with --top by key"},
    {"usage", "maintain", "", 0, 0, TAKES_DSN, run_usage_maintain,
     "make the partitions of the coming months, and drop those older than usage.retention"},
    {"schema", "sql", "", 0, 0, TAKES_ROLE | TAKES_SQL, run_schema_sql,
     "print the SQL that makes what the daemon needs in the database"},
    {"schema", "check", "", 0, 0, TAKES_ROLE | TAKES_DSN | TAKES_JSON, run_schema_check,
     "say what of that the database has, what is missing, and what is in the way"},
};

const size_t command_count = sizeof command_table / sizeof command_table[0];

/* A connection must not get the number of a standard stream that is closed: what is meant for
 * stdout, such as a new key, would go to the database. The stream's use is an error still. */
static bool fill_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (!fill_standard_streams())
        return EX_OSERR;
    setlocale(LC_ALL, "");
    return command_main(argc, argv);
}
