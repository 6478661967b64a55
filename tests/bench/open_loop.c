/* SPDX-License-Identifier: MIT */
/* open_loop: latencies of CHECKs at a fixed rate, without coordinated omission.
 *
 * A request is due every so often, whether or not the ones before it are answered, and its latency
 * counts from when it was due. What redis-benchmark cannot do: it waits for answers before it asks
 * on. Latencies go into buckets of at most 3 %, as HdrHistogram's with 5 bits.
 * usage: open_loop SOCKET RATE SECONDS PREFIX FIRST KEYS; keys go round. Prints µs: p50 p99 p99.9
 * max, and how many were answered. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { RING = 1 << 20, BUCKETS = 64 * 32 };

static int64_t due_ns[RING]; /* of requests sent and not answered */
static uint64_t sent, answered;
static uint64_t bucket[BUCKETS];
static int64_t max_ns;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static unsigned bucket_of(uint64_t value)
{
    unsigned log2 = value < 32 ? 0 : 63 - (unsigned)__builtin_clzll(value) - 4;

    return log2 * 32 + (unsigned)((value >> log2) & 31);
}

/* The greatest value of a bucket, in µs. */
static double bucket_us(unsigned i)
{
    unsigned log2 = i / 32;

    return (double)((((uint64_t)i % 32 + 1) << log2) - 1) / 1000;
}

static double quantile(double share)
{
    uint64_t below = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        below += bucket[i];
        if ((double)below >= share * (double)answered)
            return bucket_us(i);
    }
    return 0;
}

static void note(int64_t at_ns)
{
    int64_t took_ns = at_ns - due_ns[answered++ % RING];

    bucket[bucket_of((uint64_t)took_ns)]++;
    if (took_ns > max_ns)
        max_ns = took_ns;
}

/* Replies are "*3 …" of six lines after the first, "*2 …" of four, or one line. */
static void take(int fd)
{
    static char in[1 << 20];
    static int lines; /* that the reply still needs */
    static int first = 1;
    ssize_t got = recv(fd, in, sizeof in, MSG_DONTWAIT);
    int64_t at_ns = now_ns();

    if (got == 0 || (got < 0 && errno != EAGAIN))
        exit(1);
    for (const char *at = in, *end = in + (got > 0 ? got : 0); at < end; at++) {
        if (first)
            lines = *at == '*' ? -1 : 1;
        else if (lines == -1)
            lines = 1 + 2 * (*at - '0');
        first = 0;
        if (*at == '\n' && --lines == 0) {
            note(at_ns);
            first = 1;
        }
    }
}

static void ask(int fd, const char *prefix, uint64_t key)
{
    char name[64], request[128];
    int len = snprintf(name, sizeof name, "%s%012llu", prefix, (unsigned long long)key);
    size_t size =
        (size_t)snprintf(request, sizeof request, "*2\r\n$5\r\nCHECK\r\n$%d\r\n%s\r\n", len, name);

    if (send(fd, request, size, MSG_NOSIGNAL) != (ssize_t)size)
        exit(1);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 7 || strlen(argv[1]) >= sizeof address.sun_path)
        return 64;
    strcpy(address.sun_path, argv[1]);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return 1;
    int64_t interval_ns = 1000000000 / atoll(argv[2]);
    uint64_t count = strtoull(argv[2], NULL, 10) * strtoull(argv[3], NULL, 10);
    uint64_t first = strtoull(argv[5], NULL, 10), keys = strtoull(argv[6], NULL, 10);
    int64_t start_ns = now_ns();

    while (answered < count) {
        int64_t next_ns = start_ns + (int64_t)sent * interval_ns;
        int64_t wait_ns = next_ns - now_ns();

        if (sent < count && wait_ns <= 0 && sent - answered < RING) {
            due_ns[sent % RING] = next_ns;
            ask(fd, argv[4], first + sent++ % keys);
        } else {
            if (sent == count || wait_ns > 100000000)
                wait_ns = 100000000;
            ppoll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1,
                  &(struct timespec){0, wait_ns > 0 ? wait_ns : 0}, NULL);
        }
        take(fd);
        if (sent == count && now_ns() > next_ns + 20000000000)
            return 1; /* nobody answers any more */
    }
    printf("%.1f %.1f %.1f %.1f %llu\n", quantile(0.5), quantile(0.99), quantile(0.999),
           (double)max_ns / 1000, (unsigned long long)answered);
    return 0;
}
