/* kill_at: kills a process at a named step of its work, or so many instructions later.
 *
 *     kill_at PID STEPS when POINT…                attaches to a process
 *     kill_at run STEPS when POINT… -- PROGRAM …   runs one, through each exec
 *
 * Points are reached one after the other, anew when the first is reached again. The process is
 * killed when the last one is called
 * ("before") or has returned ("after") and its thread has executed STEPS more instructions. A POINT
 * is
 *
 *     THREAD,FILE,OFFSET,MATCH
 *
 * the function at OFFSET of the mapped FILE, called by THREAD: "main", a thread's name, or "*".
 * MATCH tells what its arguments must be:
 *
 *     *       anything
 *     =       the first one is that of the point before
 *     fTEXT   the first one is a descriptor of a file with TEXT in its name
 *     0TEXT   the first one is a string that contains TEXT
 *     1TEXT   the second one is
 *
 * Without a point, "any" thread is THREAD of the single POINT "THREAD,,0,*": it is stopped wherever
 * it is. Debug registers find the points, so no byte of the process is changed, and the other
 * threads run on. They are those of amd64. Prints where it has killed. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dirent.h>
#include <elf.h>

enum { POINTS_MAX = 3, RETURN = 3, TEXT_SIZE = 512 };

struct point {
    char thread[20], file[TEXT_SIZE], match[64];
    unsigned long offset;
};

static struct point points[POINTS_MAX];
static size_t points_len, reached;
static long steps_left;
static bool after, stepping;
static pid_t victim, chosen; /* the process; the thread that is at the last point */
static unsigned long first_argument;

static void fail(const char *what)
{
    perror(what);
    exit(2);
}

static void debug_register(pid_t thread, int number, unsigned long value)
{
    size_t at = offsetof(struct user, u_debugreg) + (size_t)number * sizeof(long);

    if (ptrace(PTRACE_POKEUSER, thread, at, value) != 0 && errno != ESRCH)
        fail("debug register");
}

static void break_at(pid_t thread, int number, unsigned long address)
{
    long enabled = ptrace(PTRACE_PEEKUSER, thread, offsetof(struct user, u_debugreg[7]), 0);

    debug_register(thread, number, address);
    debug_register(thread, 7, (unsigned long)enabled | 1UL << (2 * number));
}

/* Returns where the file is mapped, 0: nowhere yet. */
static unsigned long base_of(const char *file)
{
    char path[64], line[TEXT_SIZE * 2];
    unsigned long base = 0;

    snprintf(path, sizeof path, "/proc/%d/maps", victim);
    FILE *maps = fopen(path, "re");
    while (maps && base == 0 && fgets(line, sizeof line, maps)) {
        line[strcspn(line, "\n")] = '\0';
        const char *name = strchr(line, '/');
        if (name && strcmp(name, file) == 0)
            base = strtoul(line, NULL, 16);
    }
    if (maps)
        fclose(maps);
    return base;
}

static bool watch(pid_t thread)
{
    for (size_t i = 0; i < points_len; i++) {
        unsigned long base = base_of(points[i].file);
        if (base == 0)
            return false;
        break_at(thread, (int)i, base + points[i].offset);
    }
    return true;
}

static bool is_thread(pid_t thread, const char *wanted)
{
    char path[64], name[32] = "";

    if (strcmp(wanted, "*") == 0)
        return true;
    if (strcmp(wanted, "main") == 0)
        return thread == victim;
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", victim, thread);
    FILE *comm = fopen(path, "re");
    if (comm && fgets(name, sizeof name, comm))
        name[strcspn(name, "\n")] = '\0';
    if (comm)
        fclose(comm);
    return strcmp(name, wanted) == 0;
}

static bool text_has(unsigned long address, const char *text)
{
    char bytes[TEXT_SIZE] = "";
    struct iovec here = {bytes, sizeof bytes - 1}, there = {(void *)address, sizeof bytes - 1};

    /* The string may end just before a page that is not mapped. */
    while (there.iov_len > 0 && process_vm_readv(victim, &here, 1, &there, 1, 0) < 0)
        there.iov_len /= 2;
    return strstr(bytes, text);
}

static bool is_of(unsigned long descriptor, const char *text)
{
    char path[64], target[TEXT_SIZE];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", victim, (int)descriptor);
    ssize_t len = readlink(path, target, sizeof target - 1);
    target[len > 0 ? len : 0] = '\0';
    return strstr(target, text);
}

static bool fits(const struct point *point, const struct user_regs_struct *registers)
{
    const char *text = point->match + 1;

    switch (point->match[0]) {
    case '=':
        return registers->rdi == first_argument;
    case 'f':
        return is_of(registers->rdi, text);
    case '0':
        return text_has(registers->rdi, text);
    case '1':
        return text_has(registers->rsi, text);
    default:
        return true;
    }
}

static bool is_at(size_t number, pid_t thread, unsigned long status,
                  const struct user_regs_struct *registers)
{
    return (status & 1UL << number) && is_thread(thread, points[number].thread) &&
           fits(&points[number], registers);
}

static void kill_it(pid_t thread)
{
    struct user_regs_struct registers = {0};

    ptrace(PTRACE_GETREGS, thread, 0, &registers);
    kill(victim, SIGKILL);
    printf("killed at %#llx\n", registers.rip);
    exit(0);
}

/* The thread goes on by one instruction at a time from here. */
static void begin_steps(pid_t thread)
{
    stepping = true;
    chosen = thread;
    for (int i = 0; i < 8; i += i == 3 ? 4 : 1)
        debug_register(thread, i, 0);
}

/* A debug register of the thread has stopped it. */
static void take_point(pid_t thread)
{
    size_t at = offsetof(struct user, u_debugreg[6]);
    unsigned long status = (unsigned long)ptrace(PTRACE_PEEKUSER, thread, at, 0);
    struct user_regs_struct registers;

    debug_register(thread, 6, 0);
    if (thread == chosen && (status & 1UL << RETURN)) {
        begin_steps(thread);
        return;
    }
    if (chosen || ptrace(PTRACE_GETREGS, thread, 0, &registers) != 0)
        return;
    if (is_at(reached, thread, status, &registers))
        reached++;
    else if (is_at(0, thread, status, &registers))
        reached = 1; /* the work that had begun has come to nothing: a connection was lost */
    else
        return;
    first_argument = registers.rdi;
    if (reached < points_len)
        return;
    chosen = thread;
    if (after)
        break_at(thread, RETURN, (unsigned long)ptrace(PTRACE_PEEKDATA, thread, registers.rsp, 0));
    else
        begin_steps(thread);
}

static void go_on(pid_t thread, int signal)
{
    if (stepping && thread == chosen && steps_left-- <= 0)
        kill_it(thread);
    ptrace(stepping && thread == chosen ? PTRACE_SINGLESTEP : PTRACE_CONT, thread, 0, signal);
}

/* The program's libraries are mapped when its first instruction runs. */
static unsigned long entry_of(void)
{
    char path[64];
    Elf64_auxv_t value = {0};
    unsigned long entry = 0;

    snprintf(path, sizeof path, "/proc/%d/auxv", victim);
    FILE *auxv = fopen(path, "re");
    while (auxv && fread(&value, sizeof value, 1, auxv) == 1) {
        if (value.a_type == AT_ENTRY)
            entry = value.a_un.a_val;
    }
    if (auxv)
        fclose(auxv);
    return entry;
}

static void follow(void)
{
    bool watched = points[0].file[0] == '\0' || watch(victim);
    int status;

    for (pid_t thread; (thread = waitpid(-1, &status, __WALL)) > 0;) {
        int signal = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
        int event = status >> 16;

        if (!WIFSTOPPED(status)) {
            if (thread == victim)
                return;
            continue;
        }
        if (event == PTRACE_EVENT_EXEC) {
            watched = false;
            reached = 0;
            break_at(victim, 0, entry_of());
        } else if (event == PTRACE_EVENT_STOP) {
            if (points[0].file[0] == '\0' && !chosen && is_thread(thread, points[0].thread))
                begin_steps(thread);
            else if (!chosen && watched)
                watched = watch(thread);
        } else if (signal == SIGTRAP && event == 0) {
            if (!watched)
                watched = watch(victim);
            else if (!stepping)
                take_point(thread);
        }
        go_on(thread, event == 0 && signal != SIGTRAP ? signal : 0);
    }
}

static void attach(void)
{
    const long options = PTRACE_O_TRACECLONE;
    struct dirent *entry;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task", victim);
    DIR *tasks = opendir(path);
    if (!tasks)
        fail(path);
    while ((entry = readdir(tasks))) {
        pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        if (thread > 0 && ptrace(PTRACE_SEIZE, thread, 0, options) == 0)
            ptrace(PTRACE_INTERRUPT, thread, 0, 0);
        else if (thread > 0 && errno != ESRCH)
            fail("ptrace");
    }
    closedir(tasks);
    puts("attached");
    fflush(stdout);
}

static void run(char **program)
{
    int status;

    victim = fork();
    if (victim == 0) {
        raise(SIGSTOP);
        execvp(program[0], program);
        fail(program[0]);
    }
    if (victim < 0 || waitpid(victim, &status, WUNTRACED) != victim ||
        ptrace(PTRACE_SEIZE, victim, 0,
               PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) != 0)
        fail("ptrace");
    kill(victim, SIGCONT);
}

int main(int argc, char **argv)
{
    int i = 4;

    if (argc < 5)
        return 2;
    steps_left = strtol(argv[2], NULL, 10);
    after = strcmp(argv[3], "after") == 0;
    for (; i < argc && strcmp(argv[i], "--") != 0 && points_len < POINTS_MAX; i++) {
        struct point *point = &points[points_len++];
        if (sscanf(argv[i], "%19[^,],%511[^,],%lu,%63s", point->thread, point->file, &point->offset,
                   point->match) != 4 &&
            sscanf(argv[i], "%19[^,],,0,*", point->thread) != 1)
            return 2;
    }
    if (strcmp(argv[1], "run") == 0) {
        run(&argv[i + 1]);
    } else {
        victim = (pid_t)strtol(argv[1], NULL, 10);
        attach();
    }
    follow();
    fputs("the process has ended by itself\n", stderr);
    return 1;
}
