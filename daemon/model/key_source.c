/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/key_source.h>

#include <ctype.h>
#include <stdio.h>

static const char *const words[] = {
    [KEY_IN_HEADER] = "header",
    [KEY_IN_BEARER] = "bearer",
    [KEY_IN_BASIC_USER] = "basic-user",
    [KEY_IN_QUERY] = "query",
    [KEY_IN_COOKIE] = "cookie",
    [KEY_IN_API_KEY] = "api_key",
    [KEY_IN_API_KEY_ID] = "api_key_id",
    [KEY_IN_AUTHORIZATION] = "authorization",
    [KEY_IN_IDENTITY_SOURCE] = "identity_source",
};

const char *key_source_field(const struct key_source *source)
{
    switch (source->kind) {
    case KEY_IN_HEADER:
        return source->name[0] ? source->name : NULL;
    case KEY_IN_BEARER:
    case KEY_IN_BASIC_USER:
        return "Authorization";
    case KEY_IN_QUERY:
        return source->field[0] ? source->field : NULL;
    case KEY_IN_COOKIE:
        return "Cookie";
    default:
        return NULL;
    }
}

/* Take what stands before `separator`, or everything. Returns whether there was one. */
static bool split(struct slice *text, char separator, struct slice *ret)
{
    const char *at = text->len > 0 ? memchr(text->at, separator, text->len) : NULL;

    *ret = (struct slice){text->at, at ? (size_t)(at - text->at) : text->len};
    text->at += ret->len + (at ? 1 : 0);
    text->len -= ret->len + (at ? 1 : 0);
    return at != NULL;
}

/* Letters, digits and some of `others`, as many as a source holds. */
static bool is_name(struct slice text, const char *others)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!isalnum((unsigned char)text.at[i]) && !strchr(others, text.at[i]))
            return false;
    }
    return text.len > 0 && text.len <= KEY_SOURCE_NAME_MAX;
}

/* A token (RFC 9110, section 5.6.2). */
static bool is_token(struct slice text)
{
    return is_name(text, "!#$%&'*+-.^_`|~");
}

static void copy_name(char ret[KEY_SOURCE_NAME_MAX + 1], struct slice name)
{
    memcpy(ret, name.at, name.len);
    ret[name.len] = '\0';
}

/* Names of parameters that need no encoding (RFC 3986, section 2.3): others could not be told from
 * the query's own characters. */
static const char *take_query(struct slice name, struct key_source *source)
{
    struct slice parameter;
    bool in_field = split(&name, '@', &parameter);

    if (!is_name(parameter, "-._~") || (in_field && !is_token(name)))
        return "a parameter of letters, digits and -._~ is needed, and behind an @ the name of the "
               "HTTP header that holds the URI (query:api_key, query:api_key@X-Original-URI)";
    copy_name(source->name, parameter);
    if (in_field)
        copy_name(source->field, name);
    return NULL;
}

static const char *take_name(struct slice name, struct key_source *source)
{
    if (source->kind == KEY_IN_QUERY)
        return take_query(name, source);
    if (!is_token(name))
        return source->kind == KEY_IN_COOKIE
                   ? "the name of a cookie is needed (cookie:api_key)"
                   : "the name of an HTTP header is needed (header:X-API-Key)";
    copy_name(source->name, name);
    return NULL;
}

static const char *expect_forms(const char *const *forms, char *scratch, size_t scratch_size)
{
    int len = snprintf(scratch, scratch_size, "it is a list of at most %d of:", KEY_SOURCES_MAX);

    for (size_t i = 0; forms[i] && (size_t)len < scratch_size; i++)
        len += snprintf(scratch + len, scratch_size - (size_t)len, "%s %s", i > 0 ? "," : "",
                        forms[i]);
    return scratch;
}

/* Returns whether "word", "word:NAME" or "word:NAME@HEADER" is one of the forms. */
static bool is_known(const char *const *forms, struct slice word, bool named, struct slice name)
{
    bool at = name.len > 0 && memchr(name.at, '@', name.len);

    for (size_t i = 0; forms[i]; i++) {
        size_t len = strcspn(forms[i], ":");

        if (word.len == len && strncasecmp(word.at, forms[i], len) == 0 &&
            (forms[i][len] == ':') == named && (strchr(forms[i], '@') != NULL) == at)
            return true;
    }
    return false;
}

static void print(const struct key_source *source, struct buffer *out)
{
    buffer_text(out, words[source->kind]);
    if (source->name[0])
        buffer_printf(out, ":%s", source->name);
    if (source->field[0])
        buffer_printf(out, "@%s", source->field);
}

void key_sources_print(const struct key_sources *sources, struct buffer *out)
{
    for (size_t i = 0; i < sources->len; i++) {
        if (i > 0)
            buffer_text(out, ", ");
        print(&sources->source[i], out);
    }
}

static bool is_same(const struct key_source *a, const struct key_source *b)
{
    int names = a->kind == KEY_IN_HEADER ? strcasecmp(a->name, b->name) : strcmp(a->name, b->name);

    return a->kind == b->kind && names == 0 && strcasecmp(a->field, b->field) == 0;
}

/* How a source reads its field: schemes are told apart by the field itself. */
static enum key_source_kind reading_of(const struct key_source *source)
{
    return source->kind == KEY_IN_BASIC_USER ? KEY_IN_BEARER : source->kind;
}

static bool disagree(const struct key_source *a, const struct key_source *b)
{
    const char *a_field = key_source_field(a), *b_field = key_source_field(b);

    return a_field && b_field && strcasecmp(a_field, b_field) == 0 &&
           reading_of(a) != reading_of(b);
}

/* Returns what is wrong with the last source beside those before it, or NULL. */
static const char *last_wrong(const struct key_sources *sources, char *scratch, size_t scratch_size)
{
    const struct key_source *last = &sources->source[sources->len - 1];
    struct buffer shown = {0};
    const char *wrong = NULL;

    for (const struct key_source *other = sources->source; other < last && !wrong; other++) {
        if (is_same(other, last))
            wrong = " is listed twice; one of them has to go";
        else if (disagree(other, last))
            wrong = " read the same field in different ways; one of them has to go";
        else
            continue;
        if (!is_same(other, last)) {
            print(other, &shown);
            buffer_text(&shown, " and ");
        }
        print(last, &shown);
        snprintf(scratch, scratch_size, "%.*s%s", (int)shown.len, buffer_held(&shown).at, wrong);
    }
    buffer_free(&shown);
    return wrong ? scratch : NULL;
}

const char *key_sources_parse(const char *text, const char *const *forms, struct key_sources *ret,
                              char *scratch, size_t scratch_size)
{
    struct key_sources sources = {0};
    struct slice rest = {text, strlen(text)}, item, word;
    const char *wrong = NULL;
    bool more = true;

    while (more && !wrong) {
        struct key_source *source = &sources.source[sources.len];

        more = split(&rest, ',', &item);
        item = slice_trim(item);
        bool named = split(&item, ':', &word);
        if (sources.len == KEY_SOURCES_MAX || !is_known(forms, word, named, item))
            return expect_forms(forms, scratch, scratch_size);
        while (!slice_is(word, words[source->kind]))
            source->kind++;
        sources.len++;
        wrong = named ? take_name(item, source) : NULL;
        wrong = wrong ? wrong : last_wrong(&sources, scratch, scratch_size);
    }
    if (!wrong)
        *ret = sources;
    return wrong;
}
