/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/config_hasher.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <apikeyd/base/secret.h>
#include <apikeyd/config/option.h>

static_assert(SECRET_FILE_SIZE == OPTION_FILE_MAX + 1, "a file's path fits");

size_t secret_files_split(const char *list, char ret[static KEY_SECRETS_MAX][SECRET_FILE_SIZE])
{
    size_t len = 0;

    while (*list && len < KEY_SECRETS_MAX) {
        size_t end, trimmed;

        list += strspn(list, " ");
        end = trimmed = strcspn(list, ",");
        while (trimmed > 0 && list[trimmed - 1] == ' ')
            trimmed--;
        snprintf(ret[len++], SECRET_FILE_SIZE, "%.*s", (int)trimmed, list);
        list += end;
        list += *list == ',';
    }
    return len;
}

struct secrets {
    size_t len;
    char file[KEY_SECRETS_MAX][SECRET_FILE_SIZE];
    struct secret secret[KEY_SECRETS_MAX];
};

/* What is no path may be a secret in the wrong place: it is not shown. */
static void append_file(struct buffer *out, const struct secrets *secrets, size_t i)
{
    if (secrets->file[i][0] == '/')
        buffer_text(out, secrets->file[i]);
    else
        buffer_printf(out, "file %zu", i + 1);
}

/* Two files with one secret are a mistake: the one that was to be replaced would still be in
 * force. */
static bool is_new(const struct secrets *secrets, size_t i, struct buffer *why)
{
    const struct secret *secret = &secrets->secret[i];

    for (size_t k = 0; k < i; k++) {
        if (secrets->secret[k].len != secret->len ||
            memcmp(secrets->secret[k].bytes, secret->bytes, secret->len) != 0)
            continue;
        append_file(why, secrets, k);
        buffer_text(why, " and ");
        append_file(why, secrets, i);
        buffer_text(why, " hold the same secret");
        return false;
    }
    return true;
}

static bool read_secrets(struct secrets *secrets, struct buffer *why, struct buffer *exposed)
{
    for (size_t i = 0; i < secrets->len; i++) {
        struct buffer wrong = {0};
        bool read = secret_read(secrets->file[i], &secrets->secret[i], &wrong);

        if (!read && secrets->len > 1) {
            append_file(why, secrets, i);
            buffer_text(why, ": ");
        }
        buffer_append(why, buffer_held(&wrong).at, wrong.len);
        buffer_free(&wrong);
        if (!read || !is_new(secrets, i, why))
            return false;
        if (exposed && secrets->secret[i].exposed)
            buffer_printf(exposed, "%s\n", secrets->file[i]);
    }
    return true;
}

struct key_hasher *config_key_hasher(const struct config *config, struct buffer *why,
                                     struct buffer *exposed)
{
    struct secrets secrets = {0};
    struct slice secret[KEY_SECRETS_MAX];
    struct key_hasher *hasher = NULL;
    bool hashed = config->postgres_key_transform != KEY_TRANSFORM_NONE;

    secrets.len = secret_files_split(config->postgres_key_transform_secret_file, secrets.file);
    if (read_secrets(&secrets, why, exposed)) {
        for (size_t i = 0; i < secrets.len; i++)
            secret[i] = secret_slice(&secrets.secret[i]);
        hasher = key_hasher_new(secret, hashed ? secrets.len : 0,
                                config->postgres_key_column_fallback[0]);
        if (!hasher)
            buffer_text(why, "out of memory");
    }
    explicit_bzero(secrets.secret, sizeof secrets.secret);
    return hasher;
}
