/* SPDX-License-Identifier: MIT */
#include "top.h"

#include <curses.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon_client.h"
#include "die.h"
#include "stats.h"

enum { REFRESH_MS = 1000 };

/* A client, and how much it has asked since the last look. */
struct busy {
    const json_t *client; /* borrowed */
    double rate;
};

static void add_line(void *arg, const char *line)
{
    int *row = arg;

    if (*row < LINES)
        mvaddnstr((*row)++, 0, line, COLS);
}

static json_int_t member(const json_t *client, const char *name)
{
    return json_integer_value(json_object_get(client, name));
}

/* Requests of the client with this ID at the last look; IDs only grow. */
static json_int_t requests_before(const json_t *before, json_int_t id)
{
    size_t low = 0;
    size_t high = json_array_size(before);

    while (low < high) {
        size_t middle = (low + high) / 2;
        const json_t *client = json_array_get(before, middle);

        if (member(client, "id") == id)
            return member(client, "requests");
        if (member(client, "id") < id)
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

static int by_rate(const void *a, const void *b)
{
    const struct busy *left = a;
    const struct busy *right = b;

    return (left->rate < right->rate) - (left->rate > right->rate);
}

static void show_clients(int row, const json_t *before, const json_t *now, double seconds)
{
    size_t count = json_array_size(now);
    struct busy *busy = calloc(count + 1, sizeof *busy);

    if (!busy)
        return;
    for (size_t i = 0; i < count; i++) {
        const json_t *client = json_array_get(now, i);
        json_int_t more = member(client, "requests") -
                          (before ? requests_before(before, member(client, "id")) : 0);

        busy[i] = (struct busy){client, seconds > 0 ? (double)more / seconds : 0};
    }
    qsort(busy, count, sizeof busy[0], by_rate);
    if (row < LINES) {
        attron(A_BOLD);
        mvprintw(row, 0, "%8s %-7s %-20s %8s %6s %12s %8s", "CLIENT", "SOCKET", "NAME", "PID",
                 "UID", "REQUESTS/S", "PENDING");
        attroff(A_BOLD);
    }
    for (size_t i = 0; i < count && ++row < LINES - 1; i++) {
        const json_t *client = busy[i].client;

        mvprintw(
            row, 0, "%8lld %-7s %-20.20s %8lld %6lld %12.1f %8lld", (long long)member(client, "id"),
            json_string_value(json_object_get(client, "socket")),
            json_string_value(json_object_get(client, "name")), (long long)member(client, "pid"),
            (long long)member(client, "uid"), busy[i].rate, (long long)member(client, "pending"));
    }
    free(busy);
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int run_top(const struct request *request)
{
    redisContext *context = daemon_connect(request);
    json_t *before = NULL;
    double looked_s = 0;

    if (!isatty(STDOUT_FILENO))
        die(EX_USAGE, "top needs a terminal; stats --watch does without");
    if (!initscr())
        die(EX_UNAVAILABLE, "the terminal cannot be used; is TERM right?");
    cbreak();
    noecho();
    curs_set(0);
    timeout(REFRESH_MS);
    for (int key = 0; key != 'q' && key != 'Q'; key = getch()) {
        json_t *status = daemon_status(context);
        json_t *clients = daemon_clients(context);
        double now_s = seconds_now();
        int row = 0;

        erase();
        stats_print(status, add_line, &row);
        show_clients(row + 1, before, clients, before ? now_s - looked_s : 0);
        mvaddnstr(LINES - 1, 0, "q leaves", COLS);
        refresh();
        json_decref(status);
        json_decref(before);
        before = clients;
        looked_s = now_s;
    }
    endwin();
    json_decref(before);
    redisFree(context);
    return EXIT_SUCCESS;
}
