/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/config_load.h>

#include <apikeyd/config/config_draft.h>
#include <apikeyd/config/config_rules.h>

struct config *config_load(const char *path, struct buffer *errors)
{
    struct config_draft draft;

    if (config_draft_open(&draft, path, errors) < 0)
        return NULL;
    config_rules_check(&draft);
    return config_draft_close(&draft);
}

struct config *config_load_sound(const char *path, struct buffer *errors)
{
    struct config_draft draft;

    if (config_draft_open(&draft, path, errors) < 0)
        return NULL;
    draft.failed = false;
    return config_draft_close(&draft);
}
