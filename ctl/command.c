/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "die.h"

enum { ANYWHERE = 0 };

static const struct option_line {
    const char *name, *value, *help;
    char letter;
    unsigned takes; /* the commands that take it; ANYWHERE: all */
} options[] = {
    {"socket", "PATH",
     "the daemon's admin socket; else $APIKEYCTL_SOCKET, else the configuration's", 's', ANYWHERE},
    {"config", "FILE", "the daemon's configuration; /etc/apikeyd/apikeyd.conf unless given", 'c',
     ANYWHERE},
    {"help", NULL, "show this", 'h', ANYWHERE},
    {"version", NULL, "show the version", 'V', ANYWHERE},
    {"json", NULL, "print JSON, for programs", 'j', TAKES_JSON},
    {"watch", "[=SECONDS]", "repeat every SECONDS (default 1)", 'w', TAKES_WATCH},
    {"within", "MS", "wait for at most MS milliseconds", 't', TAKES_WITHIN},
    {"attributes", NULL, "show the key's attributes too", 'b', TAKES_ATTRIBUTES},
    {"all", NULL, "every key", 'a', TAKES_ALL},
    {"dsn", "DSN", "the database; else $APIKEYCTL_DSN, else the configuration's", 'd', TAKES_DSN},
    {"user", "USER_ID", "the user that owns the keys", 'u', TAKES_USER},
    {"id", "API_KEY_ID",
     "the ID of the new row; a random one for UUIDs, else the column's default, unless given", 'i',
     TAKES_ID},
    {"name", "TEXT", "the key's name", 'n', TAKES_NAME},
    {"key-id", "KEY", "the key itself, or - for stdin; a random key unless given", 'k',
     TAKES_KEY_ID},
    {"active", "yes|no", "whether the key may be used at once; yes unless given", 'A',
     TAKES_ACTIVE},
    {"yes", NULL, "do not ask for confirmation", 'y', TAKES_YES},
    {"from-file", "FILE", "the leaked keys or fingerprints, one a line; - for stdin", 'f',
     TAKES_LEAKED},
    {"dry-run", NULL, "say what would be revoked, and change nothing", 'D', TAKES_LEAKED},
    {"skip-broken", NULL, "leave broken lines out; else nothing is changed if there is one", 'B',
     TAKES_LEAKED},
    {"idle", "TIME", "active keys that were not used for so long (90d; units s, m, h, d, w)", 'I',
     TAKES_REPORT},
    {"expiring", "TIME", "active keys that end within that time (14d)", 'E', TAKES_REPORT},
    {"never-used", NULL, "active keys that were never used", 'N', TAKES_REPORT},
    {"still-tried", NULL,
     "inactive and expired keys that clients went on sending to this host's daemon", 'T',
     TAKES_REPORT},
    {"csv", NULL, "print CSV, for spreadsheets", 'C', TAKES_CSV},
    {"overlap", "TIME", "how long the old key may still pass (7d; 0s: it ends at once)", 'O',
     TAKES_ROTATION},
    {"lifetime", "TIME",
     "how long the new key may pass (90d), or \"unlimited\"; unless given it ends when the old one "
     "would have ended",
     'L', TAKES_ROTATION},
    {"copy", "COLUMNS",
     "columns to copy though they may hold a hash of the old key, with commas in between", 'P',
     TAKES_ROTATION},
    {"key", "API_KEY_ID", "only uses of the key with this ID", 'K', TAKES_USAGE},
    {"rotated", NULL, "with --key: also those of its successors, and of the keys that it succeeds",
     'Z', TAKES_USAGE},
    {"top", "N", "the N keys with the most uses", 'X', TAKES_USAGE},
    {"since", "TIME", "how far back (units s, m, h, d, w); 30d unless given", 'S', TAKES_USAGE},
    {"by", "hour|day|month", "a line for each of these; day unless given", 'H', TAKES_USAGE},
    {"role", "NAME", "the daemon's role; apikeyd, or for check the session's, unless given", 'r',
     TAKES_ROLE},
    {"no-role", NULL, "without role and grants, which come from elsewhere", 'R', TAKES_SQL},
    {"part", "PART", "only functions, role, usage, triggers, index or rotation", 'p', TAKES_SQL},
    {"undo", NULL, "the SQL that undoes it", 'U', TAKES_SQL},
};

enum { OPTIONS = sizeof options / sizeof options[0] };

/* What stands between the group and the name. */
static const char *blank_of(const struct command *command)
{
    return command->group[0] && command->name[0] ? " " : "";
}

static void print_command(FILE *out, const struct command *command, const char *indent)
{
    char text[80];

    snprintf(text, sizeof text, "%s%s%s%s%s", command->group, blank_of(command), command->name,
             command->arguments[0] ? " " : "", command->arguments);
    fprintf(out, "%s%-26s %s\n", indent, text, command->summary);
}

static const char *separator(const struct option_line *option)
{
    return option->value && option->value[0] != '[' ? " " : "";
}

/* The options of the command, or with NULL those of every command. */
static void print_options(FILE *out, const struct command *command)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        char text[40];

        if (command ? !(options[i].takes & command->takes) : options[i].takes != ANYWHERE)
            continue;
        snprintf(text, sizeof text, "--%s%s%s", options[i].name, separator(&options[i]),
                 options[i].value ? options[i].value : "");
        fprintf(out, "  %-26s %s\n", text, options[i].help);
    }
}

static void print_help(FILE *out, const struct command *command)
{
    if (command) {
        fprintf(out, "usage: apikeyctl ");
        print_command(out, command, "");
        print_options(out, command);
    } else {
        fprintf(out, "usage: apikeyctl [OPTIONS] COMMAND ...\n\ncommands:\n");
        for (size_t i = 0; i < command_count; i++)
            print_command(out, &command_table[i], "  ");
        fprintf(out, "\napikeyctl COMMAND --help shows a command's own options.\n");
    }
    fprintf(out, "\noptions of every command:\n");
    print_options(out, NULL);
}

static const struct command *find(const char *group, const char *name)
{
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(command_table[i].group, group) == 0 && strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    }
    return NULL;
}

static bool is_group(const char *word)
{
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(command_table[i].group, word) == 0)
            return true;
    }
    return false;
}

static double seconds_of(const char *text)
{
    char *end;
    double seconds;

    if (!text)
        return 1;
    seconds = strtod(text, &end);
    if (*end || !(seconds >= 0.1 && seconds <= 86400))
        die(EX_USAGE, "--watch=%s: a number of seconds from 0.1 to 86400 is expected", text);
    return seconds;
}

/* Where an option's value goes; a flag has none. */
static void take_option(struct request *request, char letter, const char *value)
{
    const struct {
        char letter;
        const char **text;
    } texts[] = {
        {'s', &request->socket},   {'c', &request->config},   {'t', &request->within},
        {'d', &request->dsn},      {'u', &request->user},     {'i', &request->id},
        {'n', &request->name},     {'k', &request->key_id},   {'A', &request->active},
        {'r', &request->role},     {'p', &request->part},     {'f', &request->from_file},
        {'I', &request->idle},     {'E', &request->expiring}, {'O', &request->overlap},
        {'L', &request->lifetime}, {'P', &request->copy},     {'K', &request->key},
        {'X', &request->top},      {'S', &request->since},    {'H', &request->by},
    };
    const struct {
        char letter;
        bool *flag;
    } flags[] = {
        {'j', &request->json},        {'a', &request->all},         {'y', &request->yes},
        {'R', &request->no_role},     {'U', &request->undo},        {'D', &request->dry_run},
        {'C', &request->csv},         {'B', &request->skip_broken}, {'N', &request->never_used},
        {'T', &request->still_tried}, {'b', &request->attributes},  {'Z', &request->rotated},
    };

    if (letter == 'w')
        request->watch_s = seconds_of(value);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].letter == letter)
            *texts[i].text = value;
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].letter == letter)
            *flags[i].flag = true;
    }
}

/* Take the command's words off the arguments. NULL: there are none. */
static const struct command *take_command(struct request *request)
{
    const char *group = "";
    const struct command *command;

    if (request->argc == 0)
        return NULL;
    if (is_group(request->argv[0])) {
        group = request->argv[0];
        if (request->argc == 1 && !find(group, ""))
            die(EX_USAGE, "%s needs a command of its own; see apikeyctl --help", group);
        request->argc--;
        request->argv++;
        if (request->argc == 0)
            return find(group, "");
    }
    command = find(group, request->argv[0]);
    if (!command)
        die(EX_USAGE, "\"%s%s%s\" is no command; see apikeyctl --help", group, group[0] ? " " : "",
            request->argv[0]);
    request->argc--;
    request->argv++;
    return command;
}

static void check_fits(const struct request *request, unsigned given)
{
    const struct command *command = request->command;
    const char *blank = blank_of(command);

    for (size_t i = 0; i < OPTIONS; i++) {
        if (given & options[i].takes & ~command->takes)
            die(EX_USAGE, "%s%s%s does not take --%s; see apikeyctl %s%s%s --help", command->group,
                blank, command->name, options[i].name, command->group, blank, command->name);
    }
    if (request->argc < command->min || request->argc > command->max)
        die(EX_USAGE, "usage: apikeyctl %s%s%s %s", command->group, blank, command->name,
            command->arguments);
}

/* Print the words that may follow `count` words, for the shell's completion. */
static int print_words(int count, char **words)
{
    const struct command *command = NULL;

    if (count == 0) {
        for (size_t i = 0; i < command_count; i++)
            printf("%s\n",
                   command_table[i].group[0] ? command_table[i].group : command_table[i].name);
    } else if (count == 1 && is_group(words[0])) {
        for (size_t i = 0; i < command_count; i++) {
            if (strcmp(command_table[i].group, words[0]) == 0 && command_table[i].name[0])
                printf("%s\n", command_table[i].name);
        }
        command = find(words[0], "");
        if (!command)
            return EXIT_SUCCESS;
    } else {
        bool grouped = count > 1 && is_group(words[0]);

        command = find(grouped ? words[0] : "", words[grouped ? 1 : 0]);
    }
    for (size_t i = 0; i < OPTIONS; i++) {
        if (options[i].takes == ANYWHERE || (command && (options[i].takes & command->takes)))
            printf("--%s\n", options[i].name);
    }
    return EXIT_SUCCESS;
}

static void print_option_roff(FILE *out, const char *macro, const struct option_line *option)
{
    const char *joint = "";

    if (option->value)
        joint = option->value[0] == '[' ? " Ns Ar " : " Ar ";
    fprintf(out, "%s Fl -%s%s%s\n", macro, option->name, joint, option->value ? option->value : "");
}

void command_print_manual(FILE *out)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *command = &command_table[i];

        fprintf(out, ".It Cm %s%s%s%s%s\n%c%s.\n", command->group, blank_of(command), command->name,
                command->arguments[0] ? " Ar " : "", command->arguments,
                command->summary[0] & ~0x20, command->summary + 1);
        for (size_t k = 0; k < OPTIONS; k++) {
            if (options[k].takes & command->takes)
                print_option_roff(out, ".Op", &options[k]);
        }
    }
    fprintf(out, ".El\n.Sh OPTIONS\nEvery command takes the first four.\n.Bl -tag -width Ds\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        print_option_roff(out, ".It", &options[i]);
        fprintf(out, "%c%s.\n", options[i].help[0] & ~0x20, options[i].help + 1);
    }
}

/* A value in brackets may be left out. */
static int argument_of(const struct option_line *option)
{
    if (!option->value)
        return no_argument;
    return option->value[0] == '[' ? optional_argument : required_argument;
}

int command_main(int argc, char **argv)
{
    struct option table[OPTIONS + 1] = {{0}};
    struct request request = {0};
    unsigned given = 0;
    bool help = false;

    if (argc >= 2 && strcmp(argv[1], "--words") == 0)
        return print_words(argc - 2, argv + 2);
    if (argc == 2 && strcmp(argv[1], "--manual") == 0) {
        command_print_manual(stdout);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < OPTIONS; i++)
        table[i] =
            (struct option){options[i].name, argument_of(&options[i]), NULL, options[i].letter};
    for (int letter; (letter = getopt_long(argc, argv, "s:c:h", table, NULL)) != -1;) {
        if (letter == '?')
            return EX_USAGE;
        if (letter == 'V') {
            printf("apikeyctl %s\n", APIKEYD_VERSION);
            return EXIT_SUCCESS;
        }
        help = help || letter == 'h';
        for (size_t i = 0; i < OPTIONS; i++) {
            if (options[i].letter == letter && letter != 'h') {
                given |= options[i].takes;
                take_option(&request, options[i].letter, optarg);
            }
        }
    }
    request.argc = argc - optind;
    request.argv = argv + optind;
    request.command = take_command(&request);
    if (help || !request.command) {
        print_help(help ? stdout : stderr, request.command);
        return help ? EXIT_SUCCESS : EX_USAGE;
    }
    check_fits(&request, given);
    return request.command->run(&request);
}
