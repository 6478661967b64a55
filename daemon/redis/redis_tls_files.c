/* SPDX-License-Identifier: MIT */
#include <apikeyd/redis/redis_tls_files.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <apikeyd/base/secret.h>

static const char system_authorities[] = "/etc/ssl/certs/ca-certificates.crt";

bool redis_tls_files_init(struct redis_tls_files *files, const struct config *config)
{
    *files = (struct redis_tls_files){.ca = strdup(config->redis_ca_file),
                                      .cert = strdup(config->redis_cert_file),
                                      .key = strdup(config->redis_key_file)};
    if (files->ca && files->cert && files->key)
        return true;
    redis_tls_files_done(files);
    return false;
}

void redis_tls_files_done(struct redis_tls_files *files)
{
    free(files->ca);
    free(files->cert);
    free(files->key);
    *files = (struct redis_tls_files){0};
}

/* OpenSSL would ask for the passphrase of a key on the terminal. */
static int no_passphrase(char *text, int size, int writing, void *arg)
{
    (void)text, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool read_authorities(SSL_CTX *context, const char *path)
{
    return SSL_CTX_load_verify_locations(context, path, NULL) == 1;
}

static bool read_certificate(SSL_CTX *context, const char *path)
{
    return SSL_CTX_use_certificate_chain_file(context, path) == 1;
}

static bool read_key(SSL_CTX *context, const char *path)
{
    return SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) == 1;
}

/* The fault of a file that OpenSSL does not take. */
static const char *fault(const char *expected)
{
    unsigned long code = ERR_peek_last_error();

    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH)
        return "it is not the key of the certificate in redis.cert_file";
    return expected;
}

/* Read one file, which `option` names. */
static bool read_file(SSL_CTX *context, const char *path, bool (*read)(SSL_CTX *, const char *),
                      const char *expected, struct buffer *why)
{
    struct buffer file = {0};
    struct stat status;
    const char *wrong = NULL;

    if (!secret_path(path, &file, why))
        return false;
    ERR_clear_error();
    if (stat(file.data, &status) != 0 || access(file.data, R_OK) != 0)
        wrong = strerrordesc_np(errno);
    else if (!S_ISREG(status.st_mode)) /* a FIFO would be waited for */
        wrong = "a regular file is needed";
    else if (!read(context, file.data))
        wrong = fault(expected);
    ERR_clear_error();
    if (wrong && path == system_authorities)
        buffer_printf(why, "the system's authorities, %s: ", path);
    if (wrong)
        buffer_text(why, wrong);
    buffer_free(&file);
    return !wrong;
}

static SSL_CTX *new_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    if (!context)
        return NULL;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    /* RESP says where a reply ends, so a connection that ends without a farewell cuts none short.
     */
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

SSL_CTX *redis_tls_files_read(const struct redis_tls_files *files, struct redis_tls_file *ret_wrong,
                              struct buffer *why)
{
    static const char no_certificate[] = "no certificate in PEM form is in it";
    const struct {
        struct redis_tls_file file;
        bool (*read)(SSL_CTX *context, const char *path);
        const char *expected;
    } each[] = {
        {{"redis.ca_file", files->ca[0] ? files->ca : system_authorities},
         read_authorities,
         no_certificate},
        {{"redis.cert_file", files->cert}, read_certificate, no_certificate},
        {{"redis.key_file", files->key},
         read_key,
         "no private key in PEM form and without a passphrase is in it"},
    };
    SSL_CTX *context = new_context();

    *ret_wrong = (struct redis_tls_file){"redis.url", ""};
    if (!context)
        buffer_text(why, "OpenSSL offers no TLS 1.2: out of memory?");
    for (size_t i = 0; context && i < sizeof each / sizeof each[0]; i++) {
        const char *path = each[i].file.path;

        if (!path[0] || read_file(context, path, each[i].read, each[i].expected, why))
            continue;
        *ret_wrong = each[i].file;
        SSL_CTX_free(context);
        context = NULL;
    }
    return context;
}

bool redis_tls_files_check(const struct config *config, const char **ret_option, struct buffer *why)
{
    struct redis_tls_files files;
    struct redis_tls_file wrong;

    if (!redis_tls_files_init(&files, config))
        return true; /* out of memory is told by whoever needs more */
    SSL_CTX *context = redis_tls_files_read(&files, &wrong, why);
    redis_tls_files_done(&files);
    SSL_CTX_free(context);
    *ret_option = wrong.option;
    return context != NULL;
}
