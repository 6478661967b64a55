/* schema: the commands about what the database needs: as SQL, and whether it is there. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_SCHEMA_H
#define APIKEYCTL_SCHEMA_H

#include "command.h"

int run_schema_sql(const struct request *request);
int run_schema_check(const struct request *request);

#endif
