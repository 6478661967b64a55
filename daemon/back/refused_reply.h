/* refused_reply: the reply to REFUSED. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REFUSED_REPLY_H
#define APIKEYD_REFUSED_REPLY_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/refused_keys.h>

/* A map: since when refusals are noted, how many keys went for others, and a map for each key, the
 * last refused first. Sorts `keys`. */
struct buffer refused_reply(struct refused_keys *keys, bool resp3);

#endif
