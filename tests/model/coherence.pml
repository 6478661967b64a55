/* The promise of coherence as a model: sidecars, one Redis, one row of the key table.
 *
 * SPDX-License-Identifier: MIT
 *
 * The row has versions; a COMMIT makes the next one, and the odd ones are revoked. A verdict is the
 * version that a read saw, its age in ticks, and for each sidecar a bit: was it read before that
 * sidecar's watermark was raised last (in the daemon a comparison of times)? Ages stop counting where
 * no one would use or serve the verdict any more, so time goes on for ever in finitely many
 * states.
 *
 * What may happen at any step: a COMMIT; a notification or heartbeat is delivered, however late,
 * but in order; a feed breaks, which loses what was on its way; a lookup is refused, whether or not
 * the feed is up; Redis loses everything, or a command; a fill reaches Redis late; a sidecar
 * restarts; PostgreSQL stops answering; a tick. And in the cases that ask for it:
 *   SILENT         a COMMIT is not notified, as the same transaction disabled the triggers
 *   QUEUE_FULL     a COMMIT is not notified, but written to the table of changes, which a heartbeat
 *                  reads before it is taken as confirmed
 *   ELSEWHERE      a lookup is answered by another store than the feed's, where the first version
 *                  still is
 *   ENDS           the key ends, by PostgreSQL's clock, in any version and at any time; an extension is
 *                  the next version. A verdict carries its version's end, and each answer judges it
 *   KNOWN_CHANGES  Redis is read for stale service: a sidecar that does not hear of changes takes
 *                  tombstones, and verdicts below its watermark
 *
 * What is asserted of every answer, fresh or served stale because a lookup failed:
 *   heard      it is no older than the last change that was notified, or that was committed before
 *              a LISTEN or a heartbeat; for an answer served stale only if it is above the watermark
 *   confirmed  the same for every answer served stale while a heartbeat is confirmed
 *   known      an answer served stale is no older than the last change that was notified, that the
 *              table of changes or a tombstone told of, or than a verdict that Redis held when it
 *              was last read for stale service and that might be served
 *   bound      its version was current at most TTL_UNLINKED ticks ago, linked or not; at most
 *              STALE_MAX ago when it is served stale; with NO_TRIGGER, TTL
 *   asked      an answer of PostgreSQL that is not fresh when it comes was right at some time since
 *              it was asked for (instead of heard and bound)
 *   elsewhere  if it was read from another store: it was read at most TTL_UNLINKED ticks ago, or
 *              STALE_MAX, whatever version that store had (instead of bound, and of known while
 *              there is no feed to tell them apart); heard and confirmed apply once a heartbeat
 *              has found that lookups agree with the feed
 *   ended      it is no ALLOW if its version has ended
 *   shared     what is taken from Redis is no older than the last tombstone that any sidecar wrote
 *              there, as long as Redis keeps what it is given, and within TTL
 * and with LIVENESS that a sidecar which is asked for ever answers from the last version, once
 * commits and failures have ended. Each NO_… but NO_TRIGGER takes a rule away, and
 * REFUSE_BELOW_WATERMARK, KEEP_OVERTAKEN and JUDGED_WHEN_KEPT add wrong ones; each must fail.
 *
 * Sidecars are alike, so it is enough to look at the answers of one; what the others do to it they
 * do through Redis, by fills and tombstones. So one that is not OBSERVED has no memory, and may do
 * more than a real one: it fills in what it read however late, even if it knows better by then.
 * Whatever the observed one would fill in another one may have read and filled in as well.
 *
 * Left out: how closely a sidecar knows PostgreSQL's clock; that the two threads exchange messages in order (one sidecar's steps are atomic here);
 * that clocks are bounded (a model of time stamps would only restate the arithmetic, which unit
 * tests have); that a standby, or a server on an earlier timeline, is recognized (its answers are
 * refused, as if the lookup had failed); a failover of the feed itself, which is a new LISTEN;
 * another store's changes and its entries in Redis, whose keys bear its name; memory that is full;
 * how late a tombstone that was read is acted upon; the soft timeout of slow lookups.
 */

#ifndef SIDECARS
#define SIDECARS 2
#endif
#ifndef OBSERVED
#define OBSERVED 1 /* those from 0 on whose answers are looked at */
#endif
#ifndef LAST
#define LAST 2 /* versions 0 to LAST */
#endif
#ifndef TTL
#define TTL 2
#endif
#ifndef TTL_UNLINKED
#define TTL_UNLINKED 1
#endif
#ifndef STALE_MAX
#define STALE_MAX 2
#endif
#ifndef FAILURES
#define FAILURES 255 /* without end */
#endif

#define OLD (STALE_MAX > TTL -> STALE_MAX + 1 : TTL + 1) /* an age that nobody takes */
#define NOTHING 15                                        /* for a version */

typedef verdict {
    byte version = NOTHING;
    byte age;
    byte below /* bit i: read before sidecar i's watermark; with KNOWN_CHANGES, bit 4 + i: before a
                * change that sidecar i knows of; with ELSEWHERE, bit 7: of another store */
}

mtype = { IDLE, FROM_REDIS, SENT, READ };

typedef sidecar {
    verdict memory;
    mtype stage = IDLE; /* of the one lookup in flight, and what it brings */
    verdict flight;
    verdict fill;       /* a SET NX on its way to Redis; of those not observed */
    bool linked;
    byte heard;         /* the last version whose notification was handled, or that LISTEN or a
                         * heartbeat saw */
    byte confirmed = OLD /* age of the last heartbeat that was answered, from when it was sent */
#ifdef KNOWN_CHANGES
    byte known;         /* the last version that it was told of, or that Redis showed it */
#endif
#ifdef ELSEWHERE
    bool elsewhere;     /* lookups were answered by another store than the feed's */
    bool current_other; /* without a feed: the last lookup was */
#endif
}

sidecar s[SIDECARS];
verdict redis;
bool tombstone;     /* Redis holds one; then redis.version is NOTHING */
byte tombstone_age;
byte entombed;      /* the last version that a tombstone still in Redis, or expired, tells of */
byte committed;     /* the row's version */
byte gone[LAST + 1]; /* ages of the versions' ends */
byte unnotified;    /* bit v: nobody was notified of the end of version v */
byte tabled;        /* bit v: nor of this one, but it is in the table of changes */
bool down;          /* PostgreSQL does not answer */
byte failures;

#ifdef ENDS
byte over;          /* bit v: the end of version v has come */
#endif

#define BIT(i) (1 << (i))
#define KNOWN(v) (v.version != NOTHING)

#ifdef ELSEWHERE
#define OTHER_STORE 128
#define OF_OTHER_STORE(v) ((v.below & OTHER_STORE) != 0)
#define UNLINKED_BY_STORE(i) s[i].elsewhere
/* What is read there is no worse than the feed makes it. */
#define OTHER_AND_SO_TOLD(i, v) (OF_OTHER_STORE(v) && (s[i].elsewhere || !s[i].linked))
#define TELLS_STORE(i) (OF_OTHER_STORE(s[i].flight) || (!s[i].linked && s[i].current_other))
#define REDIS_IS_CURRENT(i) (!s[i].current_other)
/* Without a feed the other store is all that there is. */
#define OF_CURRENT_OTHER(i, v) (OF_OTHER_STORE(v) && s[i].current_other)
#else
#define OF_CURRENT_OTHER(i, v) false
#define OF_OTHER_STORE(v) false
#define UNLINKED_BY_STORE(i) false
#define OTHER_AND_SO_TOLD(i, v) false
#define TELLS_STORE(i) false
#define REDIS_IS_CURRENT(i) true
#endif

#define CONFIRMED_NOW(i) (s[i].confirmed <= TTL_UNLINKED)
#ifdef NO_LEASE
#define LINKED(i) s[i].linked
#else
#define LINKED(i) (CONFIRMED_NOW(i) && !UNLINKED_BY_STORE(i))
#endif
#define WITHIN_LEASE(i, v) (v.age <= TTL_UNLINKED || LINKED(i))
#define ABOVE_WATERMARK(i, v) ((v.below & BIT(i)) == 0)
#define FRESH(i, v) (KNOWN(v) && ABOVE_WATERMARK(i, v) && v.age <= TTL && WITHIN_LEASE(i, v))
#ifdef KEEP_OVERTAKEN
#define MAY_BE_KEPT(i, v) true
#else
#define MAY_BE_KEPT(i, v) ABOVE_WATERMARK(i, v)
#endif
#ifdef NO_CONFIRMED_WATERMARK
#define MAY_BE_STALE(i, v) true
#else
#define MAY_BE_STALE(i, v) (ABOVE_WATERMARK(i, v) || !CONFIRMED_NOW(i))
#endif
#ifdef STALE_ELSEWHERE
#define SERVABLE(i, v) (KNOWN(v) && v.age <= STALE_MAX && MAY_BE_STALE(i, v))
#else
#define SERVABLE(i, v)                                                                             \
    (KNOWN(v) && v.age <= STALE_MAX && MAY_BE_STALE(i, v) && !UNLINKED_BY_STORE(i))
#endif

#define SILENT_END(v) ((unnotified & BIT(v)) != 0)
#define TABLED_END(v) ((tabled & BIT(v)) != 0)
#define MISSED(v) (SILENT_END(v) || TABLED_END(v))
#define NOTIFIED(i) (s[i].heard < committed && !MISSED(s[i].heard))
/* The notification of a change overtakes what a heartbeat would tell of the one before. */
#define NOTIFIED_BEYOND(i)                                                                         \
    (s[i].heard + 1 < committed && MISSED(s[i].heard) && !MISSED(s[i].heard + 1))

/* What may be taken from Redis, if only to be served stale. */
#ifdef KNOWN_CHANGES
#define BELOW(i) BIT(i)
#define CHANGED(i) (BIT(i) | BIT(4 + i))
#define CHANGED_SINCE(i, v) ((v.below & BIT(4 + i)) != 0)
#define SHARED(i)                                                                                  \
    (KNOWN(redis) && (redis.age <= TTL || redis.age <= STALE_MAX) && REDIS_IS_CURRENT(i))
#define BEFORE_TOMBSTONE(v) (KNOWN(v) && (v.age > tombstone_age || v.version < entombed))
#else
#define BELOW(i) BIT(i)
#define CHANGED(i) BIT(i)
#define SHARED(i) (KNOWN(redis) && ABOVE_WATERMARK(i, redis) && redis.age <= TTL && REDIS_IS_CURRENT(i))
#endif

#ifdef NO_TRIGGER
#define BOUND TTL
#define CONFIRMED(i) 0
#else
#define BOUND TTL_UNLINKED
#define CONFIRMED(i) (s[i].heard == committed -> 0 : gone[s[i].heard])
#endif

#ifdef ENDS
#define NO_WINDOW 64 /* in `below`: the verdict has lost its end on the way */
#define ENDED(v) ((over & BIT(v.version)) != 0)
#define ALLOWS(v) (!ENDED(v) || (v.below & NO_WINDOW) != 0)
#define JUDGE_END(v) assert(!ENDED(v) || !ALLOWS(v)) /* ended */
#else
#define JUDGE_END(v) skip
#endif

/* For LIVENESS: the last answer since a tick was from the last version. And PostgreSQL answers in
 * time: with one that is always slower than TTL_UNLINKED no verdict is ever fresh. */
#ifdef LIVENESS
bool answered;
#define ANSWERED(v) answered = (v == LAST)
#define UNANSWERED answered = false
#define IN_TIME (s[0].stage == IDLE || s[0].flight.age < TTL_UNLINKED)
#define QUIET (committed == LAST && !down && failures == FAILURES)
#define REFUSED down
ltl reactivated { (<> [] QUIET) -> ([] <> answered) }
#else
#define REFUSED true /* a lookup may fail at any time, whether or not the feed does */
#define ANSWERED(v) skip
#define UNANSWERED skip
#define IN_TIME true
#endif

#define MORE(age) age = (age < OLD -> age + 1 : OLD)

inline forget(v)
{
    v.version = NOTHING;
    v.age = 0;
    v.below = 0
}

inline copy(to, from)
{
    to.version = from.version;
    to.age = from.age;
    to.below = from.below
}

inline older(v)
{
    if
    :: KNOWN(v) && v.age + 1 < OLD -> v.age++
    :: KNOWN(v) && v.age + 1 >= OLD -> forget(v)
    :: else
    fi
}

inline sink(v, bits)
{
    if
    :: KNOWN(v) -> v.below = v.below | bits
    :: else
    fi
}

/* All that was read before now is below sidecar i's watermark: what it holds is of no use to it then
 * but to be served while PostgreSQL is down; if the bits are CHANGED, not even for that. */
inline raise_watermark(i, bits)
{
    if
    :: i < OBSERVED ->
        sink(s[i].memory, bits);
        for (j : 0 .. SIDECARS - 1) {
            if
            :: s[j].stage != IDLE -> s[j].flight.below = s[j].flight.below | bits
            :: else
            fi
        }
#ifdef NO_DIRTY
        s[i].flight.below = s[i].flight.below & ~CHANGED(i);
#endif
        j = 0
    :: else
    fi
}

/* What Redis holds, and what is on its way there, is below the watermark as well. */
inline raise_watermark_of_redis(i, bits)
{
    if
    :: i < OBSERVED ->
        for (j : 0 .. SIDECARS - 1) {
            sink(s[j].fill, bits)
        }
        sink(redis, bits);
        j = 0
    :: else
    fi
}

inline answer(i, v)
{
#ifndef NO_TRIGGER
    assert(OTHER_AND_SO_TOLD(i, v) || v.version >= s[i].heard); /* heard */
#endif
    if
    :: OF_OTHER_STORE(v) -> assert(v.age <= TTL_UNLINKED) /* elsewhere */
    :: else -> assert(v.version == committed || gone[v.version] <= BOUND) /* bound */
    fi;
    JUDGE_END(v);
    ANSWERED(v.version)
}

/* To a client that asked before the read, which began `age` ticks ago. */
inline answer_late(i, v)
{
    assert(v.version == committed || gone[v.version] <= v.age); /* asked */
    JUDGE_END(v);
    ANSWERED(v.version)
}

inline answer_stale(i, v)
{
#ifndef NO_TRIGGER
    assert(OTHER_AND_SO_TOLD(i, v) || !ABOVE_WATERMARK(i, v) || v.version >= s[i].heard); /* heard */
    assert(OTHER_AND_SO_TOLD(i, v) || s[i].confirmed > TTL_UNLINKED ||
           s[i].heard <= v.version); /* confirmed */
#endif
#ifdef KNOWN_CHANGES
    assert(OF_CURRENT_OTHER(i, v) || v.version >= s[i].known); /* known */
#endif
    if
    :: OF_OTHER_STORE(v) -> assert(v.age <= STALE_MAX) /* elsewhere */
    :: else -> assert(v.version == committed || gone[v.version] <= STALE_MAX) /* bound */
    fi;
    JUDGE_END(v);
    ANSWERED(v.version)
}

inline end_flight(i)
{
    s[i].stage = IDLE;
    forget(s[i].flight)
}

/* Nothing older is served by sidecar i from now on, even stale. */
inline know(i, known_version)
{
#ifdef KNOWN_CHANGES
    if
    :: i < OBSERVED && s[i].known < known_version -> s[i].known = known_version
    :: else
    fi
#else
    skip
#endif
}

/* A verdict arrives in memory, unless what is there was read later: of two reads of one store in
 * one tick, that is the one which saw more. */
inline keep(i, v)
{
    if
    :: !KNOWN(s[i].memory) || s[i].memory.age > v.age -> copy(s[i].memory, v)
    :: KNOWN(s[i].memory) && s[i].memory.age == v.age &&
       (s[i].memory.version <= v.version || OF_OTHER_STORE(v) || OF_OTHER_STORE(s[i].memory)) ->
        copy(s[i].memory, v)
    :: else
    fi
#ifdef JUDGED_WHEN_KEPT
    ;
    if
    :: KNOWN(s[i].memory) && !ENDED(s[i].memory) ->
        s[i].memory.below = s[i].memory.below | NO_WINDOW
    :: else
    fi
#endif
}

/* What came is not fresh, and PostgreSQL tells nothing better: it may still be served stale. */
inline keep_stale(i)
{
#ifdef KNOWN_CHANGES
    if
    :: s[i].stage == FROM_REDIS && SERVABLE(i, s[i].flight) && !CHANGED_SINCE(i, s[i].flight) ->
        know(i, s[i].flight.version);
#ifdef REFUSE_BELOW_WATERMARK
        if
        :: ABOVE_WATERMARK(i, s[i].flight) -> keep(i, s[i].flight)
        :: else
        fi
#else
        keep(i, s[i].flight)
#endif
    :: s[i].stage == READ && !CHANGED_SINCE(i, s[i].flight) -> keep(i, s[i].flight)
    :: else
    fi
#else
    if
    :: s[i].stage == FROM_REDIS && ABOVE_WATERMARK(i, s[i].flight) && s[i].flight.age <= TTL ->
        keep(i, s[i].flight)
    :: else
    fi
#endif
}

/* SET NX: what is there stays. */
inline deliver_fill(i)
{
#ifdef NO_NX
    if
    :: true ->
#else
    if
    :: !KNOWN(redis) && !tombstone ->
#endif
        copy(redis, s[i].fill);
#ifdef NO_WINDOW_IN_REDIS
        redis.below = redis.below | NO_WINDOW;
#endif
        tombstone = false;
        tombstone_age = 0
    :: else
    fi;
    forget(s[i].fill)
}

/* What is on its way on this connection comes first. */
inline write_tombstone(i)
{
    if
    :: KNOWN(s[i].fill) -> deliver_fill(i)
    :: else
    fi;
#ifndef NO_TOMBSTONE
    forget(redis);
    tombstone = true;
    tombstone_age = 0;
#endif
    if
    :: s[i].heard > entombed -> entombed = s[i].heard
    :: else
    fi
}

inline ask_postgres(i)
{
    s[i].stage = SENT;
    s[i].flight.version = NOTHING;
    s[i].flight.age = 0;
    s[i].flight.below = 0
}

inline restart(i)
{
    forget(s[i].memory);
    end_flight(i);
    forget(s[i].fill);
    s[i].linked = false;
    s[i].heard = 0;
    s[i].confirmed = OLD;
#ifdef KNOWN_CHANGES
    s[i].known = 0;
#endif
#ifdef ELSEWHERE
    s[i].elsewhere = false;
    s[i].current_other = false;
#endif
    /* It knows of no watermark any more. */
    for (j : 0 .. SIDECARS - 1) {
        s[j].flight.below = s[j].flight.below & ~CHANGED(i);
        s[j].fill.below = s[j].fill.below & ~CHANGED(i)
    }
    redis.below = redis.below & ~CHANGED(i);
    j = 0
}

/* A change was notified. */
inline hear(i, version)
{
    s[i].heard = version;
    know(i, s[i].heard);
    raise_watermark(i, CHANGED(i));
    if
    :: i < OBSERVED ->
        forget(s[i].memory)
    :: else
    fi;
#ifndef NO_KEY_WATERMARK
    raise_watermark_of_redis(i, CHANGED(i))
#endif
}

#ifdef KNOWN_CHANGES
/* Another sidecar has heard of a change: what was read before is known to be out of date. */
inline take_tombstone(i)
{
    know(i, entombed);
#ifndef NO_TOMBSTONE_KNOWN
    if
    :: BEFORE_TOMBSTONE(s[i].memory) -> forget(s[i].memory)
    :: else
    fi;
    for (j : 0 .. SIDECARS - 1) {
        if
        :: BEFORE_TOMBSTONE(s[j].fill) -> sink(s[j].fill, CHANGED(i))
        :: else
        fi
    }
    j = 0
#endif
}
#endif

#ifdef ELSEWHERE
/* Which store an answer is of is told before the answer itself. With a feed it is the feed's or
 * not; without one it is what the last lookup was answered by, or another. */
inline take_store(i)
{
    if
#ifndef NO_STORE
    :: s[i].linked -> s[i].elsewhere = true
#endif
    :: !s[i].linked && s[i].current_other != OF_OTHER_STORE(s[i].flight) ->
        s[i].current_other = OF_OTHER_STORE(s[i].flight);
        raise_watermark(i, CHANGED(i));
        raise_watermark_of_redis(i, CHANGED(i));
        forget(s[i].memory)
    :: else
    fi
}
#endif

#define MAY_FAIL (failures < FAILURES)
#define FAIL failures = (FAILURES == 255 -> 0 : failures + 1)

/* Requests and lookups. */
active [OBSERVED] proctype front()
{
    byte i = _pid;
    byte j;

end:
    do
    /* A hit: from memory; or stale, if PostgreSQL is known to be down or refused a lookup. */
    :: d_step { FRESH(i, s[i].memory) -> answer(i, s[i].memory) }
    :: d_step { REFUSED && SERVABLE(i, s[i].memory) -> answer_stale(i, s[i].memory) }

    /* A miss, or a hit that refreshes ahead. Redis has no answer when a command fails. */
    :: d_step { s[i].stage == IDLE && !FRESH(i, s[i].memory) && SHARED(i) ->
            assert(redis.version >= entombed || redis.age > TTL); /* shared */
            s[i].stage = FROM_REDIS;
            copy(s[i].flight, redis) }
#ifdef KNOWN_CHANGES
    /* Who hears of every change knows better than a tombstone. */
    :: d_step { s[i].stage == IDLE && !FRESH(i, s[i].memory) && tombstone && !LINKED(i) &&
                REDIS_IS_CURRENT(i) ->
            take_tombstone(i) }
#endif
    :: d_step { s[i].stage == IDLE && !down &&
                (!FRESH(i, s[i].memory) || s[i].memory.age == TTL) -> ask_postgres(i) }

    /* The server takes its snapshot some time after the query was sent. */
    :: d_step { s[i].stage == SENT && !down ->
            s[i].stage = READ;
            s[i].flight.version = committed }
#ifdef ELSEWHERE
    /* This server is another one, where the first version still is. */
    :: d_step { s[i].stage == SENT && !down ->
            s[i].stage = READ;
            s[i].flight.version = 0;
            s[i].flight.below = s[i].flight.below | OTHER_STORE }
    :: d_step { s[i].stage == READ && TELLS_STORE(i) ->
            take_store(i);
            if
            :: FRESH(i, s[i].flight) ->
                answer(i, s[i].flight);
                keep(i, s[i].flight);
                end_flight(i)
            :: else ->
                /* PostgreSQL is asked again, by the next lookup; this is kept if that fails. */
                keep_stale(i);
                end_flight(i)
            fi;
            j = 0 }
#endif
    :: d_step { s[i].stage == SENT && REFUSED -> end_flight(i) }

    /* What came is fresh, or PostgreSQL is asked (again). */
    :: d_step { s[i].stage == READ && !TELLS_STORE(i) && FRESH(i, s[i].flight) ->
            answer(i, s[i].flight);
            keep(i, s[i].flight);
            end_flight(i) }
    :: d_step { s[i].stage == FROM_REDIS && FRESH(i, s[i].flight) ->
            answer(i, s[i].flight);
            keep(i, s[i].flight);
            end_flight(i) }
    /* It took long, or a change has overtaken it: it is given to the clients that asked before
     * PostgreSQL read, and in the latter case not kept. */
    :: d_step { s[i].stage == READ && !TELLS_STORE(i) && KNOWN(s[i].flight) &&
                !FRESH(i, s[i].flight) ->
            answer_late(i, s[i].flight);
            if
            :: MAY_BE_KEPT(i, s[i].flight) -> keep(i, s[i].flight)
            :: else
            fi;
            end_flight(i) }
    /* For those who asked later. */
    :: d_step { s[i].stage == READ && !TELLS_STORE(i) && !FRESH(i, s[i].flight) && !down ->
            ask_postgres(i) }
#ifndef NO_ASKING_AGAIN
    :: d_step { s[i].stage == FROM_REDIS && !FRESH(i, s[i].flight) && !down ->
            ask_postgres(i) }
#endif
    :: d_step { s[i].stage == FROM_REDIS && !FRESH(i, s[i].flight) && REFUSED ->
            keep_stale(i);
            end_flight(i) }
    :: d_step { s[i].stage == READ && !TELLS_STORE(i) && !FRESH(i, s[i].flight) && REFUSED ->
            keep_stale(i);
            end_flight(i) }
    od
}

/* What is filled in: read at some time, and written at another. */
active [SIDECARS - OBSERVED] proctype filler()
{
    byte i = _pid;

end:
    do
    :: d_step { !KNOWN(s[i].fill) && !down -> s[i].fill.version = committed }
    :: d_step { KNOWN(s[i].fill) -> deliver_fill(i) }
    :: d_step { KNOWN(s[i].fill) && MAY_FAIL -> FAIL; forget(s[i].fill) }
    od
}

/* The feed. */
active [SIDECARS] proctype feed()
{
    byte i = _pid - SIDECARS;
    byte j;

end:
    do
    /* LISTEN is in force: what was committed before is in every later read. */
    :: d_step { !s[i].linked && !down ->
            s[i].linked = true;
            s[i].heard = committed;
#ifndef NO_WATERMARK
            raise_watermark(i, BELOW(i));
            raise_watermark_of_redis(i, BELOW(i));
#endif
#ifdef ELSEWHERE
            if
            :: s[i].current_other ->
                raise_watermark(i, CHANGED(i));
                raise_watermark_of_redis(i, CHANGED(i));
                forget(s[i].memory)
            :: else
            fi;
            s[i].current_other = false;
#endif
            j = 0 }
#ifndef NO_TRIGGER
    /* A notification, with or without a tombstone that reaches Redis. */
    :: d_step { s[i].linked && NOTIFIED(i) ->
            hear(i, s[i].heard + 1);
            write_tombstone(i) }
    :: d_step { s[i].linked && NOTIFIED(i) && MAY_FAIL ->
            FAIL;
            hear(i, s[i].heard + 1);
            forget(s[i].fill) }
#if defined(SILENT) || defined(QUEUE_FULL)
    :: d_step { s[i].linked && NOTIFIED_BEYOND(i) ->
            hear(i, s[i].heard + 2);
            write_tombstone(i) }
#endif
    /* A heartbeat that was sent after a COMMIT behind the triggers: their definition is another. */
    :: d_step { s[i].linked && !down && s[i].heard < committed && SILENT_END(s[i].heard) ->
            s[i].heard++;
#ifndef NO_DEFINITION
            raise_watermark(i, BELOW(i));
            raise_watermark_of_redis(i, BELOW(i));
#endif
            j = 0 }
#ifdef QUEUE_FULL
    /* A heartbeat finds it in the table of changes: any key may have changed, all are forgotten. */
    :: d_step { s[i].linked && !down && s[i].heard < committed && TABLED_END(s[i].heard) ->
            s[i].heard++;
#ifndef NO_TABLE
            know(i, s[i].heard);
            raise_watermark(i, CHANGED(i));
            raise_watermark_of_redis(i, CHANGED(i));
            forget(s[i].memory);
#endif
            j = 0 }
#endif
#endif
#ifdef ELSEWHERE
    /* A heartbeat at which lookups are answered where the feed listens again. */
    :: d_step { i < OBSERVED && s[i].linked && !down && s[i].elsewhere ->
            s[i].elsewhere = false;
#ifndef NO_WATERMARK_AGREED
            raise_watermark(i, CHANGED(i));
            raise_watermark_of_redis(i, CHANGED(i));
            forget(s[i].memory);
#endif
            j = 0 }
#endif
    /* A heartbeat is answered after the notifications of all that was committed before it was sent.
     * So the youngest that can be answered now was sent just before the first commit that has not
     * been heard of; an older one gives no more than what passes anyhow if none is answered. */
    :: d_step { i < OBSERVED && s[i].linked && !down -> s[i].confirmed = CONFIRMED(i) }
    :: d_step { s[i].linked && MAY_FAIL -> FAIL; s[i].linked = false }
    :: d_step { MAY_FAIL -> FAIL; restart(i) }
    od
}

active proctype world()
{
    byte j;

end:
    do
    :: d_step { committed < LAST && !down -> gone[committed] = 0; committed++ }
#ifdef SILENT
    :: d_step { committed < LAST && !down ->
            unnotified = unnotified | BIT(committed);
            gone[committed] = 0;
            committed++ }
#endif
#ifdef QUEUE_FULL
    :: d_step { committed < LAST && !down ->
            tabled = tabled | BIT(committed);
            gone[committed] = 0;
            committed++ }
#endif
#ifdef ENDS
    :: d_step { (over & BIT(0)) == 0 -> over = over | BIT(0) }
    :: d_step { (over & BIT(1)) == 0 -> over = over | BIT(1) }
#endif
    :: d_step { !down && MAY_FAIL -> FAIL; down = true }
    :: d_step { down -> down = false }
    :: d_step { MAY_FAIL && (KNOWN(redis) || tombstone || entombed) ->
            FAIL;
            forget(redis);
            tombstone = false;
            tombstone_age = 0;
            entombed = 0 }
    /* A tombstone outlives every verdict that was read before it. */
    :: d_step { tombstone && tombstone_age > TTL -> tombstone = false; tombstone_age = 0 }
    :: d_step { KNOWN(redis) && redis.age > TTL -> forget(redis) }
    od
}

active proctype clock()
{
    byte j;

end:
    do
    :: d_step { IN_TIME ->
            UNANSWERED;
            for (j : 0 .. SIDECARS - 1) {
                older(s[j].memory);
                if
                :: s[j].stage != IDLE -> MORE(s[j].flight.age)
                :: else
                fi;
                older(s[j].fill);
                MORE(s[j].confirmed) /* stays OLD where there is no heartbeat */
            }
            older(redis);
            if
            :: tombstone -> MORE(tombstone_age)
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
