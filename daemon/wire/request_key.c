/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/request_key.h>

static const char bad_escape[] = "a % of the key in the query is not followed by two hex digits";
static const char bad_basic[] = "Authorization: Basic has no Base64 of user:password";

/* Text that is being decoded. A byte more than a key can have is kept, so that the key is seen to
 * be too long. */
struct decoded {
    size_t len;
    char bytes[KEY_LEN_MAX + 1];
};

static void put(struct decoded *decoded, char byte)
{
    if (decoded->len < sizeof decoded->bytes)
        decoded->bytes[decoded->len++] = byte;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Take `scheme` and the blanks behind it off the start of *value. False when another word, or
 * nothing, stands there. */
static bool take_scheme(struct slice *value, const char *scheme)
{
    size_t len = strlen(scheme);

    if (value->len < len || strncasecmp(value->at, scheme, len) != 0 ||
        (value->len > len && !is_blank(value->at[len])))
        return false;
    *value = slice_trim((struct slice){value->at + len, value->len - len});
    return true;
}

struct slice request_key_credentials(struct slice value)
{
    value = slice_trim(value);
    if (!take_scheme(&value, "Bearer"))
        (void)take_scheme(&value, "ApiKey");
    return value;
}

/* A key that stands in the request as it is. */
static void add(struct request_key *found, struct slice key)
{
    if (key.len > KEY_LEN_MAX + 1)
        key.len = KEY_LEN_MAX + 1;
    if (found->found && !same(found->key, key))
        found->wrong = "there is more than one key";
    if (!found->found)
        found->key = key;
    found->found = true;
}

static void add_decoded(struct request_key *found, const struct decoded *decoded)
{
    struct slice key = {decoded->bytes, decoded->len};

    if (!found->found) {
        memcpy(found->decoded, decoded->bytes, decoded->len);
        key.at = found->decoded;
    }
    add(found, key);
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

/* As HTML forms encode (URL Standard, application/x-www-form-urlencoded): a plus is a blank. False
 * when an escape is not whole. */
static bool decode_form(struct slice text, struct decoded *ret)
{
    for (size_t i = 0; i < text.len; i++) {
        char byte = text.at[i];

        if (byte == '%') {
            int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.at[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            byte = (char)(high * 16 + low);
            i += 2;
        } else if (byte == '+') {
            byte = ' ';
        }
        put(ret, byte);
    }
    return true;
}

static bool is_parameter(struct slice name, const char *wanted)
{
    struct decoded decoded = {0};

    return decode_form(name, &decoded) &&
           same((struct slice){decoded.bytes, decoded.len}, (struct slice){wanted, strlen(wanted)});
}

/* The parameters of that name in a URI, or in what is no URI but has a question mark. */
static void read_query(struct request_key *found, const char *parameter, struct slice uri)
{
    struct slice query = {0}, pair, name;

    (void)slice_take_part(&uri, '#', &query);
    if (!slice_take_part(&query, '?', &pair))
        return;
    while (slice_take_part(&query, '&', &pair)) {
        struct decoded value = {0};

        if (!slice_take_part(&pair, '=', &name) || !is_parameter(name, parameter))
            continue;
        if (decode_form(pair, &value))
            add_decoded(found, &value);
        else
            found->wrong = bad_escape;
        explicit_bzero(&value, sizeof value);
    }
}

static int base64_digit(char byte)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = byte ? strchr(digits, byte) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* RFC 4648, section 4, up to the first colon: with padding, and with no bits left over. False when
 * there is no colon. */
static bool decode_user(struct slice text, struct decoded *ret)
{
    unsigned bits = 0, held = 0;
    size_t padding = 0, digits = text.len;
    bool colon = false;

    while (padding < 2 && padding < text.len && text.at[text.len - 1 - padding] == '=')
        padding++;
    digits -= padding;
    if (text.len % 4 != 0)
        return false;
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text.at[i]);

        if (digit < 0)
            return false;
        bits = (bits << 6 | (unsigned)digit) & 0xfff;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        char byte = (char)(uint8_t)(bits >> held);
        colon = colon || byte == ':';
        if (!colon)
            put(ret, byte);
    }
    return colon && (bits & ((1U << held) - 1)) == 0;
}

static void read_basic(struct request_key *found, struct slice value)
{
    struct decoded user = {0};

    if (!take_scheme(&value, "Basic"))
        return;
    if (decode_user(value, &user))
        add_decoded(found, &user);
    else
        found->wrong = bad_basic;
    explicit_bzero(&user, sizeof user);
}

static void read_bearer(struct request_key *found, struct slice value)
{
    if (take_scheme(&value, "Bearer") || take_scheme(&value, "ApiKey"))
        add(found, value);
}

/* RFC 6265, section 4.2.1. Quotes around a value are not its own, and nothing in it is encoded. */
static void read_cookie(struct request_key *found, const char *cookie, struct slice value)
{
    struct slice pair, name;

    while (slice_take_part(&value, ';', &pair)) {
        pair = slice_trim(pair);
        if (!slice_take_part(&pair, '=', &name) ||
            !same(slice_trim(name), (struct slice){cookie, strlen(cookie)}))
            continue;
        pair = slice_trim(pair);
        bool opens = pair.len > 0 && pair.at[0] == '"';
        bool closes = pair.len > 1 && pair.at[pair.len - 1] == '"';

        if (opens && closes)
            pair = (struct slice){pair.at + 1, pair.len - 2};
        if (pair.len > 0 && memchr(pair.at, '"', pair.len))
            found->wrong = "the key's cookie has a quote that is not around it";
        else
            add(found, pair);
    }
}

static void read_header(struct request_key *found, const char *name, struct slice value)
{
    add(found, strcasecmp(name, "Authorization") == 0 ? request_key_credentials(value) : value);
}

/* Two fields with the URI: the gateway has added its own to one that it was sent. */
static void read_uri_field(struct request_key *found, const struct key_source *source, unsigned bit,
                           struct slice value)
{
    if (found->uris & bit)
        found->wrong = "there is more than one field with the URI";
    found->uris |= bit;
    read_query(found, source->name, value);
}

void request_key_field(struct request_key *found, const struct key_sources *sources,
                       struct slice name, struct slice value)
{
    for (size_t i = 0; i < sources->len; i++) {
        const struct key_source *source = &sources->source[i];
        const char *field = key_source_field(source);

        if (!field || !slice_is(name, field))
            continue;
        if (source->kind == KEY_IN_HEADER)
            read_header(found, source->name, value);
        else if (source->kind == KEY_IN_BEARER)
            read_bearer(found, value);
        else if (source->kind == KEY_IN_BASIC_USER)
            read_basic(found, value);
        else if (source->kind == KEY_IN_COOKIE)
            read_cookie(found, source->name, value);
        else if (source->kind == KEY_IN_QUERY)
            read_uri_field(found, source, 1U << i, value);
    }
}

void request_key_target(struct request_key *found, const struct key_sources *sources,
                        struct slice target)
{
    for (size_t i = 0; i < sources->len; i++) {
        const struct key_source *source = &sources->source[i];

        if (source->kind == KEY_IN_QUERY && !source->field[0])
            read_query(found, source->name, target);
    }
}

void request_key_clear(struct request_key *found)
{
    explicit_bzero(found, sizeof *found);
}
