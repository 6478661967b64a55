/* SPDX-License-Identifier: MIT */
#include <apikeyd/thread/thread.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/clock/clock.h>

static const int64_t look_interval_us = 1000;

/* All signals except those that a thread's own code raises. */
static void process_signals(sigset_t *ret_set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};

    sigfillset(ret_set);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(ret_set, faults[i]);
}

int thread_start(pthread_t *ret_thread, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t blocked, before;
    pthread_t thread;

    /* A thread inherits the mask of its creator. */
    process_signals(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return -error;
    pthread_setname_np(thread, name);
    *ret_thread = thread;
    return 0;
}

/* Polls, because ThreadSanitizer does not know pthread_clockjoin_np(3), and a millisecond does not
 * matter at the end of a thread. */
bool thread_join_within(pthread_t thread, int64_t timeout_us)
{
    int64_t end_us = clock_monotonic_us() + timeout_us;

    while (pthread_tryjoin_np(thread, NULL) != 0) {
        if (clock_monotonic_us() >= end_us)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = look_interval_us * 1000}, NULL);
    }
    return true;
}

static bool is_named(int tasks_fd, const char *task, const char *name)
{
    char path[sizeof "18446744073709551615/comm"], text[17] = "";

    snprintf(path, sizeof path, "%.20s/comm", task);
    int fd = openat(tasks_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false; /* it has just ended */
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    return len > 0 && (size_t)len == strlen(name) + 1 && memcmp(text, name, strlen(name)) == 0;
}

bool thread_any_named(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    bool found = false;

    if (!tasks)
        return false;
    for (struct dirent *task; !found && (task = readdir(tasks));)
        found = is_named(dirfd(tasks), task->d_name, name);
    closedir(tasks);
    return found;
}
