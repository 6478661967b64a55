/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/address.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(const char *text, in_port_t *ret)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    if (!isdigit((unsigned char)text[0]) || *end || port == 0 || port > 65535)
        return false;
    *ret = htons((uint16_t)port);
    return true;
}

static bool parse_ip6(char *host, struct sockaddr_in6 *ret)
{
    char *interface = strchr(host, '%');

    ret->sin6_family = AF_INET6;
    if (interface) {
        *interface = '\0';
        ret->sin6_scope_id = if_nametoindex(interface + 1);
    }
    return inet_pton(AF_INET6, host, &ret->sin6_addr) == 1 &&
           (!interface || ret->sin6_scope_id != 0);
}

bool address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
    bool ip6 = text[0] == '[';
    const char *colon = strrchr(text, ':');
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {0};
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    size_t len = colon ? (size_t)(colon - text) : 0;

    if (ip6 && (len < 3 || text[len - 1] != ']'))
        return false;
    if (ip6) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof host)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (ip6 ? !parse_ip6(host, &in6) || !parse_port(colon + 1, &in6.sin6_port)
            : inet_pton(AF_INET, host, &in.sin_addr) != 1 || !parse_port(colon + 1, &in.sin_port))
        return false;
    memset(ret, 0, sizeof *ret);
    *ret_len = ip6 ? sizeof in6 : sizeof in;
    memcpy(ret, ip6 ? (const void *)&in6 : &in, *ret_len);
    return true;
}
