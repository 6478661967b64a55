/* config_rules: rules between options. The rules read nothing but the options. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_RULES_H
#define APIKEYD_CONFIG_RULES_H

#include <apikeyd/config/config_draft.h>

void config_rules_check(struct config_draft *draft);

#endif
