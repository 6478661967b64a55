/* SPDX-License-Identifier: MIT */
#include "log_sink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION /* the journal shall not record this file as the source */
#include <systemd/sd-journal.h>

#include "log_json.h"

/* stderr may be shared with a process that made it non-blocking. */
static bool write_whole(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);

        if (written >= 0) {
            text += written;
            len -= (size_t)written;
        } else if (errno == EAGAIN) {
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* One write for the line, so that lines never mix. */
static bool to_stderr(const struct log_record *record)
{
    bool plain = record->level == LOG_LEVEL_INFO;
    char text[LOG_LINE_SIZE + 32];
    int len = snprintf(text, sizeof text, "apikeyd: %s%s%s\n",
                       plain ? "" : log_level_name(record->level), plain ? "" : ": ", record->line);

    return write_whole(STDERR_FILENO, text, (size_t)len);
}

static bool json_to(int fd, const struct log_record *record)
{
    char text[LOG_JSON_SIZE];
    size_t len = log_json_encode(record, text);

    return write_whole(fd, text, len);
}

static bool json_to_stdout(const struct log_record *record)
{
    return json_to(STDOUT_FILENO, record);
}

static bool json_to_stderr(const struct log_record *record)
{
    return json_to(STDERR_FILENO, record);
}

/* sd_journal_send(3) reports success when there is no journal, as in a container. */
static bool journal_is_there(void)
{
    return access("/run/systemd/journal/socket", F_OK) == 0;
}

static bool to_journal(const struct log_record *record)
{
    static const int priority[] = {
        [LOG_LEVEL_ERROR] = 3,
        [LOG_LEVEL_WARNING] = 4,
        [LOG_LEVEL_INFO] = 6,
        [LOG_LEVEL_DEBUG] = 7,
    };
    const struct log_place *place = &record->place;
    struct slice module = log_place_module(place);

    if (!journal_is_there())
        return to_stderr(record);
    int sent = sd_journal_send("MESSAGE=%s", record->line, "PRIORITY=%d", priority[record->level],
                               "SYSLOG_IDENTIFIER=apikeyd", "CODE_FILE=%s", place->file,
                               "CODE_LINE=%d", place->line, "CODE_FUNC=%s", place->function,
                               "APIKEYD_MODULE=%.*s", (int)module.len, module.at, NULL);
    return sent >= 0 || to_stderr(record);
}

static bool stderr_leads_to_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char mine[64];
    struct stat status;

    if (!stream || fstat(STDERR_FILENO, &status) != 0)
        return false;
    snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    return strcmp(stream, mine) == 0;
}

log_output *log_sink_output(enum log_target target, enum log_format format)
{
    if (format == LOG_FORMAT_JSON)
        return target == LOG_TARGET_STDERR ? json_to_stderr : json_to_stdout;
    bool journal =
        target == LOG_TARGET_JOURNAL || (target == LOG_TARGET_AUTO && stderr_leads_to_journal());

    return journal ? to_journal : to_stderr;
}
