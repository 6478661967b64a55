/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <apikeyd/back/config_check.h>
#include <apikeyd/face/commands.h>
#include <apikeyd/model/metrics.h>

#include "daemon.h"

static const char default_path[] = "/etc/apikeyd/apikeyd.conf";

static int print_usage(FILE *out, int status)
{
    fprintf(
        out,
        "usage: apikeyd [-c FILE]                 answer on the sockets that FILE names\n"
        "       apikeyd [-c FILE] --check-config  say what is wrong with FILE and exit\n"
        "       apikeyd --sample-config           print every option with its default\n"
        "       apikeyd --list WHAT               print a table of the manual: options, commands\n"
        "                                         or metrics in Markdown; roff: the options\n"
        "       apikeyd --version | --help\n"
        "FILE is %s unless given; without that file the environment\n"
        "has the options (APIKEYD_<SECTION>_<OPTION>).\n",
        default_path);
    return status;
}

static int print_list(const char *what)
{
    if (strcmp(what, "options") == 0)
        config_print_markdown(stdout);
    else if (strcmp(what, "roff") == 0)
        config_print_roff(stdout);
    else if (strcmp(what, "commands") == 0)
        commands_print_markdown(stdout);
    else if (strcmp(what, "metrics") == 0)
        metrics_print_markdown(stdout);
    else
        return print_usage(stderr, EX_USAGE);
    return EXIT_SUCCESS;
}

static int check_config(const char *path)
{
    struct buffer told = {0}; /* errors and warnings alike */
    struct config *config = NULL;
    int error = config_check(path, &config, &told, &told);

    fprintf(stderr, "%.*s", (int)told.len, buffer_held(&told).at);
    buffer_free(&told);
    if (error < 0)
        return error == -ENOMEM ? EX_OSERR : EX_CONFIG;
    config_free(config);
    printf("%s: fine\n", path ? path : "the environment");
    return EXIT_SUCCESS;
}

/* The next file that is opened, such as the log's own pipe, would get a closed descriptor's number,
 * and output to stderr would go there. */
static bool fill_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'k'},
        {"sample-config", no_argument, NULL, 's'},
        {"list", required_argument, NULL, 'l'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = access(default_path, F_OK) == 0 || errno != ENOENT ? default_path : NULL;
    bool check = false;

    if (!fill_standard_files())
        return EX_OSERR;
    for (int option; (option = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            check = true;
            break;
        case 's':
            config_print_sample(stdout);
            return EXIT_SUCCESS;
        case 'l':
            return print_list(optarg);
        case 'v':
            printf("apikeyd %s\n", APIKEYD_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            return print_usage(stdout, EXIT_SUCCESS);
        default:
            return print_usage(stderr, EX_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "apikeyd: \"%s\": options only are taken\n", argv[optind]);
        return print_usage(stderr, EX_USAGE);
    }
    return check ? check_config(path) : daemon_run(path);
}
