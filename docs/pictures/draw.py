"""./dev pictures: draw the pictures of the documents into docs/pictures/*.svg.

Each function draws the picture of its name. tests/meta fails when a file is not what this script draws.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from canvas import LINE, Canvas  # noqa: E402


def overview():
    """What it is: for the README."""
    c = Canvas(860, 270, "One sidecar on each gateway host")
    c.box(16, 90, 130, 90, "plain", "gateway", ["nginx, Caddy,", "HAProxy, Envoy, …"])
    c.box(330, 60, 230, 150, "front", "apikeyd", ["answers from memory", "in microseconds", "",
                                                  "hears of each change,", "writes usage in bulk"])
    c.box(714, 60, 130, 60, "back", "PostgreSQL", ["the truth"])
    c.box(714, 150, 130, 60, "plain", "Redis, optional", ["shared verdicts"])
    c.arrow((146, 120), (330, 120))
    c.text(238, 112, "key ID", "note", "middle")
    c.arrow((330, 150), (146, 150))
    c.text(238, 168, "ALLOW, DENY or", "note", "middle")
    c.text(238, 184, "UNAVAILABLE", "note", "middle")
    c.text(238, 90, "Unix socket", "note", "middle")
    c.arrow((714, 76), (560, 76))
    c.text(637, 70, "key changes", "note", "middle")
    c.arrow((560, 104), (714, 104))
    c.text(637, 98, "misses, last_used", "note", "middle")
    c.arrow((560, 180), (714, 180), both=True)
    c.text(637, 174, "misses", "note", "middle")
    c.text(16, 244, "A hit waits for nothing but memory. A request never waits for a write of usage.", "note")
    return c


def threads():
    c = Canvas(860, 520, "Threads share nothing and send messages")
    c.box(16, 70, 140, 64, "plain", "gateways", ["check and", "HTTP sockets"])
    c.box(16, 170, 140, 64, "plain", "operators", ["admin socket,", "apikeyctl"])
    c.box(16, 270, 140, 64, "plain", "Prometheus", ["and people with", "a browser"])
    c.box(220, 60, 200, 190, "front", "front thread", [
        "calls no library", "that does I/O", "", "RESP and HTTP", "verdict cache", "ledger: half in use",
        "single flight, deadlines"], top=True)
    c.box(220, 290, 420, 112, "back", "back thread", [
        "change feed · lookups in batches · usage", "Redis and PostgreSQL clients", "metrics server, INFO",
        "systemd: readiness, watchdog"], top=True)
    c.box(704, 60, 140, 60, "plain", "PostgreSQL", ["keys, changes,", "last_used"])
    c.box(704, 150, 140, 60, "plain", "Redis", ["shared verdicts,", "tombstones"])
    c.arrow((156, 102), (220, 102), both=True)
    c.arrow((156, 202), (220, 202), both=True)
    c.arrow((156, 320), (220, 320), both=True)
    # The rings.
    c.arrow((270, 250), (270, 290))
    c.arrow((370, 290), (370, 250))
    c.text(262, 274, "ring", "note", "end")
    c.text(378, 274, "ring", "note")
    c.text(440, 90, "to the back: lookups, the full", "note")
    c.text(440, 107, "half, operators' requests", "note")
    c.text(440, 140, "to the front: verdicts, changes,", "note")
    c.text(440, 157, "what freshness is judged by,", "note")
    c.text(440, 174, "the empty half, replies", "note")
    c.text(440, 207, "Messages keep their order.", "note")
    c.arrow((640, 316), (680, 316), (680, 90), (704, 90), both=True)
    c.arrow((640, 336), (692, 336), (692, 180), (704, 180), both=True)
    # What may stand still.
    c.box(150, 440, 150, 64, "slow", "log thread", ["stderr, journal"])
    c.box(355, 440, 150, 64, "slow", "disk thread", ["spill and", "set-aside files"])
    c.box(560, 440, 180, 64, "slow", "workers", ["host names, one thread", "a session"])
    for x, label in ((245, "pipe"), (430, "jobs"), (600, "calls")):
        c.arrow((x, 402), (x, 440))
        c.text(x + 8, 425, label, "note")
    c.text(16, 466, "may stand still", "note")
    c.text(16, 483, "without harm:", "note")
    return c


def lifelines(c, names, bottom):
    """Heads of a sequence at the top, and their lines down to `bottom`; x of each by its name."""
    where = {}
    for name, x, kind in names:
        c.line((x, 88), (x, bottom), kind="thin")
        c.box(x - 62, 52, 124, 36, kind, name)
        where[name] = x
    return where


def miss():
    c = Canvas(860, 660, "A miss: one lookup for all who wait")
    at = lifelines(c, [("gateway", 80, "plain"), ("front thread", 270, "front"), ("back thread", 470, "back"),
                       ("Redis", 640, "plain"), ("PostgreSQL", 780, "plain")], 604)

    def message(y, start, end, text):
        c.arrow((at[start], y), (at[end], y))
        c.text((at[start] + at[end]) / 2, y - 6, text, "note", "middle")

    message(126, "gateway", "front thread", "CHECK key")
    c.box(190, 138, 160, 58, "front", "", ["no fresh verdict:", "a pending reply, and a", "flight for the digest"])
    message(226, "gateway", "front thread", "CHECK same key")
    c.box(190, 238, 160, 28, "front", "", ["joins the flight"])
    message(216, "front thread", "back thread", "lookup (ring)")
    message(292, "back thread", "Redis", "MGET of the batch")
    message(330, "Redis", "back thread", "no value")
    message(368, "back thread", "PostgreSQL", "SELECT … = ANY (batch)")
    c.text(462, 372, "age counts from here", "note", "end")
    message(420, "PostgreSQL", "back thread", "row, store, PostgreSQL's time")
    message(458, "back thread", "Redis", "SET … NX PX (fill)")
    message(490, "back thread", "front thread", "verdict (ring)")
    c.box(190, 502, 160, 42, "front", "", ["keeps the verdict,", "notes ALLOW in ledger"])
    message(574, "front thread", "gateway", "ALLOW to both")
    c.text(16, 628, "The flight ends: every waiter is answered once, and each client in the order of its requests.", "note")
    c.text(16, 646, "A deadline on the front thread answers stale or UNAVAILABLE if no verdict comes.", "note")
    return c


def revocation():
    c = Canvas(860, 470, "A revocation, from COMMIT to the first DENY")
    lanes = [("application", 84), ("PostgreSQL", 144), ("back thread", 214), ("front thread", 284), ("gateway sees", 354)]
    for name, y in lanes:
        c.text(16, y + 5, name, "name")
        c.line((130, y), (844, y), kind="thin")
    commit, heard, removed, asked = 320, 440, 520, 640
    c.line((commit, 100), (commit, 400), kind="thin")
    c.line((asked, 306), (asked, 400), kind="thin")
    c.box(170, 68, 150, 32, "plain", "", ["UPDATE … COMMIT"])
    c.box(commit, 128, 130, 32, "back", "", ["trigger's NOTIFY"])
    c.arrow((commit, 100), (commit, 128))
    c.arrow((heard, 160), (heard, 192))
    c.box(heard - 10, 192, 210, 44, "back", "", ["tombstone into Redis,", "watermark of the key: now"])
    c.arrow((removed, 236), (removed, 262))
    c.box(removed - 10, 262, 170, 44, "front", "", ["verdict removed;", "older ones not taken"])
    c.box(150, 338, removed - 150, 32, "front", "", ["ALLOW from memory"])
    c.box(removed, 338, 120, 32, "slow", "", ["a miss: lookup"])
    c.box(asked, 338, 204, 32, "bad", "", ["DENY inactive"])
    c.arrow((commit, 396), (asked, 396), both=True)
    c.text((commit + asked) / 2, 416, "the revocation's delay", "note", "middle")
    c.box(674, 192, 170, 44, "slow", "", ["a SELECT from before", "COMMIT: not kept"])
    c.text(16, 440, "No later read, fill or answer on its way brings the old verdict back: each carries its read time,", "note")
    c.text(16, 457, "and a read time below the watermark is not fresh. ./dev bench revocation measures the delay.", "note")
    return c


def freshness():
    c = Canvas(860, 560, "Freshness: until when a verdict read at 0 may be used")
    left, scale = 150, 11.2  # pixels of time 0, and of a unit

    def x(t):
        return left + t * scale

    def row(y, name, fresh, stale, why, end_label):
        c.text(16, y + 15, name[0], "name")
        for i, line in enumerate(name[1:], 1):
            c.text(16, y + 15 + i * LINE, line, "note")
        c.box(x(0), y, fresh * scale, 30, "front", "", ["fresh"])
        if stale:
            c.box(x(fresh), y, (stale - fresh) * scale, 30, "slow", "", ["stale"])
        c.box(x(stale or fresh), y, 844 - x(stale or fresh), 30, "bad", "", ["no"])
        if end_label:
            c.text(x(fresh), y + 48, end_label, "note", "middle")
        c.text(x(0), y + 68, why, "note")

    row(58, ["ttl", "the feed is up"], 24, 50, "Each heartbeat that is answered renews the lease, so ttl alone counts.",
        "cache.ttl")
    c.text(x(50), 106, "cache.stale_max", "note", "middle")
    y = 162
    row(y, ["lease", "the feed is lost"], 17, 50, "No message ends the lease. The last confirmed heartbeat was sent at the last mark.", "")
    for beat in range(0, 9, 2):
        c.line((x(beat + 0.6), y - 8), (x(beat + 0.6), y))
    c.arrow((x(8.6), y + 43), (x(17), y + 43))
    c.text(x(17) + 8, y + 47, "cache.ttl_unlinked after that heartbeat, or after the read if that is later", "note")
    y = 266
    row(y, ["watermark", "the key changed"], 13, 0, "A known change ends both at once: the verdict is not served stale either.",
        "change heard")
    y = 370
    row(y, ["watermark", "changes may be", "missing"], 13, 34,
        "Read again, but still served stale while no store answers, until a heartbeat is confirmed.", "feed is back")
    c.text(x(34), y + 48, "heartbeat confirmed", "note", "middle")
    for i, (kind, text) in enumerate((("front", "answers at once"), ("slow", "served only while no store answers in time"),
                                      ("bad", "never used: a lookup, or UNAVAILABLE"))):
        at = (16, 200, 520)[i]
        c.box(at, 490, 22, 18, kind)
        c.text(at + 30, 504, text, "note")
    c.text(16, 540, "All of it is one comparison: was the read late enough? Not to scale.", "note")
    return c


def ledger():
    c = Canvas(860, 500, "The ledger's halves: no usage is forgotten before its COMMIT")
    c.box(215, 52, 280, 300, "page", "one mapped file on tmpfs", top=True)
    c.box(16, 100, 130, 50, "front", "front thread", ["ALLOW"])
    c.box(230, 84, 250, 86, "plain", "half A, in use", top=True)
    c.box(230, 250, 250, 86, "plain", "half B, being drained", top=True)
    for i in range(9):
        c.box(242 + i * 25, 118, 22, 40, "front" if i < 5 else "page")
        c.box(242 + i * 25, 284, 22, 40, "back" if i < 7 else "page")
    c.arrow((146, 125), (230, 125))
    c.text(180, 118, "appends", "note", "middle")
    c.arrow((260, 170), (260, 250), both=True)
    c.text(272, 206, "swap, by message:", "note")
    c.text(272, 223, "a half has one owner", "note")
    c.text(510, 108, "survives kill -9 and a restart,", "note")
    c.text(510, 125, "but not a power cut", "note")
    c.box(560, 258, 110, 70, "back", "pending", ["merged by", "maximum"])
    c.arrow((480, 293), (560, 293))
    c.box(730, 258, 114, 70, "back", "PostgreSQL", ["UPDATE,", "COMMIT"])
    c.arrow((670, 293), (730, 293))
    c.box(560, 386, 284, 50, "slow", "spill file, on a disk", ["while PostgreSQL does not take it"])
    c.arrow((615, 328), (615, 386), both=True)
    for i, (name, kind, who) in enumerate((("swap", "front", "front"), ("move", "slow", "disk"), ("write", "back", "PostgreSQL"),
                                           ("settle", "slow", "disk"))):
        c.box(16 + i * 130, 408, 100, 46, kind, name, [who])
        if i:
            c.arrow((16 + i * 130 - 30, 431), (16 + i * 130, 431))
    c.text(16, 396, "A round:", "name")
    c.text(16, 480, "The half is emptied in \"settle\": its times are in PostgreSQL or in the spill file by then.", "note")
    return c


PICTURES = [overview, threads, miss, revocation, freshness, ledger]

if __name__ == "__main__":
    for draw in PICTURES:
        (Path(__file__).parent / f"{draw.__name__}.svg").write_text(draw().svg())
