/* SPDX-License-Identifier: MIT */
#include "revoke.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon_client.h"
#include "die.h"
#include "keys.h"
#include "leak_file.h"
#include "output.h"
#include "revoke_query.h"

/* Triggers announce up to 1,000 changed keys one by one, and more as a change of all keys, which
 * costs every daemon its memory. Fingerprints have no index: each batch reads the whole table. */
enum { KEYS_A_BATCH = 1000, FINGERPRINTS_A_BATCH = 100000, BROKEN_SHOWN = 20 };

enum outcome { REVOKED, INACTIVE, AMBIGUOUS, UNKNOWN, OUTCOMES };

static const char *const outcome_name[OUTCOMES] = {"revoked", "inactive already", "ambiguous",
                                                   "unknown"};

struct entry {
    uint64_t line;
    char fingerprint[FINGERPRINT_SIZE];
};

struct batch {
    enum leak_kind kind;
    size_t len, max;
    struct entry *entry;
    struct leaked leaked;
};

struct revocation {
    const struct request *request;
    struct keys_db *db;
    struct batch keys, fingerprints;
    uint64_t lines, blank, broken;
    uint64_t counted[OUTCOMES]; /* lines */
    uint64_t rows;              /* keys that were, or would be, revoked */
    bool printed;               /* a line of the output */
};

static void batch_init(struct batch *batch, enum leak_kind kind, size_t max)
{
    *batch = (struct batch){.kind = kind, .max = max, .entry = calloc(max, sizeof *batch->entry)};
    if (!batch->entry)
        die(EX_OSERR, "out of memory");
}

static void batch_done(struct batch *batch)
{
    free(batch->entry);
    leaked_clear(&batch->leaked);
}

/* Look for broken lines, and name the first of them. */
static uint64_t count_broken(struct leak_file *file)
{
    struct leak_line line;
    uint64_t broken = 0;

    while (leak_file_read(file, &line)) {
        if (line.kind != LEAK_BROKEN)
            continue;
        if (broken++ < BROKEN_SHOWN)
            fprintf(stderr, "apikeyctl: %s:%" PRIu64 ": %s\n", leak_file_name(file), line.number,
                    line.wrong);
    }
    return broken;
}

static void print_head(const struct revocation *run)
{
    if (run->request->json)
        printf("{\"dry_run\": %s, \"lines\": [", run->request->dry_run ? "true" : "false");
    else
        printf("%-9s %-12s %-37s %s\n", "LINE", "KEY", "API_KEY_ID", "RESULT");
}

static void print_line(struct revocation *run, const struct entry *entry, const char *id,
                       enum outcome outcome)
{
    const char *name =
        outcome == REVOKED && run->request->dry_run ? "would be revoked" : outcome_name[outcome];

    if (run->request->json) {
        json_t *object =
            json_pack("{s:I,s:s,s:s?,s:s}", "line", (json_int_t)entry->line, "fingerprint",
                      entry->fingerprint, "api_key_id", id, "result", name);

        printf("%s\n  ", run->printed ? "," : "");
        json_dumpf(object, stdout, 0);
        json_decref(object);
    } else {
        printf("%-9" PRIu64 " %-12s ", entry->line, entry->fingerprint);
        output_text(id ? id : "-");
        printf("%*s %s\n", 37 - (int)strnlen(id ? id : "-", 37), "", name);
    }
    run->printed = true;
}

static enum outcome outcome_of(const struct revoked_row *row)
{
    if (row->ambiguous)
        return AMBIGUOUS;
    return row->revoked ? REVOKED : INACTIVE;
}

/* The line at `place` of the batch. Its rows stand together, from *at on. A key that stands in
 * several rows is revoked in all of them. */
static void settle_line(struct revocation *run, const struct batch *batch, size_t place,
                        const PGresult *result, int *at)
{
    const struct entry *entry = &batch->entry[place];
    enum outcome of_line = UNKNOWN;

    for (; *at < PQntuples(result); ++*at) {
        struct revoked_row row = revoke_query_row(result, *at);
        enum outcome outcome = outcome_of(&row);

        if (row.place != place)
            break;
        print_line(run, entry, row.id, outcome);
        run->rows += outcome == REVOKED && row.first;
        if (of_line == UNKNOWN || outcome < of_line)
            of_line = outcome;
    }
    if (of_line == UNKNOWN)
        print_line(run, entry, NULL, UNKNOWN);
    run->counted[of_line]++;
}

static void flush(struct revocation *run, struct batch *batch)
{
    int at = 0;

    if (batch->len == 0)
        return;
    PGresult *result = revoke_query_run(run->db, &batch->leaked, batch->kind == LEAK_FINGERPRINT,
                                        run->request->dry_run);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        fflush(stdout);
        if (run->printed)
            fprintf(stderr, "apikeyctl: the keys that are shown as revoked stay revoked; the same "
                            "command again goes on with the others\n");
        keys_db_refused(result);
    }
    for (size_t i = 0; i < batch->len; i++)
        settle_line(run, batch, i, result, &at);
    PQclear(result);
    leaked_clear(&batch->leaked);
    batch->len = 0;
}

static void add(struct revocation *run, struct batch *batch, const struct leak_line *line)
{
    struct entry *entry = &batch->entry[batch->len];

    entry->line = line->number;
    if (batch->kind == LEAK_KEY)
        leaked_add_key(&batch->leaked, run->db, batch->len, line->text, entry->fingerprint);
    else
        leaked_add_fingerprint(&batch->leaked, batch->len, line->text);
    if (batch->kind == LEAK_FINGERPRINT)
        snprintf(entry->fingerprint, sizeof entry->fingerprint, "%.*s", (int)line->text.len,
                 line->text.at);
    if (++batch->len == batch->max)
        flush(run, batch);
}

static void revoke_all(struct revocation *run, struct leak_file *file)
{
    struct leak_line line;

    while (leak_file_read(file, &line)) {
        run->lines++;
        run->blank += line.kind == LEAK_BLANK;
        run->broken += line.kind == LEAK_BROKEN;
        if (line.kind == LEAK_KEY)
            add(run, &run->keys, &line);
        else if (line.kind == LEAK_FINGERPRINT)
            add(run, &run->fingerprints, &line);
    }
    flush(run, &run->keys);
    flush(run, &run->fingerprints);
}

static void print_summary(const struct revocation *run)
{
    const uint64_t *counted = run->counted;
    const char *would = run->request->dry_run ? "would be " : "";

    if (run->request->json) {
        printf("%s], \"summary\": ", run->printed ? "\n" : "");
        json_t *summary =
            json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "lines", (json_int_t)run->lines,
                      "revoked", (json_int_t)counted[REVOKED], "inactive_already",
                      (json_int_t)counted[INACTIVE], "ambiguous", (json_int_t)counted[AMBIGUOUS],
                      "unknown", (json_int_t)counted[UNKNOWN], "blank", (json_int_t)run->blank,
                      "broken", (json_int_t)run->broken, "keys_revoked", (json_int_t)run->rows);
        json_dumpf(summary, stdout, 0);
        json_decref(summary);
        printf("}\n");
        return;
    }
    printf("%" PRIu64 " lines: %" PRIu64 " %srevoked, %" PRIu64 " inactive already, %" PRIu64
           " ambiguous, %" PRIu64 " unknown, %" PRIu64 " blank or comments, %" PRIu64
           " broken; keys %srevoked: %" PRIu64 "\n",
           run->lines, counted[REVOKED], would, counted[INACTIVE], counted[AMBIGUOUS],
           counted[UNKNOWN], run->blank, run->broken, would, run->rows);
    if (counted[AMBIGUOUS] > 0)
        printf("A fingerprint is ambiguous if different keys have it: none of them is revoked. Use "
               "keys deactivate API_KEY_ID.\n");
}

int run_keys_revoke(const struct request *request)
{
    struct revocation run = {.request = request};

    if (!request->from_file)
        die(EX_USAGE, "keys revoke needs --from-file, with a file or - for stdin");
    struct config *config = daemon_config(request);
    if (!config->postgres_active_column[0])
        die(EX_CONFIG, "postgres.active_column is empty: every key is active, until it is deleted");
    struct leak_file *file = leak_file_open(request->from_file);
    uint64_t broken = count_broken(file);
    if (broken > 0 && !request->skip_broken)
        die(EX_DATAERR,
            "%" PRIu64 " line%s broken, and nothing was changed; correct them, or leave them out "
            "with --skip-broken",
            broken, broken == 1 ? " is" : "s are");
    signal(SIGPIPE, SIG_IGN); /* who reads the output only up to a line has all keys revoked */
    run.db = keys_connect(request, config);
    batch_init(&run.keys, LEAK_KEY, KEYS_A_BATCH);
    batch_init(&run.fingerprints, LEAK_FINGERPRINT, FINGERPRINTS_A_BATCH);
    print_head(&run);
    revoke_all(&run, file);
    print_summary(&run);
    if (fflush(stdout) != 0 || ferror(stdout))
        die(EX_IOERR, "the output cannot be written; all keys of the list were looked at");
    batch_done(&run.keys);
    batch_done(&run.fingerprints);
    keys_db_close(run.db);
    leak_file_close(file);
    config_free(config);
    return run.counted[AMBIGUOUS] > 0 ? STATUS_FAILED : EXIT_SUCCESS;
}
