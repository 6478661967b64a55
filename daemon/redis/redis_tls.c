/* SPDX-License-Identifier: MIT */
#include "redis_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <apikeyd/redis/redis_tls_files.h>
#include <apikeyd/thread/worker.h>

enum { NAME_SIZE = 256 };

/* Owned by the worker while it runs. */
struct reading {
    struct redis_tls *tls; /* for the loop's thread only: may be freed meanwhile */
    struct redis_tls_files files;
    SSL_CTX *context;  /* NULL: … */
    struct buffer why; /* … for this reason */
};

struct redis_tls {
    struct event_base *base;
    void (*answered)(void *arg, const char *error);
    void *arg;
    struct redis_tls_files files;
    char name[NAME_SIZE];  /* redis.server_name */
    struct worker *worker; /* the files are being read */
    SSL_CTX *context;      /* what was read last; NULL: nothing yet */
};

static void free_reading(void *arg)
{
    struct reading *reading = arg;

    SSL_CTX_free(reading->context);
    redis_tls_files_done(&reading->files);
    buffer_free(&reading->why);
    free(reading);
}

static void run_reading(void *arg)
{
    struct reading *reading = arg;
    struct buffer why = {0};
    struct redis_tls_file wrong;

    reading->context = redis_tls_files_read(&reading->files, &wrong, &why);
    if (!reading->context)
        buffer_printf(&reading->why, "%s %s: %.*s", wrong.option, wrong.path, (int)why.len,
                      why.data);
    buffer_append(&reading->why, "", 1);
    buffer_free(&why);
}

static void on_read(void *arg)
{
    struct reading *reading = arg;
    struct redis_tls *tls = reading->tls;

    tls->worker = NULL;
    if (reading->context) {
        SSL_CTX_free(tls->context);
        tls->context = reading->context;
        reading->context = NULL;
        tls->answered(tls->arg, NULL);
    } else {
        tls->answered(tls->arg, reading->why.data);
    }
    free_reading(reading);
}

struct redis_tls *redis_tls_new(struct event_base *base, const struct config *config,
                                void (*answered)(void *arg, const char *error), void *arg)
{
    struct redis_tls *tls = calloc(1, sizeof *tls);

    if (!tls || !redis_tls_files_init(&tls->files, config)) {
        free(tls);
        return NULL;
    }
    tls->base = base;
    tls->answered = answered;
    tls->arg = arg;
    snprintf(tls->name, sizeof tls->name, "%s", config->redis_server_name);
    return tls;
}

void redis_tls_free(struct redis_tls *tls)
{
    if (!tls)
        return;
    if (tls->worker)
        worker_abandon(tls->worker);
    redis_tls_files_done(&tls->files);
    SSL_CTX_free(tls->context);
    free(tls);
}

bool redis_tls_ask(struct redis_tls *tls)
{
    struct reading *reading;

    if (tls->worker)
        return true;
    reading = calloc(1, sizeof *reading);
    if (!reading)
        return false;
    reading->tls = tls;
    reading->files = (struct redis_tls_files){strdup(tls->files.ca), strdup(tls->files.cert),
                                              strdup(tls->files.key)};
    if (reading->files.ca && reading->files.cert && reading->files.key)
        tls->worker = worker_start(tls->base, run_reading, on_read, free_reading, reading);
    if (!tls->worker)
        free_reading(reading);
    return tls->worker != NULL;
}

bool redis_tls_ready(const struct redis_tls *tls)
{
    return tls->context != NULL;
}

/* Have the certificate checked for `host`, without the interface of an IPv6 address or the dot at
 * the end of a name. */
static bool expect(SSL *connection, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(connection);
    char name[NAME_SIZE];

    snprintf(name, sizeof name, "%s", host);
    if (strchr(name, ':'))
        name[strcspn(name, "%")] = '\0';
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
        return true;
    /* To OpenSSL a dot in front means any subdomain, and no name means no check. */
    if (!name[0] || name[0] == '.')
        return false;
    if (name[strlen(name) - 1] == '.')
        name[strlen(name) - 1] = '\0';
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(connection, name) == 1 && SSL_set_tlsext_host_name(connection, name) == 1;
}

SSL *redis_tls_connection(const struct redis_tls *tls, const char *host)
{
    SSL *connection = SSL_new(tls->context);

    if (!connection || !expect(connection, tls->name[0] ? tls->name : host)) {
        SSL_free(connection);
        connection = NULL;
    }
    ERR_clear_error();
    return connection;
}

/* What is wrong with Redis's certificate. */
static const char *certificate_fault(const SSL *connection, long result,
                                     char scratch[static REDIS_TLS_WHY_SIZE])
{
    X509_VERIFY_PARAM *param = SSL_get0_param((SSL *)connection);
    char *address;

    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "its certificate, or that of its authority, has expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "its certificate, or that of its authority, is not valid yet";
    case X509_V_ERR_HOSTNAME_MISMATCH:
        snprintf(scratch, REDIS_TLS_WHY_SIZE,
                 "its certificate is not for %.100s (redis.server_name names another)",
                 X509_VERIFY_PARAM_get0_host(param, 0));
        return scratch;
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        address = X509_VERIFY_PARAM_get1_ip_asc(param);
        snprintf(scratch, REDIS_TLS_WHY_SIZE,
                 "its certificate is not for the address %.50s (redis.server_name names a host)",
                 address ? address : "");
        OPENSSL_free(address);
        return scratch;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return "its certificate is of no authority in redis.ca_file (empty: the system's)";
    default:
        snprintf(scratch, REDIS_TLS_WHY_SIZE, "its certificate is not taken: %.180s",
                 X509_verify_cert_error_string(result));
        return scratch;
    }
}

/* Alerts about a client's certificate; decrypt_error is one whose signature is not of the authority
 * that it names. */
static bool refuses_certificate(int reason)
{
    static const int alerts[] = {
        SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,     SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
        SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
        SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, SSL_R_TLSV1_ALERT_UNKNOWN_CA,
        SSL_R_TLSV1_ALERT_ACCESS_DENIED,       SSL_R_TLSV1_ALERT_DECRYPT_ERROR,
    };

    for (size_t i = 0; i < sizeof alerts / sizeof alerts[0]; i++) {
        if (alerts[i] == reason)
            return true;
    }
    return false;
}

const char *redis_tls_fault(const SSL *connection, unsigned long code,
                            char scratch[static REDIS_TLS_WHY_SIZE])
{
    long result = SSL_get_verify_result(connection);
    const char *reason = ERR_reason_error_string(code);

    if (result != X509_V_OK)
        return certificate_fault(connection, result, scratch);
    if (ERR_GET_LIB(code) != ERR_LIB_SSL)
        return NULL;
    if (SSL_get_certificate(connection) && refuses_certificate(ERR_GET_REASON(code))) {
        snprintf(scratch, REDIS_TLS_WHY_SIZE,
                 "it refuses the certificate of redis.cert_file: %.150s", reason ? reason : "");
        return scratch;
    }
    switch (ERR_GET_REASON(code)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_HTTP_REQUEST:
        return "it does not speak TLS at this port";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "it speaks no TLS of version 1.2 or later";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "it asks for a certificate, and redis.cert_file names none";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "it refuses the handshake: it may ask for a certificate (redis.cert_file), or share "
               "no cipher";
    default:
        snprintf(scratch, REDIS_TLS_WHY_SIZE, "TLS failed: %.180s", reason ? reason : "unknown");
        return scratch;
    }
}
