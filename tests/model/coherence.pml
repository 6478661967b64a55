/* The promise of coherence as a model: sidecars, one Redis, one row of the key table.
 *
 * SPDX-License-Identifier: MIT
 *
 * The row has versions; a COMMIT makes the next one, and the odd ones are revoked. A verdict is the
 * version that a read saw, its age in ticks, and for each sidecar a bit: was it read before that
 * sidecar's floor was raised last (in the daemon a comparison of times)? Ages stop counting where
 * nobody would believe or serve the verdict any more, so time goes on for ever in finitely many
 * states.
 *
 * What may happen at any step: a COMMIT, which is not notified if the triggers are disabled in the
 * same transaction (SILENT); a notification or heartbeat is delivered, however late,
 * but in order; a link breaks, which loses what was on its way; Redis loses everything, or a
 * command; a fill reaches Redis late; a sidecar restarts; PostgreSQL stops answering; a tick.
 *
 * What is asserted of every answer, whatever it came from:
 *   heard    it is no older than the last change that the sidecar has heard of, or that LISTEN or a
 *            heartbeat told it that it may have missed; the latter does not count for what is served
 *            stale because PostgreSQL is down
 *   bound    its version was current at most TTL_UNLINKED ticks ago, linked or not; at most
 *            STALE_MAX ago when it is served because PostgreSQL is down; with NO_TRIGGER, TTL
 *   shared   what is taken from Redis is no older than the last tombstone that any sidecar wrote
 *            there, as long as Redis keeps what it is given
 * and with LIVENESS that a sidecar which is asked for ever answers from the last version, once
 * commits and failures have ended. Each NO_… but NO_TRIGGER takes a rule away, and must fail.
 *
 * Sidecars are alike, so it is enough to look at the answers of one; what the others do to it they
 * do through Redis, by fills and tombstones. So one that is not OBSERVED has no memory, and may do
 * more than a real one: it fills in what it read however late, even if it knows better by then.
 * Whatever the observed one would fill in another one may have read and filled in as well.
 *
 * Left out: that the two threads exchange messages in order (one sidecar's steps are atomic here),
 * and that clocks are bounded (a model of time stamps would only restate the arithmetic, which unit
 * tests have).
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
    byte below /* bit i: read before sidecar i's floor */
}

mtype = { IDLE, FROM_REDIS, SENT, READ };

typedef sidecar {
    verdict memory;
    mtype stage = IDLE; /* of the one lookup in flight, and what it brings */
    verdict flight;
    verdict fill;       /* a SET NX on its way to Redis; of those not observed */
    bool linked;
    byte heard;         /* the last version whose notification was handled, or that LISTEN saw */
    byte confirmed = OLD /* age of the last heartbeat that was answered, from when it was sent */
}

sidecar s[SIDECARS];
verdict redis;
bool tombstone;     /* Redis holds one; then redis.version is NOTHING */
byte tombstone_age;
byte entombed;      /* the last version that a tombstone still in Redis, or expired, tells of */
byte committed;     /* the row's version */
byte gone[LAST + 1]; /* ages of the versions' ends */
byte unnotified;    /* bit v: nobody was notified of the end of version v */
bool down;          /* PostgreSQL does not answer */
byte failures;

#define BIT(i) (1 << (i))
#define KNOWN(v) (v.version != NOTHING)

#ifdef NO_LEASE
#define TRUSTED(i, v) (v.age <= TTL_UNLINKED || s[i].linked)
#else
#define TRUSTED(i, v) (v.age <= TTL_UNLINKED || s[i].confirmed <= TTL_UNLINKED)
#endif
#define ABOVE_FLOOR(i, v) ((v.below & BIT(i)) == 0)
#define BELIEVED(i, v) (KNOWN(v) && ABOVE_FLOOR(i, v) && v.age <= TTL && TRUSTED(i, v))
#define SERVABLE(i, v) (KNOWN(v) && v.age <= STALE_MAX)

#define SILENT_END(v) ((unnotified & (1 << v)) != 0)
#define NOTIFIED(i) (s[i].heard < committed && !SILENT_END(s[i].heard))

/* What may be taken from Redis, if only to be served stale. */
#define SHARED(i) (KNOWN(redis) && ABOVE_FLOOR(i, redis) && redis.age <= TTL)

#ifdef NO_TRIGGER
#define BOUND TTL
#define CONFIRMED(i) 0
#else
#define BOUND TTL_UNLINKED
#define CONFIRMED(i) (s[i].heard == committed -> 0 : gone[s[i].heard])
#endif

/* For LIVENESS: the last answer since a tick was from the last version. And PostgreSQL answers in
 * time: with one that is always slower than TTL_UNLINKED there is nothing to believe. */
#ifdef LIVENESS
bool answered;
#define ANSWERED(v) answered = (v == LAST)
#define UNANSWERED answered = false
#define IN_TIME (s[0].stage == IDLE || s[0].flight.age < TTL_UNLINKED)
#define QUIET (committed == LAST && !down && failures == FAILURES)
ltl reactivated { (<> [] QUIET) -> ([] <> answered) }
#else
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

inline sink(i, v)
{
    if
    :: KNOWN(v) -> v.below = v.below | BIT(i)
    :: else
    fi
}

/* All that was read before now is below sidecar i's floor: what it holds is of no use to it then
 * but to be served while PostgreSQL is down. */
inline raise_floor(i)
{
    if
    :: i < OBSERVED ->
        sink(i, s[i].memory);
        for (j : 0 .. SIDECARS - 1) {
            if
            :: s[j].stage != IDLE -> s[j].flight.below = s[j].flight.below | BIT(i)
            :: else
            fi
        }
#ifdef NO_DIRTY
        s[i].flight.below = s[i].flight.below & ~BIT(i);
#endif
        j = 0
    :: else
    fi
}

/* What Redis holds, and what is on its way there, is below the floor as well. */
inline raise_floor_of_redis(i)
{
    if
    :: i < OBSERVED ->
        for (j : 0 .. SIDECARS - 1) {
            sink(i, s[j].fill)
        }
        sink(i, redis);
        j = 0
    :: else
    fi
}

inline answer(i, v)
{
#ifndef NO_TRIGGER
    assert(v.version >= s[i].heard); /* heard */
#endif
    assert(v.version == committed || gone[v.version] <= BOUND); /* bound */
    ANSWERED(v.version)
}

inline answer_stale(i, v)
{
#ifndef NO_TRIGGER
    assert(!ABOVE_FLOOR(i, v) || v.version >= s[i].heard); /* heard */
#endif
    assert(v.version == committed || gone[v.version] <= STALE_MAX); /* bound */
    ANSWERED(v.version)
}

inline end_flight(i)
{
    s[i].stage = IDLE;
    forget(s[i].flight)
}

/* A verdict arrives in memory, unless what is there was read later. */
inline keep(i, v)
{
    if
    :: !KNOWN(s[i].memory) || s[i].memory.age >= v.age -> copy(s[i].memory, v)
    :: else
    fi
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
    /* It knows of no floor any more. */
    for (j : 0 .. SIDECARS - 1) {
        s[j].flight.below = s[j].flight.below & ~BIT(i);
        s[j].fill.below = s[j].fill.below & ~BIT(i)
    }
    redis.below = redis.below & ~BIT(i);
    j = 0
}

inline hear(i)
{
    s[i].heard++;
    raise_floor(i);
    if
    :: i < OBSERVED ->
        forget(s[i].memory)
    :: else
    fi;
#ifndef NO_KEY_FLOOR
    raise_floor_of_redis(i)
#endif
}

#define MAY_FAIL (failures < FAILURES)
#define FAIL failures = (FAILURES == 255 -> 0 : failures + 1)

/* Requests and lookups. */
active [OBSERVED] proctype front()
{
    byte i = _pid;

end:
    do
    /* A hit: from memory, or stale while PostgreSQL is known to be down. */
    :: d_step { BELIEVED(i, s[i].memory) -> answer(i, s[i].memory) }
    :: d_step { down && SERVABLE(i, s[i].memory) -> answer_stale(i, s[i].memory) }

    /* A miss, or a hit that refreshes ahead. Redis has no answer when a command fails. */
    :: d_step { s[i].stage == IDLE && !BELIEVED(i, s[i].memory) && SHARED(i) ->
            assert(redis.version >= entombed); /* shared */
            s[i].stage = FROM_REDIS;
            copy(s[i].flight, redis) }
    :: d_step { s[i].stage == IDLE && !down &&
                (!BELIEVED(i, s[i].memory) || s[i].memory.age == TTL) -> ask_postgres(i) }

    /* The server takes its snapshot some time after the query was sent. */
    :: d_step { s[i].stage == SENT && !down ->
            s[i].stage = READ;
            s[i].flight.version = committed }
    :: d_step { s[i].stage == SENT && down -> end_flight(i) }

    /* What came is believed, or PostgreSQL is asked (again). */
    :: d_step { s[i].stage == READ && BELIEVED(i, s[i].flight) ->
            answer(i, s[i].flight);
            keep(i, s[i].flight);
            end_flight(i) }
    :: d_step { s[i].stage == FROM_REDIS && BELIEVED(i, s[i].flight) ->
            answer(i, s[i].flight);
            keep(i, s[i].flight);
            end_flight(i) }
#ifndef NO_ASKING_AGAIN
    :: d_step { s[i].stage == READ && !BELIEVED(i, s[i].flight) && !down -> ask_postgres(i) }
#endif
    :: d_step { s[i].stage == FROM_REDIS && !BELIEVED(i, s[i].flight) && !down ->
            ask_postgres(i) }
    :: d_step { s[i].stage == FROM_REDIS && !BELIEVED(i, s[i].flight) && down ->
            /* Kept to be served stale. */
            if
            :: ABOVE_FLOOR(i, s[i].flight) && s[i].flight.age <= TTL -> keep(i, s[i].flight)
            :: else
            fi;
            end_flight(i) }
    :: d_step { s[i].stage == READ && !BELIEVED(i, s[i].flight) && down -> end_flight(i) }

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

/* The link. */
active [SIDECARS] proctype link()
{
    byte i = _pid - SIDECARS;
    byte j;

end:
    do
    /* LISTEN is in force: what was committed before is in every later read. */
    :: d_step { !s[i].linked && !down ->
            s[i].linked = true;
            s[i].heard = committed;
#ifndef NO_FLOOR
            raise_floor(i);
            raise_floor_of_redis(i);
#endif
            j = 0 }
#ifndef NO_TRIGGER
    /* A notification, with or without a tombstone that reaches Redis. */
    :: d_step { s[i].linked && NOTIFIED(i) ->
            hear(i);
            write_tombstone(i) }
    :: d_step { s[i].linked && NOTIFIED(i) && MAY_FAIL ->
            FAIL;
            hear(i);
            forget(s[i].fill) }
    /* A heartbeat that was sent after a COMMIT behind the triggers: their definition is another. */
    :: d_step { s[i].linked && !down && s[i].heard < committed && SILENT_END(s[i].heard) ->
            s[i].heard++;
#ifndef NO_DEFINITION
            raise_floor(i);
            raise_floor_of_redis(i);
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
