/* The relayed change feed as a model: one row, two relays, a Redis stream, one sidecar.
 *
 * SPDX-License-Identifier: MIT
 *
 * The row has versions, and a COMMIT makes the next one. Each relay hears of commits in order, and
 * appends them to its lane of the stream, with confirmations in between. The sidecar reads the lanes,
 * however late. It keeps one verdict in memory, and answers from it while it is fresh (lease.h,
 * feed_redis.h). coherence.pml has the rest: lookups that take time, Redis's verdicts, stale service.
 *
 * What may happen at any step: a COMMIT; a notification or heartbeat is delivered to a relay, however
 * late, but in order; a relay loses its LISTEN session, with what was on its way, and gets another one;
 * Redis loses an entry, or the oldest ones because the stream is short, or all of them; the sidecar
 * reads an entry; a tick; and with FAILOVER another server becomes the primary, to which lookups lead
 * from then on, while a relay may go on listening to the old one.
 *
 * Numbers show every loss at the next entry of the lane. The model has a bit for that, `lost`, because
 * numbers have no end. An entry that is repeated has an old number, and changes nothing: it is left
 * out. So are tags, and how closely clocks are known: ages count ticks.
 *
 * What is asserted of every answer:
 *   heard  it is no older than the last change that the sidecar has read of
 *   bound  its version was current at most TTL_UNLINKED ticks ago
 * Each NO_…, AHEAD and DATED_WHEN_READ takes a rule away, and must fail.
 */

#ifndef LAST
#define LAST 1 /* versions 0 to LAST */
#endif
#ifndef FAILURES
#define FAILURES 1
#endif
#ifndef TTL_UNLINKED
#define TTL_UNLINKED 1
#endif
#define RELAYS 2
#ifndef ROOM
#define ROOM 1 /* entries of a lane in the stream: 1 or 2 */
#endif

#define OLD (TTL_UNLINKED + 1)
#define NOTHING 15
#define BIT(i) (1 << (i))
#define MORE(age) age = (age < OLD -> age + 1 : OLD)
#define MAY_FAIL (failures < FAILURES)

typedef entry {
    bool confirms; /* else: tells of `version` */
    byte version;
    byte age;      /* of the heartbeat, from when it was sent */
    byte epoch;
    bool server
}

typedef relay {
    bool linked;
    bool begun; /* this epoch has a confirmation */
    bool server;
    byte heard; /* the last version that was notified, or that LISTEN saw */
    byte epoch;
    byte count;
    entry lane[ROOM];
    bool lost   /* an entry before the next one that is read */
}

relay r[RELAYS];

byte committed, at_failover = NOTHING;
byte gone[LAST + 1]; /* ages of the versions' ends */
bool primary;
byte failures;

/* The sidecar. */
byte memory = NOTHING;
byte memory_age;
byte before;   /* bit j: memory was read before lane j began */
bool below;    /* memory is below the watermark */
byte told;     /* the last version that it has read of */
byte confirmed = OLD;
typedef reader {
    byte epoch;
    bool up;
    bool meets;  /* it began when all changes until then were told */
    byte from_age
}
reader lane[RELAYS];

/* What a relay's server has committed. */
#define COMMITTED(i) (r[i].server == primary -> committed : at_failover)
#define FRESH                                                                                      \
    (memory != NOTHING && !below && (memory_age <= TTL_UNLINKED || confirmed <= TTL_UNLINKED))

inline clear(i, k)
{
    r[i].lane[k].confirms = false;
    r[i].lane[k].version = 0;
    r[i].lane[k].age = 0;
    r[i].lane[k].epoch = 0;
    r[i].lane[k].server = 0
}

inline drop_first(i)
{
    r[i].count--;
#if ROOM > 1
    r[i].lane[0].confirms = r[i].lane[1].confirms;
    r[i].lane[0].version = r[i].lane[1].version;
    r[i].lane[0].age = r[i].lane[1].age;
    r[i].lane[0].epoch = r[i].lane[1].epoch;
    r[i].lane[0].server = r[i].lane[1].server;
    clear(i, 1)
#else
    clear(i, 0)
#endif
}

/* MAXLEN: the oldest entry goes, read or not. */
inline append(i, is_confirmation, v, sent_age)
{
    if
    :: r[i].count == ROOM -> drop_first(i); r[i].lost = true
    :: else
    fi;
    r[i].lane[r[i].count].confirms = is_confirmation;
    r[i].lane[r[i].count].version = v;
    r[i].lane[r[i].count].age = sent_age;
    r[i].lane[r[i].count].epoch = r[i].epoch;
    r[i].lane[r[i].count].server = r[i].server;
    r[i].count++
}

active [RELAYS] proctype relays()
{
    byte i = _pid;

end:
    do
    /* LISTEN: nothing is told of what was committed before. A relay may be led to the old server. */
    :: d_step { !r[i].linked ->
            r[i].linked = true;
            r[i].begun = false;
#ifndef NO_EPOCH
            r[i].epoch++;
#else
            r[i].begun = r[i].epoch != 0;
            r[i].epoch = 1;
#endif
            r[i].server = primary;
            r[i].heard = COMMITTED(i) }
    :: d_step { r[i].linked && r[i].heard < COMMITTED(i) ->
            r[i].heard++;
            if
            :: r[i].begun -> append(i, false, r[i].heard, 0)
            :: else
            fi }
    /* The youngest heartbeat that may be answered now was sent before the first unheard commit. An
     * older one gives no more than this one does if it is read late. */
#ifdef AHEAD
    :: d_step { r[i].linked ->
#else
    :: d_step { r[i].linked && r[i].heard == COMMITTED(i) ->
#endif
            r[i].begun = true;
            append(i, true, 0, 0) }
    :: d_step { r[i].linked && r[i].heard < COMMITTED(i) ->
            r[i].begun = true;
            append(i, true, 0, gone[r[i].heard]) }
    :: d_step { r[i].linked && MAY_FAIL -> failures++; r[i].linked = false }
    od
}

inline lane_down(i)
{
    lane[i].up = false;
    lane[i].meets = false;
    lane[i].from_age = 0;
    before = before & ~BIT(i)
}

inline begin_lane(i)
{
    if
    :: !lane[i].up ->
        lane[i].up = true;
        lane[i].from_age = 0;
        lane[i].meets = false;
        if
        :: memory != NOTHING -> before = before | BIT(i)
        :: else
        fi
    :: else
    fi
}

#define OTHER(i) (1 - (i))
#ifdef NO_SERVER
#define OF_LOOKUPS(e) true
#else
#define OF_LOOKUPS(e) (e.server == primary)
#endif
#ifdef DATED_WHEN_READ
#define AGE(e) 0
#else
#define AGE(e) e.age
#endif

/* Where no stream reaches, the watermark rises to where this one began. */
inline carry_on(i)
{
#ifndef NO_WATERMARK
    if
    :: !lane[i].meets ->
        if
        :: (before & BIT(i)) != 0 -> below = true
        :: else
        fi;
        if
        :: lane[OTHER(i)].up && lane[OTHER(i)].from_age > lane[i].from_age ->
            lane[OTHER(i)].meets = true
        :: else
        fi
    :: else
    fi;
#endif
    lane[i].meets = true
}

inline take_confirmation(i, e_age)
{
    begin_lane(i);
    carry_on(i);
    if
    :: e_age < confirmed -> confirmed = e_age
    :: else
    fi;
    /* The other lane had begun before that. */
    if
    :: lane[OTHER(i)].up && lane[OTHER(i)].from_age > e_age -> lane[OTHER(i)].meets = true
    :: else
    fi
}

/* A lane's next entry: after a gap, or in another epoch, the lane begins anew. */
inline check_order(i)
{
#ifndef NO_NUMBER
    if
    :: r[i].lost -> lane_down(i)
    :: else
    fi;
#endif
    if
    :: r[i].lane[0].epoch != lane[i].epoch -> lane_down(i)
    :: else
    fi;
    r[i].lost = false;
    lane[i].epoch = r[i].lane[0].epoch
}

active [RELAYS] proctype sidecar_reads()
{
    byte i = _pid - RELAYS;

end:
    do
    :: d_step { r[i].count > 0 && !r[i].lane[0].confirms ->
            check_order(i);
            if
            :: r[i].lane[0].version > told -> told = r[i].lane[0].version
            :: else
            fi;
            memory = NOTHING;
            memory_age = 0;
            before = 0;
            below = false;
            drop_first(i) }
    :: d_step { r[i].count > 0 && r[i].lane[0].confirms ->
            check_order(i);
            if
            :: OF_LOOKUPS(r[i].lane[0]) && AGE(r[i].lane[0]) <= TTL_UNLINKED ->
                take_confirmation(i, AGE(r[i].lane[0]))
            :: else
            fi;
            drop_first(i) }
    /* It has just begun, and the other one is well: its word is not needed yet. */
    :: d_step { r[i].count > 0 && r[i].lane[0].confirms && lane[OTHER(i)].up &&
                confirmed <= TTL_UNLINKED ->
            check_order(i);
            if
            :: OF_LOOKUPS(r[i].lane[0]) && AGE(r[i].lane[0]) <= TTL_UNLINKED && !lane[i].meets ->
                begin_lane(i);
                drop_first(i)
            :: else -> r[i].lost = true; drop_first(i) /* a loss, as any other */
            fi }
    od
}

active proctype sidecar()
{
end:
    do
    :: d_step { FRESH ->
            assert(memory >= told); /* heard */
            assert(memory == committed || gone[memory] <= TTL_UNLINKED) /* bound */ }
    :: d_step { !FRESH || memory_age > 0 ->
            memory = committed;
            memory_age = 0;
            before = 0;
            below = false }
    od
}

active proctype world()
{
    byte j;

end:
    do
    :: d_step { committed < LAST -> gone[committed] = 0; committed++ }
    :: d_step { MAY_FAIL && r[0].count > 0 -> failures++; drop_first(0); r[0].lost = true }
    :: d_step { MAY_FAIL && r[1].count > 0 -> failures++; drop_first(1); r[1].lost = true }
    :: d_step { MAY_FAIL && r[0].count + r[1].count > 0 ->
            failures++;
            for (j : 0 .. RELAYS - 1) {
                if
                :: r[j].count > 0 ->
                    r[j].lost = true;
                    r[j].count = 0;
#if ROOM > 1
                    clear(j, 1);
#endif
                    clear(j, 0)
                :: else
                fi
            }
            j = 0 }
#ifdef FAILOVER
    /* Lookups find another server: what was read from the old one is read again. */
    :: d_step { !primary ->
            primary = true;
            at_failover = committed;
            lane_down(0);
            lane_down(1);
            below = true }
#endif
    :: d_step { true ->
            for (j : 0 .. RELAYS - 1) {
                MORE(lane[j].from_age);
                if
                :: r[j].count > 0 && r[j].lane[0].confirms -> MORE(r[j].lane[0].age)
                :: else
                fi
#if ROOM > 1
                ;
                if
                :: r[j].count > 1 && r[j].lane[1].confirms -> MORE(r[j].lane[1].age)
                :: else
                fi
#endif
            }
            MORE(confirmed);
            if
            :: memory != NOTHING -> MORE(memory_age)
            :: else
            fi;
            for (j : 0 .. LAST) {
                if
                :: j < committed -> MORE(gone[j])
                :: else
                fi
            }
            j = 0 }
    od
}
