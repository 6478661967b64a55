/* SPDX-License-Identifier: MIT */
/* baseline: how cheap an answer over a Unix socket can be on this machine.
 *
 * epoll, a plain hash table, a reply of the length of an ALLOW, and nothing else: no limits, no
 * errors, no time, no usage, a full request in each read or it is carried over. It is what the
 * bench holds the daemon against, and no example to follow. usage: baseline SOCKET KEYS */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 4096, ROOM = 1 << 20, REPLY = 101, SLOTS = 1 << 18 };

struct client {
    char in[64 * 1024];
    size_t len;
};
struct slot {
    char key[40];
    char reply[REPLY + 1];
};
static struct client *clients[CLIENTS];
static struct slot *slots;
static char out[ROOM];

static uint32_t hash(const char *key, size_t len)
{
    uint32_t value = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        value = (value ^ (unsigned char)key[i]) * 16777619u;
    return value;
}

static struct slot *find(const char *key, size_t len)
{
    uint32_t at = hash(key, len) % SLOTS;

    while (slots[at].key[0] && (memcmp(slots[at].key, key, len) != 0 || slots[at].key[len]))
        at = (at + 1) % SLOTS;
    return &slots[at];
}

static void fill(int keys)
{
    char key[40];

    slots = calloc(SLOTS, sizeof *slots);
    for (int i = 0; i < keys; i++) {
        struct slot *slot = find(key, (size_t)snprintf(key, sizeof key, "key:%012d", i));

        strcpy(slot->key, key);
        snprintf(slot->reply, sizeof slot->reply,
                 "*3\r\n$5\r\nALLOW\r\n$36\r\n%036d\r\n$36\r\n%036d\r\n", i, i);
    }
}

/* "*2 $5 CHECK $<n> <key>", each with its CR LF; where it ends, or NULL. */
static char *answer(char *at, const char *end, size_t *written)
{
    char *length = at + 16;
    char *key;
    size_t len;

    if (end - at < 20)
        return NULL;
    len = strtoul(length, &key, 10);
    key += 2;
    if (key + len + 2 > end)
        return NULL;
    memcpy(out + *written, find(key, len)->reply, REPLY);
    *written += REPLY;
    return key + len + 2;
}

static void serve(int fd)
{
    struct client *client = clients[fd];
    ssize_t got = recv(fd, client->in + client->len, sizeof client->in - client->len, 0);
    size_t written = 0;
    char *at = client->in;

    if (got <= 0) {
        close(fd);
        return;
    }
    client->len += (size_t)got;
    for (char *next; (next = answer(at, client->in + client->len, &written));)
        at = next;
    client->len -= (size_t)(at - client->in);
    memmove(client->in, at, client->len);
    if (written > 0)
        (void)!send(fd, out, written, MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int loop = epoll_create1(0);
    struct epoll_event events[256] = {{.events = EPOLLIN}};

    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path)
        return 64;
    fill(atoi(argv[2]));
    strcpy(address.sun_path, argv[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1024) != 0)
        return 1;
    events[0].data.fd = listener;
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &events[0]);
    for (;;) {
        int ready = epoll_wait(loop, events, 256, -1);

        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                serve(fd);
                continue;
            }
            fd = accept(listener, NULL, NULL);
            if (fd < 0 || fd >= CLIENTS)
                continue;
            if (!clients[fd])
                clients[fd] = malloc(sizeof *clients[fd]);
            clients[fd]->len = 0;
            epoll_ctl(loop, EPOLL_CTL_ADD, fd,
                      &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
        }
    }
}
