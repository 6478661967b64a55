/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/blot.h>

#include <string.h>

/* A password that is not percent-encoded may hold "/" and "@": the last "@" ends it. Keywords are
 * password, sslpassword, oauth_client_secret; the value after one may have many forms.
 */
void blot_passwords(const char *text, struct buffer *out)
{
    const char *scheme = strstr(text, "://");
    const char *login = scheme ? scheme + 3 : text;
    const char *at = strrchr(login, '@');
    const char *colon = at ? memchr(login, ':', (size_t)(at - login)) : NULL;
    const char *rest = colon ? at : text;
    const char *password = strstr(rest, "password");
    const char *secret = strstr(rest, "secret");
    const char *keyword = secret && (!password || secret < password) ? secret : password;

    if (colon) {
        buffer_append(out, text, (size_t)(colon - text));
        buffer_text(out, ":***");
    }
    if (!keyword) {
        buffer_text(out, rest);
        return;
    }
    buffer_append(out, rest, (size_t)(keyword - rest));
    buffer_printf(out, "%s=***", keyword == secret ? "secret" : "password");
}

void blot_control(struct slice text, struct buffer *out)
{
    enum { SHOWN_MAX = 100 };

    for (size_t i = 0; i < text.len && i < SHOWN_MAX; i++) {
        unsigned char c = (unsigned char)text.at[i];

        if (c < ' ' || c == 0x7f)
            buffer_printf(out, "\\x%02x", c);
        else
            buffer_append(out, &c, 1);
    }
    if (text.len > SHOWN_MAX)
        buffer_text(out, "...");
}
