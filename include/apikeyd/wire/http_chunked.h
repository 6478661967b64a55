/* http_chunked: finds the end of a chunked body, and puts its data together (RFC 9112,
 * section 7.1).
 *
 * The scan goes on where it stopped, so a body that comes byte by byte costs no more than one that
 * comes whole. It is as strict as http_request: each line ends in CR LF, sizes are bare hex digits.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_CHUNKED_H
#define APIKEYD_HTTP_CHUNKED_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/wire/http_request.h>

/* How far a scan has come. All zeros at first. */
struct http_chunked {
    size_t at;     /* the whole chunks, and then the trailer's lines, before this are scanned */
    size_t data;   /* bytes in these chunks */
    size_t due;    /* bytes in the next one, as far as is known */
    size_t wanted; /* the body has at least this many bytes */
    bool trailer;  /* the last chunk is scanned */
};

/* Scan `body`: its start, as much as has come; what was scanned before stands there still.
 * COMPLETE: the body is scan->at bytes long. BROKEN sets *ret_why to text that lives forever. */
enum http_parsed http_chunked_scan(struct http_chunked *scan, struct slice body,
                                   const char **ret_why);

/* Append the data of a body that was scanned to its end. */
void http_chunked_data(struct slice body, struct buffer *out);

#endif
