/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/out_of_memory.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <apikeyd/base/log.h>

void out_of_memory(void)
{
    char line[64];

    snprintf(line, sizeof line, "%s: out of memory\n", program_invocation_short_name);
    log_last_words(line);
    abort();
}
