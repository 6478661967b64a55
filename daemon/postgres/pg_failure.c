/* SPDX-License-Identifier: MIT */
#include "pg_failure.h"

#include <stddef.h>
#include <string.h>

bool pg_failure_no_password(const char *message)
{
    return strstr(message, "no password supplied") != NULL;
}

enum pg_failure pg_failure_of(const char *message)
{
    static const struct {
        const char *words;
        enum pg_failure failure;
    } known[] = {
        {"  28P01: ", PG_FAILURE_LOGIN}, /* invalid_password */
        {"  28000: ", PG_FAILURE_LOGIN}, /* invalid_authorization_specification */
        {"  42501: ", PG_FAILURE_LOGIN}, /* insufficient_privilege: CONNECT on the database */
        {"  53300: ", PG_FAILURE_ROOM},  /* too_many_connections */
        {"no password supplied", PG_FAILURE_LOGIN},
        {"SSL", PG_FAILURE_TLS},
        {"certificate", PG_FAILURE_TLS},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strstr(message, known[i].words))
            return known[i].failure;
    }
    return PG_FAILURE_OTHER;
}
