/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/resp_request.h>

#include <stdint.h>

#include <apikeyd/model/key_hasher.h>

enum { LINE_LEN_MAX = 32 }; /* of "*<count>" and "$<length>" lines */

/* Take a line that ends in CR LF off the front of `input`. */
static enum resp_status take_line(struct slice *input, struct slice *ret_line)
{
    size_t max = input->len < LINE_LEN_MAX ? input->len : LINE_LEN_MAX;
    const char *end = memchr(input->at, '\r', max);

    if (!end)
        return input->len < LINE_LEN_MAX ? RESP_INCOMPLETE : RESP_BROKEN;
    size_t len = (size_t)(end - input->at);
    if (len + 1 == input->len)
        return RESP_INCOMPLETE;
    if (end[1] != '\n')
        return RESP_BROKEN;
    *ret_line = (struct slice){input->at, len};
    input->at += len + 2;
    input->len -= len + 2;
    return RESP_COMPLETE;
}

/* A decimal number of at most nine digits, after a one-byte mark. */
static bool read_number(struct slice line, size_t *ret)
{
    size_t number = 0;

    if (line.len < 2 || line.len > 10)
        return false;
    for (size_t i = 1; i < line.len; i++) {
        if (line.at[i] < '0' || line.at[i] > '9')
            return false;
        number = number * 10 + (size_t)(line.at[i] - '0');
    }
    *ret = number;
    return true;
}

/* "$<length> CR LF <bytes> CR LF" */
static enum resp_status take_bulk(struct slice *input, size_t max_len, struct slice *ret,
                                  const char **ret_why)
{
    struct slice line;
    size_t len;

    if (input->len > 0 && input->at[0] != '$') {
        *ret_why = "expected '$' before an argument";
        return RESP_BROKEN;
    }
    enum resp_status status = take_line(input, &line);
    if (status == RESP_INCOMPLETE)
        return status;
    if (status == RESP_BROKEN || !read_number(line, &len)) {
        *ret_why = "invalid bulk length";
        return RESP_BROKEN;
    }
    if (len > max_len) {
        *ret_why = "request longer than listen.max_request";
        return RESP_BROKEN;
    }
    if (input->len < len + 2)
        return RESP_INCOMPLETE;
    if (input->at[len] != '\r' || input->at[len + 1] != '\n') {
        *ret_why = "expected CR LF after an argument";
        return RESP_BROKEN;
    }
    *ret = (struct slice){input->at, len};
    input->at += len + 2;
    input->len -= len + 2;
    return RESP_COMPLETE;
}

/* "*<count> CR LF", then that many bulk strings. */
static enum resp_status parse_array(struct slice *input, size_t max_request,
                                    struct resp_request *ret, const char **ret_why)
{
    struct slice line;
    size_t count = 0;
    enum resp_status status = take_line(input, &line);

    if (status == RESP_INCOMPLETE)
        return status;
    if (status == RESP_BROKEN || (!read_number(line, &count) && !slice_is(line, "*-1"))) {
        *ret_why = "invalid multibulk length";
        return RESP_BROKEN;
    }
    ret->argc = count;
    if (ret->argc > RESP_ARGS_MAX) {
        *ret_why = "invalid multibulk length: too many arguments";
        return RESP_BROKEN;
    }
    for (size_t i = 0; i < ret->argc; i++) {
        status = take_bulk(input, max_request, &ret->argv[i], ret_why);
        if (status != RESP_COMPLETE)
            return status;
    }
    return RESP_COMPLETE;
}

/* A line of words with blanks in between. Quotes are bytes like any other: a key that holds a
 * blank goes in a RESP array. */
static enum resp_status parse_inline(struct slice *input, struct resp_request *ret,
                                     const char **ret_why)
{
    const char *end = memchr(input->at, '\n', input->len);

    if (!end)
        return RESP_INCOMPLETE;
    const char *next = end + 1;
    if (end > input->at && end[-1] == '\r')
        end--;
    ret->argc = 0;
    for (const char *at = input->at; at < end;) {
        const char *word = at;

        while (at < end && *at != ' ' && *at != '\t')
            at++;
        if (at > word) {
            if (ret->argc == RESP_ARGS_MAX) {
                *ret_why = "too many words on a line";
                return RESP_BROKEN;
            }
            ret->argv[ret->argc++] = (struct slice){word, (size_t)(at - word)};
        }
        at++;
    }
    input->len -= (size_t)(next - input->at);
    input->at = next;
    return RESP_COMPLETE;
}

enum resp_status resp_request_parse(struct slice input, size_t max_request,
                                    struct resp_request *ret, size_t *ret_consumed,
                                    const char **ret_why)
{
    struct slice rest = input;
    enum resp_status status;

    if (input.len == 0)
        return RESP_INCOMPLETE;
    if (input.at[0] == '*')
        status = parse_array(&rest, max_request, ret, ret_why);
    else
        status = parse_inline(&rest, ret, ret_why);

    size_t consumed = input.len - rest.len;
    if (status == RESP_COMPLETE)
        *ret_consumed = consumed;
    if (status != RESP_BROKEN && (status == RESP_COMPLETE ? consumed : input.len) > max_request) {
        *ret_why = "request longer than listen.max_request";
        return RESP_BROKEN;
    }
    return status;
}

size_t resp_request_check(struct slice input, struct slice *ret_key)
{
    static const char head[] = "*2\r\n$5\r\nCHECK\r\n$";
    const char *at = input.at + sizeof head - 1;
    const char *end = input.at + input.len;
    size_t len = 0;

    if (input.len < sizeof head + 5 || memcmp(input.at, head, sizeof head - 1) != 0)
        return 0;
    /* The minimum length above guarantees the bytes at the number's end. */
    for (int digits = 0; digits < 3 && *at >= '0' && *at <= '9'; digits++)
        len = len * 10 + (size_t)(*at++ - '0');
    if (len == 0 || len > KEY_LEN_MAX || (size_t)(end - at) < len + 4 || at[0] != '\r' ||
        at[1] != '\n' || at[len + 2] != '\r' || at[len + 3] != '\n')
        return 0;
    *ret_key = (struct slice){at + 2, len};
    return (size_t)(at - input.at) + len + 4;
}

size_t resp_request_check_attributes(struct slice input, struct slice *ret_key)
{
    static const char head[] = "*3\r\n$5\r\nCHECK\r\n$", last[] = "\r\n$10\r\nATTRIBUTES\r\n";
    enum { HEAD = sizeof head - 1, LAST = sizeof last - 1 };
    size_t len = 0, at = HEAD;

    if (input.len < HEAD + LAST || memcmp(input.at, head, HEAD) != 0)
        return 0;
    for (; at < HEAD + 3 && input.at[at] >= '0' && input.at[at] <= '9'; at++)
        len = len * 10 + (size_t)(input.at[at] - '0');
    if (len == 0 || len > KEY_LEN_MAX || input.len < at + 2 + len + LAST ||
        memcmp(input.at + at, "\r\n", 2) != 0 || memcmp(input.at + at + 2 + len, last, LAST) != 0)
        return 0;
    *ret_key = (struct slice){input.at + at + 2, len};
    return at + 2 + len + LAST;
}
