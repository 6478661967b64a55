/* redis_tls_files: the files of TLS to Redis, read into a context of OpenSSL.
 *
 * redis.ca_file, redis.cert_file and redis.key_file; without redis.ca_file the authorities are the
 * system's, from the one file that Debian makes of them: a folder of them would be read during the
 * handshake, by the thread that must not wait. Reading blocks: any thread but the loop's. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_TLS_FILES_H
#define APIKEYD_REDIS_TLS_FILES_H

#include <stdbool.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

struct ssl_ctx_st;

/* The options' values, as they are in the configuration. */
struct redis_tls_files {
    char *ca, *cert, *key;
};

/* Copy the options' values. False when out of memory. Release with redis_tls_files_done(). */
__attribute__((warn_unused_result)) bool redis_tls_files_init(struct redis_tls_files *files,
                                                              const struct config *config);
void redis_tls_files_done(struct redis_tls_files *files);

/* An option, and its value. */
struct redis_tls_file {
    const char *option, *path;
};

/* Returns a context for clients that speak TLS 1.2 or later and check the server's certificate.
 * Free with SSL_CTX_free(). NULL with the file at fault in *ret_wrong, and the reason, which does
 * not name the path, appended to *why. */
__attribute__((warn_unused_result)) struct ssl_ctx_st *
redis_tls_files_read(const struct redis_tls_files *files, struct redis_tls_file *ret_wrong,
                     struct buffer *why);

/* Returns whether they can be read. False with the option at fault in *ret_option, and the reason
 * appended to *why. */
__attribute__((warn_unused_result)) bool
redis_tls_files_check(const struct config *config, const char **ret_option, struct buffer *why);

#endif
