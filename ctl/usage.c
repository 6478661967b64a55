/* SPDX-License-Identifier: MIT */
#include "usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bars.h"
#include "daemon_client.h"
#include "die.h"
#include "duration.h"
#include "keys.h"
#include "output.h"
#include "usage_db.h"

/* A year of hours. More would be read by nobody, and has to be held in memory. */
enum { ROWS_MAX = 10000 };

static int64_t seconds_of_unit(const char *by)
{
    static const struct {
        const char *by;
        int64_t seconds;
    } units[] = {{"hour", 3600}, {"day", 86400}, {"month", INT64_C(28) * 86400}};

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(by, units[i].by) == 0)
            return units[i].seconds;
    }
    die(EX_USAGE, "--by \"%s\": hour, day or month is expected", by);
}

static unsigned top_of(const struct request *request)
{
    size_t digits = strspn(request->top, "0123456789");
    unsigned long number = strtoul(request->top, NULL, 10);

    if (digits == 0 || digits > 5 || request->top[digits] || number < 1 || number > ROWS_MAX)
        die(EX_USAGE, "--top \"%s\": a number from 1 to %d is expected", request->top, ROWS_MAX);
    return (unsigned)number;
}

static struct usage_question question_of(const struct request *request, const struct config *config)
{
    static const char since[] = "30d";
    struct usage_question question = {.by = request->by ? request->by : "day",
                                      .key = request->key,
                                      .user = request->user,
                                      .rotated = request->rotated};
    int64_t unit = seconds_of_unit(question.by);

    if (request->json && request->csv)
        die(EX_USAGE, "usage prints --json or --csv, not both");
    if (request->key && request->user)
        die(EX_USAGE, "--key and --user: only one of them is expected");
    if (request->rotated && !request->key)
        die(EX_USAGE, "--rotated is of a key, which --key names");
    if (request->rotated && !config->postgres_successor_of_column[0])
        die(EX_CONFIG, "--rotated needs postgres.successor_of_column, which is empty: nothing says "
                       "which key succeeds which");
    if (request->top && (request->key || request->by))
        die(EX_USAGE, "--top shows keys, not times, and takes neither --key nor --by");
    if (config->usage_counts == USAGE_COUNTS_DAY && strcmp(question.by, "hour") == 0)
        die(EX_USAGE, "--by hour: usage.counts is day, so there are no hours");
    question.rows_max = request->top ? top_of(request) : 0;
    question.since_s = duration_seconds("--since", request->since ? request->since : since, 1);
    if (!request->top && question.since_s / unit > ROWS_MAX)
        die(EX_USAGE, "--since %s --by %s: at most %d rows are shown; ask for larger times",
            request->since ? request->since : since, question.by, ROWS_MAX);
    return question;
}

static int64_t number_of(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}

static int64_t sum_of(const json_t *rows)
{
    const json_t *row;
    int64_t sum = 0;
    size_t i;

    json_array_foreach(rows, i, row) sum += number_of(row, "total");
    return sum;
}

/* What a table shows, with a column of bars behind it in a terminal, and what CSV has. */
struct columns {
    const struct column *table, *csv;
    size_t table_count, csv_count;
};

static const struct column busiest_table[] = {
    {"api_key_id", "API_KEY_ID"}, {"name", "NAME"},   {"allow", "ALLOW"}, {"inactive", "INACTIVE"},
    {"expired", "EXPIRED"},       {"early", "EARLY"}, {"bar", ""},
};
static const struct column busiest_csv[] = {
    {"api_key_id", ""}, {"name", ""},    {"user_id", ""}, {"deleted", ""}, {"allow", ""},
    {"inactive", ""},   {"expired", ""}, {"early", ""},   {"total", ""},
};
static const struct column times_table[] = {
    {"time", "TIME"},       {"allow", "ALLOW"}, {"inactive", "INACTIVE"},
    {"expired", "EXPIRED"}, {"early", "EARLY"}, {"bar", ""},
};
static const struct column times_csv[] = {
    {"time", ""}, {"allow", ""}, {"inactive", ""}, {"expired", ""}, {"early", ""}, {"total", ""},
};

enum { LAST = 1 }; /* the column of bars */

#define COLUMNS(of)                                                                                \
    ((struct columns){of##_table, of##_csv, sizeof of##_table / sizeof of##_table[0] - LAST,       \
                      sizeof of##_csv / sizeof of##_csv[0]})

/* Bars take what the terminal has left. */
static void add_bars(json_t *rows, int room)
{
    static const int room_max = 60;
    int width = room < room_max ? room : room_max;
    int64_t max = 1;
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (number_of(row, "total") > max)
            max = number_of(row, "total");
    }
    json_array_foreach(rows, i, row)
    {
        struct buffer bar = {0};

        bars_append(&bar, number_of(row, "total"), max, width);
        buffer_append(&bar, "", 1);
        json_object_set_new(row, "bar", json_string(bar.data));
        buffer_free(&bar);
    }
}

static void print_table(json_t *rows, const struct columns *columns)
{
    static const int room_min = 10;
    int room = bars_terminal_width() - output_width(rows, columns->table, columns->table_count) - 2;
    bool with_bars = room >= room_min;

    if (with_bars)
        add_bars(rows, room);
    output_rows_as(OUTPUT_TABLE, rows, columns->table,
                   columns->table_count + (with_bars ? LAST : 0));
}

/* Returns how many of the keys are deleted. */
static size_t deleted_of(const json_t *rows)
{
    const json_t *row;
    size_t deleted = 0, i;

    json_array_foreach(rows, i, row)
    {
        if (json_is_true(json_object_get(row, "deleted")))
            deleted++;
    }
    return deleted;
}

/* For people: a sentence where a table would say nothing. */
static void tell(json_t *rows, const struct columns *columns, const struct usage_db *db,
                 const struct config *config)
{
    size_t deleted = deleted_of(rows);

    if (sum_of(rows) == 0) {
        printf("No uses were counted since %s.\n", usage_db_since(db));
        json_decref(rows);
    } else {
        print_table(rows, columns);
    }
    if (deleted > 0)
        printf("\n%zu of these keys %s deleted: %s has no row of it.\n", deleted,
               deleted == 1 ? "is" : "are", config->postgres_table);
    if (config->usage_counts == USAGE_COUNTS_OFF)
        printf("\nusage.counts is off: the daemon of this configuration counts nothing.\n");
}

/* The counts of a key may outlive it; whose keys were deleted is not known. */
static void check_known(struct usage_db *db, const struct usage_question *question,
                        const json_t *rows, const struct config *config)
{
    if ((!question->key && !question->user) || usage_db_has_key(db))
        return;
    if (question->user)
        die(STATUS_FAILED, "user %s has no key in %s", question->user, config->postgres_table);
    if (sum_of(rows) == 0)
        die(STATUS_FAILED, "%s has no key with ID %s, and no uses of one were counted since %s",
            config->postgres_table, question->key, usage_db_since(db));
    fprintf(stderr, "Key %s is deleted: %s has no row of it.\n", question->key,
            config->postgres_table);
}

int run_usage(const struct request *request)
{
    struct config *config = daemon_config(request);
    struct usage_question question = question_of(request, config);
    struct columns columns = request->top ? COLUMNS(busiest) : COLUMNS(times);

    keys_check_id(config, "--key", question.key);
    keys_check_id(config, "--user", question.user);
    struct usage_db *db = usage_db_open(request, config, &question);
    json_t *rows = request->top ? usage_db_busiest(db) : usage_db_times(db);
    check_known(db, &question, rows, config);
    if (request->json || request->csv)
        output_rows_as(request->csv ? OUTPUT_CSV : OUTPUT_JSON, rows, columns.csv,
                       columns.csv_count);
    else
        tell(rows, &columns, db, config);
    usage_db_close(db);
    config_free(config);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EX_IOERR;
}

int run_usage_maintain(const struct request *request)
{
    struct config *config = daemon_config(request);
    const json_t *line;
    size_t i;

    if (config->usage_retention == 0) {
        printf("usage.retention is 0s: counts are kept for ever, and there is nothing to do.\n");
        config_free(config);
        return EXIT_SUCCESS;
    }
    json_t *done = usage_db_maintain(request, config);
    json_array_foreach(done, i, line)
    {
        output_text(json_string_value(line));
        putchar('\n');
    }
    if (json_array_size(done) == 0)
        printf("All partitions are there, and none is older than usage.retention.\n");
    json_decref(done);
    config_free(config);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EX_IOERR;
}
