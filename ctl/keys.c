/* SPDX-License-Identifier: MIT */
#include "keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uuid/uuid.h>

#include <apikeyd/base/utf8.h>
#include <apikeyd/model/key_form.h>
#include <apikeyd/model/key_hasher.h>

#include "daemon_client.h"
#include "die.h"
#include "key_input.h"
#include "keys_db.h"
#include "output.h"

static_assert((int)KEYS_ID_SIZE >= UUID_STR_LEN, "a random ID has room");
static_assert((int)KEY_MADE_SIZE <= (int)KEY_INPUT_SIZE, "a new key has room");

void keys_make(const struct config *config, char ret[static KEY_MADE_SIZE])
{
    unsigned char random[KEY_RANDOM_LEN];

    for (size_t i = 0; i < sizeof random; i++)
        random[i] = (unsigned char)arc4random_uniform(KEY_DIGITS);
    key_form_make(config->keys_prefix.prefix[0], random, ret);
    explicit_bzero(random, sizeof random);
}

static bool wants_active(const struct request *request)
{
    const char *active = request->active ? request->active : "yes";

    if (strcmp(active, "yes") != 0 && strcmp(active, "no") != 0)
        die(EX_USAGE, "--active \"%s\": yes or no is expected", active);
    return active[0] == 'y';
}

static void take_key(const struct request *request, const struct config *config,
                     char key[static KEY_INPUT_SIZE])
{
    if (request->key_id)
        key_input(request->key_id, key);
    else
        keys_make(config, key);
    if (strlen(key) > KEY_LEN_MAX)
        die(EX_DATAERR, "the key is longer than 255 bytes");
    if (!utf8_valid_text((struct slice){key, strlen(key)}))
        die(EX_DATAERR, "the key is not valid UTF-8 text");
    if (config->keys_form == KEY_FORM_PREFIXED &&
        !key_form_fits(&config->keys_prefix, (struct slice){key, strlen(key)}))
        die(EX_DATAERR, "the key has not the form that keys.form demands, and the daemon would "
                        "answer DENY unknown; leave --key-id out for a key that has it");
}

void keys_check_id(const struct config *config, const char *what, const char *text)
{
    enum id_type type = (enum id_type)config->postgres_id_type;
    static const char *const expected[] = {
        [ID_UUID] = "a UUID is expected (8-4-4-4-12 hexadecimal digits)",
        [ID_BIGINT] = "a whole number is expected",
        [ID_TEXT] = "1 to 36 bytes of UTF-8 without blanks are expected",
    };
    struct row_id id;
    uuid_t uuid;

    if (!text)
        return;
    bool right = type == ID_UUID ? uuid_parse(text, uuid) == 0
                                 : row_id_from_text((struct slice){text, strlen(text)}, type, &id);

    if (!right)
        die(EX_DATAERR, "%s \"%s\": %s", what, text, expected[type]);
}

/* A command's database, and the configuration that it is opened by. */
struct opened {
    struct config *config;
    struct keys_db *db;
};

struct keys_db *keys_connect(const struct request *request, const struct config *config)
{
    keys_check_id(config, "--user", request->user);
    keys_check_id(config, "--id", request->id);
    keys_check_id(config, "API_KEY_ID", request->argc > 0 ? request->argv[0] : NULL);
    return keys_db_open(request, config);
}

static struct opened open_db(const struct request *request)
{
    struct opened opened = {.config = daemon_config(request)};

    opened.db = keys_connect(request, opened.config);
    return opened;
}

static void close_db(struct opened *opened)
{
    keys_db_close(opened->db);
    config_free(opened->config);
}

/* A name and a flag are for tables that have such columns. */
static void check_new(const struct request *request, const struct config *config)
{
    bool named = config->postgres_name_column[0] != '\0';

    if (!request->user || (named && (!request->name || !request->name[0])))
        die(EX_USAGE, "keys create needs --user%s", named ? " and --name" : "");
    if (!named && request->name)
        die(EX_USAGE, "--name: postgres.name_column is empty: keys have no names here");
    if (!config->postgres_active_column[0] && !wants_active(request))
        die(EX_USAGE, "--active no: postgres.active_column is empty: every key is active");
}

const char *keys_new_id(const struct request *request, const struct config *config,
                        char random[static KEYS_ID_SIZE])
{
    uuid_t made;

    if (request->id || config->postgres_id_type != ID_UUID)
        return request->id;
    uuid_generate_random(made);
    uuid_unparse_lower(made, random);
    return random;
}

/* Whoever does not get the key now never gets it. */
static void show_new(const struct request *request, json_t *row)
{
    json_t *shown = json_deep_copy(row);

    output_object(request->json, shown);
    if (fflush(stdout) != 0 || ferror(stdout))
        die(EX_IOERR,
            "the new key cannot be written to stdout, and is lost: apikeyctl keys delete %s "
            "removes its row",
            json_string_value(json_object_get(row, "api_key_id")));
    json_decref(row);
}

int run_keys_create(const struct request *request)
{
    char key[KEY_INPUT_SIZE];
    char uuid[KEYS_ID_SIZE];
    struct opened opened = {.config = daemon_config(request)};
    struct new_key made = {
        .id = keys_new_id(request, opened.config, uuid),
        .user = request->user,
        .name = request->name,
        .active = wants_active(request),
    };

    check_new(request, opened.config);
    take_key(request, opened.config, key);
    opened.db = keys_connect(request, opened.config);
    made.column = keys_db_column(opened.db, key);
    made.fallback = keys_db_fallback_needs_key(opened.db) ? key : NULL;
    json_t *row = keys_db_insert(opened.db, &made);

    json_object_set_new(row, "key_id", json_string(key));
    show_new(request, row);
    if (made.fallback)
        fprintf(stderr,
                "The table holds the key itself too: its column %s is NOT NULL. Drop that "
                "constraint, and new keys are stored as hashes only.\n",
                opened.config->postgres_key_column_fallback);
    if (!request->json)
        fprintf(stderr, "Keep key_id now: it is not shown again.\n");
    close_db(&opened);
    explicit_bzero(key, sizeof key);
    return EXIT_SUCCESS;
}

int run_keys_list(const struct request *request)
{
    static const struct column columns[] = {
        {"api_key_id", "API_KEY_ID"}, {"name", "NAME"},          {"active", "ACTIVE"},
        {"last_used", "LAST_USED"},   {"created_at", "CREATED"}, {"user_id", "USER"},
        {"fingerprint", "KEY"},
    };
    struct opened opened = open_db(request);

    output_rows(request->json, keys_db_list(opened.db, request->user), columns,
                sizeof columns / sizeof columns[0]);
    close_db(&opened);
    return EXIT_SUCCESS;
}

static int show_row(const struct request *request, struct opened *opened, json_t *row)
{
    close_db(opened);
    if (!row)
        die(STATUS_FAILED, "there is no key %s%s%s", request->argv[0],
            request->user ? " of user " : "", request->user ? request->user : "");
    output_object(request->json, row);
    return EXIT_SUCCESS;
}

/* The keys that follow one another: whoever has not changed to the new key still uses the old one.
 */
static void show_rotation(json_t *rows)
{
    static const struct column columns[] = {
        {"api_key_id", "API_KEY_ID"}, {"name", "NAME"},           {"active", "ACTIVE"},
        {"expires_at", "ENDS"},       {"last_used", "LAST_USED"}, {"fingerprint", "KEY"},
    };

    printf("\nthe keys of its rotation, oldest first:\n");
    output_rows(false, rows, columns, sizeof columns / sizeof columns[0]);
}

int run_keys_show(const struct request *request)
{
    struct opened opened = open_db(request);
    json_t *row = keys_db_find(opened.db, request->argv[0], request->user);
    json_t *rotation = keys_db_rotation(opened.db, request->argv[0], request->user);
    bool rotated = json_array_size(rotation) > 1;

    if (row && rotated && request->json)
        json_object_set(row, "rotation", rotation);
    int status = show_row(request, &opened, row);
    if (rotated && !request->json)
        show_rotation(json_incref(rotation));
    json_decref(rotation);
    return status;
}

int run_keys_rename(const struct request *request)
{
    struct opened opened = open_db(request);

    return show_row(request, &opened,
                    keys_db_rename(opened.db, request->argv[0], request->user, request->argv[1]));
}

int run_keys_deactivate(const struct request *request)
{
    struct opened opened = open_db(request);

    return show_row(request, &opened,
                    keys_db_set_active(opened.db, request->argv[0], request->user, false));
}

int run_keys_activate(const struct request *request)
{
    struct opened opened = open_db(request);

    return show_row(request, &opened,
                    keys_db_set_active(opened.db, request->argv[0], request->user, true));
}

static void confirm(const struct request *request)
{
    char answer[16] = "";

    if (request->yes || !isatty(STDIN_FILENO))
        return;
    fprintf(stderr, "Delete key %s for good (deactivate keeps it)? [y/N] ", request->argv[0]);
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
        die(STATUS_FAILED, "nothing was deleted");
}

int run_keys_delete(const struct request *request)
{
    struct opened opened = open_db(request);

    confirm(request);
    return show_row(request, &opened, keys_db_delete(opened.db, request->argv[0], request->user));
}
