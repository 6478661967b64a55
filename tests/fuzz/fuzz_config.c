/* SPDX-License-Identifier: MIT */
/* Configuration files, read as from a disk. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apikeyd/config/config_load.h>
#include <apikeyd/config/option.h>

#include "fuzz.h"

/* Every value prints as it could stand in the file, and means the same there. */
static void judge(struct config *config)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];
        struct buffer text = {0}, again = {0};
        char scratch[256];

        option_print(option, config, &text);
        buffer_append(&text, "", 1);
        FUZZ_MUST(!option_parse(option, text.data, config, scratch, sizeof scratch));
        option_print(option, config, &again);
        buffer_append(&again, "", 1);
        FUZZ_MUST(strcmp(text.data, again.data) == 0);
        buffer_free(&text);
        buffer_free(&again);
    }
}

static void ignore(void *arg, const char *name, const char *value)
{
    (void)arg;
    FUZZ_MUST(name && value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[64];
    struct buffer errors = {0};

    if (fd < 0)
        fd = memfd_create("apikeyd.conf", 0);
    FUZZ_MUST(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct config *config = config_load(path, &errors);

    FUZZ_MUST((config == NULL) == (errors.len > 0));
    if (config) {
        judge(config);
        config_each(config, "*", ignore, NULL);
        config_free(config_copy(config));
    }
    config_free(config);
    buffer_free(&errors);
    return 0;
}
