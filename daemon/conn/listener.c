/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/listener.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_PER_EVENT = 2, ADMIN_RESERVE = 16 };

static bool listed(const struct id_list *list, uint32_t id)
{
    for (size_t i = 0; i < list->len; i++) {
        if (list->id[i] == id)
            return true;
    }
    return false;
}

static bool allowed(const struct listener *listener, const struct peer *peer)
{
    return (listener->allow_uids.len == 0 && listener->allow_gids.len == 0) ||
           listed(&listener->allow_uids, peer->uid) || listed(&listener->allow_gids, peer->gid);
}

/* Send the reason and close. The text fits into any socket buffer. */
static void refuse(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void admit(struct listener *listener, int fd)
{
    struct clients *clients = listener->clients;
    struct ucred cred = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    socklen_t len = sizeof cred;
    size_t max = listener->max_connections + (listener->protocol->admin ? ADMIN_RESERVE : 0);

    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
    struct peer peer = {cred.pid, cred.uid, cred.gid};
    size_t connections = process_table_connections(&clients->processes, peer.pid);
    if (!allowed(listener, &peer)) {
        clients->metrics->value[METRIC_CONNECTIONS_FORBIDDEN]++;
        clients->refused(clients->arg, peer.uid);
        refuse(fd, listener->protocol->forbidden);
    } else if (clients->count >= max) {
        clients->metrics->value[METRIC_CONNECTIONS_FULL]++;
        refuse(fd, listener->protocol->full);
    } else if (!listener->protocol->admin &&
               process_over_share(connections, max - clients->count)) {
        clients->metrics->value[METRIC_CONNECTIONS_OVER_SHARE]++;
        clients->over_share(clients->arg, &peer, connections);
        refuse(fd, listener->protocol->full);
    } else if (connection_open(clients, fd, listener->protocol, peer)) {
        clients->metrics->value[METRIC_CONNECTIONS_ACCEPTED]++;
    }
}

static bool out_of_descriptors(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* The reserve comes first: without it only operators may connect. (Between the close of the reserve
 * and the accept the other thread may take the descriptor: then operators wait like all other
 * clients.) */
static int accept_client(struct listener *listener)
{
    struct clients *clients = listener->clients;

    if (clients->reserve_fd < 0)
        clients->reserve_fd = eventfd(0, EFD_CLOEXEC);
    if (clients->reserve_fd < 0 && !listener->protocol->admin)
        return -1;
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0 || !listener->protocol->admin || clients->reserve_fd < 0 ||
        !out_of_descriptors(errno))
        return fd;
    close(clients->reserve_fd);
    clients->reserve_fd = -1;
    return accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;

    (void)fd;
    (void)what;
    if (!clients_may_accept(listener->clients))
        return;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int client = accept_client(listener);

        if (client >= 0) {
            admit(listener, client);
            continue;
        }
        if (out_of_descriptors(errno)) {
            /* The connection stays in the backlog. Accepting resumes after a pause, when others may
             * have gone. */
            static const struct timeval pause = {.tv_usec = 100000};

            listener->clients->metrics->value[METRIC_ACCEPT_PAUSES]++;
            event_del(&listener->acceptable);
            event_add(&listener->resume, &pause);
        }
        return;
    }
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;

    (void)fd;
    (void)what;
    event_add(&listener->acceptable, NULL);
}

static void begin(struct listener *listener)
{
    struct event_base *base = listener->clients->base;

    event_assign(&listener->acceptable, base, listener->fd, EV_READ | EV_PERSIST, on_acceptable,
                 listener);
    event_assign(&listener->resume, base, -1, 0, on_resume, listener);
    event_add(&listener->acceptable, NULL);
}

void listener_start(struct listener *listener, struct clients *clients, int fd,
                    const struct protocol *protocol, const struct config *config)
{
    *listener = (struct listener){.clients = clients, .protocol = protocol, .fd = fd};
    listener_configure(listener, config);
    if (fd >= 0)
        begin(listener);
}

/* First accept the clients that wait in the old backlog, which bounds their number. This happens
 * only after a socket's file was removed. */
void listener_move(struct listener *listener, int fd)
{
    if (listener->fd < 0)
        return;
    for (int client; (client = accept_client(listener)) >= 0;)
        admit(listener, client);
    event_del(&listener->acceptable);
    event_del(&listener->resume);
    close(listener->fd);
    listener->fd = fd;
    begin(listener);
}

void listener_configure(struct listener *listener, const struct config *config)
{
    listener->max_connections = config->listen_max_connections;
    listener->allow_uids = config->listen_allow_uids;
    listener->allow_gids = config->listen_allow_gids;
}

void listener_stop(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    event_del(&listener->acceptable);
    event_del(&listener->resume);
    listener->fd = -1;
}
