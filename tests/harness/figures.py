"""./dev figures [take [BENCH…]]: the tables and plots in the documents that benches fill.

All are made from docs/plots/*.json, which have the form that the benches write into build/bench (harness/results.py).
`take` first copies the last results from there, of all benches or of the named ones. A table stands between
`<!-- figures: NAME -->` and `<!-- end -->`, and ends with where its figures are from. tests/meta checks that documents and
plots are what the files give.
"""

import json
import re
import shutil
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.results import RESULTS, ROOT  # noqa: E402

FIGURES = ROOT / "docs" / "plots"
PAGES = [ROOT / "docs" / name for name in ("performance.md", "reliability.md")]

OWN = ", own processor"  # ends the rows of benches in which the front thread has one

# {FILE|ROW} is a median with three digits, {FILE|ROW|COLUMN} another figure of the row, {FILE|ROW / OTHER} a ratio. After a
# colon: a format of Python's, or a bar, which says whether it is missed.
COMPARED = """\
| bench | apikeyd, median | against | median | ratio | bar |
| --- | --- | --- | --- | --- | --- |
| hot, `-P 64`, requests a second | {hot-64|apikeyd} | Redis GET | {hot-64|redis} | {hot-64|apikeyd / redis} \
| {hot-64|apikeyd / redis:>=3} |
| | | baseline | {hot-64|baseline} | {hot-64|apikeyd / baseline} | {hot-64|apikeyd / baseline:>=0.85} |
| hot, `-P 64`, server's processor time | {hot-64-cpu|apikeyd} µs | Redis GET | {hot-64-cpu|redis} µs \
| {hot-64-cpu|apikeyd / redis} | |
| | | baseline | {hot-64-cpu|baseline} µs | {hot-64-cpu|apikeyd / baseline} | |
| the same, with 200 bytes of attributes | {hot-64-cpu|apikeyd, 200 bytes of attributes} µs | a CHECK without \
| {hot-64-cpu|apikeyd} µs | | |
| of such keys, not asked for them | {hot-64-cpu|apikeyd, not asked for them} µs | a CHECK without \
| {hot-64-cpu|apikeyd} µs | | |
| hot, `-P 1`, server's processor time | {hot-1-cpu|apikeyd} µs | Redis GET | {hot-1-cpu|redis} µs \
| {hot-1-cpu|apikeyd / redis} | {hot-1-cpu|apikeyd / redis:<=0.85} |
| | | baseline | {hot-1-cpu|baseline} µs | {hot-1-cpu|apikeyd / baseline} | {hot-1-cpu|apikeyd / baseline:<=1.12} |
""" + "".join(f"""\
| latency, {case}, {percentile}{of} | {{latency-{percentile}|{case}{own}}} µs | quiet | {{latency-{percentile}|quiet{own}}} µs \
| {{latency-{percentile}|{case}{own} / quiet{own}}} | {{latency-{percentile}|{case}{own} / quiet{own}:<={bar}}} |
""" for own, of in (("", ""), (OWN, ", front thread alone on a core"))
    for case, percentile, bar in (("stores stopped", "p99.9", 1.1), ("flush and misses", "p99", 1.25))) + """\
| cold, PostgreSQL only, keys a second | {cold|apikeyd, PostgreSQL} | pgbench | {cold|pgbench} \
| {cold|apikeyd, PostgreSQL / pgbench} | {cold|apikeyd, PostgreSQL / pgbench:>=8} |
| cold, Redis warm, keys a second | {cold|apikeyd, Redis} | GET, same pipeline | {cold|redis-benchmark GET} \
| {cold|apikeyd, Redis / redis-benchmark GET} | {cold|apikeyd, Redis / redis-benchmark GET:>=1} |
| usage, requests a second | {usage|apikeyd} | UPDATE a request | {usage|UPDATE a request} \
| {usage|apikeyd / UPDATE a request} | {usage|apikeyd / UPDATE a request:>=100} |
| usage, WAL for a million | {usage-wal|apikeyd}B | UPDATE a request | {usage-wal|UPDATE a request}B \
| {usage-wal|apikeyd / UPDATE a request} | {usage-wal|apikeyd / UPDATE a request:<=0.01} |
| usage counted by hour, requests a second | {usage|counts by hour} | INSERT a request | {usage|INSERT a request} \
| {usage|counts by hour / INSERT a request} | {usage|counts by hour / INSERT a request:>=100} |
| usage counted by day, requests a second | {usage|counts by day} | INSERT a request | {usage|INSERT a request} \
| {usage|counts by day / INSERT a request} | {usage|counts by day / INSERT a request:>=100} |
| WAL for a million, counted by hour | {usage-wal|counts by hour}B | INSERT a request | {usage-wal|INSERT a request}B \
| {usage-wal|counts by hour / INSERT a request} | {usage-wal|counts by hour / INSERT a request:<=0.01} |
| of it for counts, without `last_used` | {usage-wal|the counts of it}B | INSERT a request | {usage-wal|INSERT a request}B \
| {usage-wal|the counts of it / INSERT a request} | {usage-wal|the counts of it / INSERT a request:<=0.01} |
| usage, fsync off | {usage-nosync|apikeyd} | UPDATE a request, fsync off | {usage-nosync|UPDATE a request} \
| {usage-nosync|apikeyd / UPDATE a request} | |
| usage counted by hour, fsync off | {usage-nosync|counts by hour} | INSERT a request, fsync off \
| {usage-nosync|INSERT a request} | {usage-nosync|counts by hour / INSERT a request} | |
| memory a verdict, its table | {memory|apikeyd, its table} bytes | Redis | {memory|redis} bytes \
| {memory|apikeyd, its table / redis} | {memory|apikeyd, its table:<=80 bytes}; {memory|apikeyd, its table / redis:<=0.4} |
| memory a verdict, all of the process | {memory|apikeyd, all it has} bytes | Redis | {memory|redis} bytes \
| {memory|apikeyd, all it has / redis} \
| {memory|apikeyd, all it has:<=80 bytes}; {memory|apikeyd, all it has / redis:<=0.4} |
| the same, with 200 bytes of attributes | {memory|apikeyd, 200 bytes of attributes} bytes | | | | |
| the same, usage of all of them pending | {memory|apikeyd, usage pending} bytes | Redis | {memory|redis} bytes \
| {memory|apikeyd, usage pending / redis} | |
| start, exec to the first answer | {start|apikeyd} ms | Redis | {start|redis} ms | {start|apikeyd / redis} \
| {start|apikeyd / redis:<=1} |
""" + "".join(f"""\
| scale, {keys} | {{scale-keys|{keys}}} | itself at 1,000 | {{scale-keys|1,000 keys}} | {{scale-keys|{keys} / 1,000 keys}} \
| {{scale-keys|{keys} / 1,000 keys:>=0.75}} |
""" for keys in ("10,000 keys", "100,000 keys", "1,000,000 keys", "10,000,000 keys")) + "".join(f"""\
| scale, {label} | {{scale-clients|{clients}}} | itself at 100 | {{scale-clients|100 connections}} \
| {{scale-clients|{clients} / 100 connections}} (Redis {{scale-clients|redis, {clients} / redis, 100 connections}}) \
| {{scale-clients|{clients} / 100 connections:>=0.75}} |
""" for clients, label in (("1,000 connections", "1,000 connections"), ("10,000 connections", "10,000 connections"),
                              ("1 connections", "one connection")))

FLUSH = """\
| a flush of 100,000 keys | seconds | WAL |
| --- | --- | --- |
""" + "".join(f"| {label} | {{usage-flush|{row}}} | {{usage-flush-wal|{row}}}B |\n" for label, row in (
    ("`last_used` alone", "apikeyd"), ("`last_used`, and counts by hour", "counts by hour"),
    ("`last_used`, and counts by day", "counts by day")))

DAY = """\
| a day of counts by hour | |
| --- | --- |
| CHECKs; flushes | {day|CHECKs|value:,}; {day|flushes|value:,} |
| rows at its end; inserts and updates of rows | {day|rows|value:,}; {day|rows added to|value:,} |
| table; its index | {day|bytes of the table|value}B; {day|bytes of its index|value}B |
| updates that were HOT | {day|HOT, %|value:.1f} % of {day|rows updated|value:,} |
| WAL of the statements with counts; with `last_used` | {day|WAL, counts|value}B; {day|WAL, last_used|value}B |
| PostgreSQL's time for them | {day|seconds of PostgreSQL, counts|value:.1f} s in {day|statements, counts|value:,} statements; \
{day|seconds of PostgreSQL, last_used|value:.1f} s in {day|statements, last_used|value:,} |
| a flush: median; longest | {day|seconds a flush, median|value:.2f} s; {day|seconds a flush, longest|value:.2f} s |
"""

HTTP = """\
| requests a second | min | median | max |
| --- | --- | --- | --- |
""" + "".join(f"| {label} | {{http|{row}|min:,.0f}} | {{http|{row}|median:,.0f}} | {{http|{row}|max:,.0f}} |\n"
              for label, row in (("apikeyd", "apikeyd"), ("nginx, `return 204`", "nginx, return 204"))) + """\
| ratio, median of the rounds | | {http|apikeyd / nginx, return 204} | |
"""

REVOCATION = """\
| min | p50 | p99 | max | ALLOW after a DENY |
| --- | --- | --- | --- | --- |
""" + "".join(f"| {{revocation|delay, ms|{column}:.2f}} ms " for column in ("min", "p50", "p99", "max")) + """\
| {revocation|ALLOW after a DENY|value} of {revocation|asked again|value:,} |
"""

IDENTITY = """\
| one SELECT, client included | without its store | with its store |
| --- | --- | --- |
| of one key | {identity|1 keys, plain:,.0f} µs | {identity|1 keys, told:,.0f} µs |
| of 1,000 keys | {identity|1000 keys, plain:,.0f} µs | {identity|1000 keys, told:,.0f} µs |
"""

MIGRATION = """\
| deploy | took | writes meanwhile | p99 of a write | longest wait of a write |
| --- | --- | --- | --- | --- |
""" + "".join(f"| {label} | {{migration|{row}|took, s:.1f}} s | {{migration|{row}|writes:,}} | {{migration|{row}|p99, ms:.2f}} ms "
              f"| {{migration|{row}|longest, ms:.0f}} ms |\n" for row, label in (
                  ("none", "none"), ("./dev migrate", "`./dev migrate`"), ("plain SQL", "`apikeyctl schema sql`, by psql"),
                  ("./dev migrate again", "`./dev migrate` again")))

CROWDS = {"slow": "200 clients, a byte a second each", "idle": "9,000 connections that do nothing",
          "endless": "lines without an end, repeatedly",
          "deaf": "20 clients that send as fast as they can and never read",
          "flood": "made-up keys, 2,000 at a time, as fast as answers come",
          "fleeting": "connections with 20 unknown keys each, gone before the answers come"}
HOSTILE = f"""\
| crowd | cores shared: p50, µs | p99, µs | ratio | bar | front thread alone on one: p50, µs | p99, µs | ratio | bar |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| alone | {{hostile-p50|alone:.0f}} | {{hostile-p99|alone:.0f}} | | | {{hostile-p50|alone{OWN}:.0f}} \
| {{hostile-p99|alone{OWN}:.0f}} | | |
""" + "".join(f"| {crowd}: {does} " + "".join(
    f"| {{hostile-p50|{crowd}{own}:.0f}} | {{hostile-p99|{crowd}{own}:.0f}} | {{hostile-p99|{crowd}{own} / alone{own}}} "
    f"| {{hostile-p99|{crowd}{own} / alone{own}:<=2}} " for own in ("", OWN)) + "|\n" for crowd, does in CROWDS.items())

FLOOD = """\
| | |
| --- | --- |
| made-up keys a second | {flood|a second|value:,} |
| real keys asked for meanwhile | {flood|real keys asked for|value:,} |
| of them answered from memory | {flood|of them answered from memory, %|value:.1f} % |
| memory before, and maximum | {flood|memory before, MiB|value:.1f} MiB, {flood|memory at most, MiB|value:.1f} MiB |
| SELECTs, keys in each | {flood|SELECTs|value:,}, {flood|keys a SELECT|value:.0f} |
"""

FLOOD_FORM = """\
| | made-up keys with the right checksum | with a wrong one |
| --- | --- | --- |
""" + "".join(f"| {name} | {{flood-form|right checksum|{row}:{form}}}{unit} | {{flood-form|wrong checksum|{row}:{form}}}{unit} |\n"
              for name, row, form, unit in (
                  ("made-up keys a second", "a second", ",", ""), ("lookups", "lookups", ",", ""),
                  ("SELECTs", "SELECTs", ",", ""),
                  ("real keys answered from memory", "of them answered from memory, %", ".1f", " %"),
                  ("memory, maximum", "memory at most, MiB", ".1f", " MiB")))

CASES = {"nothing": "nothing", "fsync_does_not_return": "the spill file's fsync does not return",
         "log_is_not_read": "the log's reader stands still", "name_server_is_silent": "the name server is silent",
         "spills_disk_is_full": "the spill file's disk is full",
         "ledgers_tmpfs_is_full": "the ledger's tmpfs is full", "redis_says_a_byte_at_a_time": "Redis sends a byte at a time",
         "postgres_never_answers": "PostgreSQL accepts connections and never answers"}
STALLS = """\
| meanwhile | hit, ms | miss, ms | INFO, ms | GET of a plain Redis, ms | unanswered: hits; misses; INFO \
| silence to the watchdog, s | memory grown, MiB |
| --- | --- | --- | --- | --- | --- | --- | --- |
""" + "".join(f"| {label} " + "".join(f"| {{stalls|{case}|{what}, ms:,.0f}} " for what in ("hit", "miss", "INFO", "Redis GET"))
              + "| " + "; ".join(f"{{stalls|{case}|{what} unanswered:,}} of {{stalls|{case}|{what} asked:,}}"
                                 for what in ("hit", "miss", "INFO"))
              + f" | {{stalls|{case}|watchdog, s:.1f}} | {{stalls|{case}|grown, MiB:.1f}} |\n" for case, label in CASES.items())

CHAOS = """\
| | |
| --- | --- |
| faults, kinds of faults | {chaos|faults|value:,}, {chaos|kinds of faults|value} |
| answers judged; UNAVAILABLE answers | {chaos|judged|value:,}; {chaos|UNAVAILABLE|value:,} |
| judged by a bound of 1 s; 2 s; 3 s; 4 s | """ + "; ".join(f"{{chaos|judged by {n} s|value:,}}" for n in (1, 2, 3, 4)) + """ |
| wrong answers | {chaos|wrong|value} |
| changes of keys that failovers lost, by design | {chaos|changes lost|value} |
| usage lost, of keys that existed at the end and had been allowed since the last such failover \
| {chaos|usage lost|value} of {chaos|keys allowed|value} |
"""

KILLS = """\
| | |
| --- | --- |
| kills; of them just before or after a named step | {kills|kills|value}; {kills|at named steps|value} |
| crashes of PostgreSQL in mid-COMMIT | {kills|crashes|value} |
| answers received; counted; requests sent | {kills|answers|value:,}; {kills|counted|value:,}; {kills|asked|value:,} |
| keys with a wrong sum, of 40 | {kills|wrong|value} |
"""

SOAK = """\
| | first | maximum | last | ratio of the last quarter to the second |
| --- | --- | --- | --- | --- |
| memory, MiB | {soak|memory, MiB|first:.1f} | {soak|memory, MiB|max:.1f} | {soak|memory, MiB|last:.1f} \
| {soak|memory, MiB|growth:.4f} |
""" + "".join(f"| {row} | {{soak|{row}|first:.0f}} | {{soak|{row}|max:.0f}} | {{soak|{row}|last:.0f}} | {{soak|{row}|growth:.4g}} |\n"
              for row in ("descriptors", "threads")) + """\
| answers over RESP and HTTP | | | {soak|answers|value:,} | |
| connections | | | {soak|connections|value:,} | |
| rows of usage | | | {soak|rows of usage|value:,} | |
"""

LOGINS = """\
| | |
| --- | --- |
| passwords; server certificates | {logins|passwords|value:,}; {logins|certificates|value:,} |
| sessions ended by the test; renewed by their age | {logins|sessions ended|value:,}; {logins|renewals|value:,} |
| sessions made; logins that failed during a switch | {logins|logins|value:,}; {logins|failed logins|value:,} |
| attempts to connect in a second, at most, by the server's log | {logins|attempts in a second, at most|value} |
| revocations and their ends | {logins|changes of keys|value:,} |
| answers judged; lookups that they took | {logins|answers|value:,}; {logins|lookups|value:,} |
| UNAVAILABLE | {logins|UNAVAILABLE|value} |
"""

# What tests assert, or record for ./dev bench tests: what it is, the figure, the test's name for -k.
PRINTED = (
    ("1,000 clients ask for one unknown key at once", "1 SELECT", "one_select"),
    ("10,000 cold keys in one pipeline", "12 SELECTs at most", "ten_thousand"),
    ("100,000 CHECKs of one key", "1 UPDATE of 1 row", "hundred_thousand"),
    ("usage lost in 20 `kill -9` under load", "none", "kill_9"),
    ("slowest of 31 misses with Redis killed", "{tests|slowest with Redis killed, ms|value:.1f} ms", "redis_killed"),
    ("slowest of five misses while Redis hangs, `redis.timeout` 200 ms",
     "{tests|slowest while Redis hangs, ms|value:.0f} ms", "redis_hung"),
    ("slowest of the 31 misses after these", "{tests|slowest with the breaker open, ms|value:.1f} ms", "redis_hung"),
    ("UNAVAILABLE while PostgreSQL hangs, `postgres.timeout` 200 ms",
     "after {tests|UNAVAILABLE after, ms|value:.0f} ms", "hung_is_unavailable"),
    ("PostgreSQL sessions left by late queries, 3 connections, 5 s behind a lock",
     "{tests|sessions left by late queries|value:.0f} at most", "pile_up"),
    *((f"PostgreSQL stopped (SIGSTOP), `cache.stale_max` {stale_max} s, 20 keys asked for in a loop by a Python client, "
       "which is the limit: answers a second before; when all are stale",
       f"{{tests|stale_max {stale_max} s, answers a second before|value:,.0f}}; "
       f"{{tests|stale_max {stale_max} s, answers a second, all stale|value:,.0f}}", "longer_than_stale_max")
      for stale_max in (5, 9)),
    ("time from PostgreSQL's return to answers as before, the two cases",
     "{tests|stale_max 5 s, back after, ms|value:.0f} ms; {tests|stale_max 9 s, back after, ms|value:.0f} ms",
     "longer_than_stale_max"),
    *((f"revoked behind {gateway}: from COMMIT's return to the first 403, request included, 50 times: median; longest",
       f"{{tests|{gateway}, median, ms|value:.1f}} ms; {{tests|{gateway}, longest, ms|value:.1f}} ms", "test_revoked")
      for gateway in ("nginx", "caddy", "haproxy")),
    *((f"the front thread's instructions for a CHECK, {label}", f"{{tests|instructions a CHECK with -P {n}|value:,.0f}}",
       "instructions") for n, label in ((64, "64 in a pipeline"), (1, "alone"))),
)
TESTS = "| what | figure | test |\n| --- | --- | --- |\n" + "".join(
    f"| {what} | {figure} | `{test}` |\n" for what, figure, test in PRINTED)


def fuzzers(results):
    """A row for each fuzzer that was run; the sources that it is about are those of the run of its coverage."""
    head = "| fuzzer | executions | edges | lines reached in the code it tests |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {name} | {{fuzz|{name}|executions:,}} | {{fuzz|{name}|edges:,}} | " + ", ".join(
            f"{row.removeprefix(name + ', ')} {{fuzz-coverage|{row}|value:.0f}} %"
            for row in results["fuzz-coverage"]["rows"] if row.startswith(f"{name}, ")) + " |\n"
        for name in results["fuzz"]["rows"])


def model(results):
    head = "| case | states |\n| --- | --- |\n"
    return head + "".join(f"| {case} | {{model|{case}|states:,}} |\n"
                          for case, row in results["model"]["rows"].items() if "states" in row) + (
        "| mutants that break a promise, as they must | {model|mutants found|value} of {model|mutants|value} |\n")


# A table is a template, or a function that makes one from the results.
TABLES = {"compared": COMPARED, "flush": FLUSH, "day": DAY, "http": HTTP, "revocation": REVOCATION, "identity": IDENTITY,
          "migration": MIGRATION, "hostile": HOSTILE, "flood": FLOOD, "flood_form": FLOOD_FORM, "stalls": STALLS,
          "chaos": CHAOS, "kills": KILLS, "logins": LOGINS,
          "soak": SOAK, "tests": TESTS, "fuzzers": fuzzers, "model": model}
FIELD = re.compile(r"\{([\w.-]+)\|([^|:}]+)(?:\|([^|:}]+))?(?::([^}]*))?\}")
PLOTS = {"hot-64.svg": ("hot-64-cpu", "A hot CHECK, 64 in a pipeline"),
         "hot-1.svg": ("hot-1-cpu", "A hot CHECK, one at a time")}
NAMES = {"redis": "Redis GET", "baseline": "baseline", "apikeyd": "apikeyd",
         "apikeyd, 200 bytes of attributes": "with 200 bytes of attributes", "apikeyd, not asked for them": "not asked for them"}

WIDTH, BAR, GAP, LEFT, RIGHT, TOP = 720, 22, 10, 200, 110, 44
STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #1c2128 } .title { font-weight: 600 }
  rect { fill: #2463c4 } line { stroke: #5a6472; stroke-width: 2 } .page { fill: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e8ee } rect { fill: #7fb0ff } line { stroke: #9aa5b3 } .page { fill: #1b2129 } }
</style>"""


def shown(value):
    """Three digits."""
    value = float(f"{value:.3g}")
    for least, unit, prefix in ((1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if value >= least:
            return f"{value / unit:.3g}{prefix}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def bars(rows):
    scale = (WIDTH - LEFT - RIGHT) / max(row.get("max", row["median"]) for row in rows.values())
    for i, (name, row) in enumerate(rows.items()):
        y = TOP + i * (BAR + GAP)
        middle, end = y + BAR / 2, LEFT + row["median"] * scale
        yield f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{NAMES[name]}</text>'
        yield f'<rect x="{LEFT}" y="{y}" width="{row["median"] * scale:.1f}" height="{BAR}" rx="2"/>'
        if "max" in row:
            yield (f'<line x1="{LEFT + row["min"] * scale:.1f}" x2="{LEFT + row["max"] * scale:.1f}" '
                   f'y1="{middle}" y2="{middle}"/>')
            end = max(end, LEFT + row["max"] * scale)
        yield f'<text x="{end + 8:.1f}" y="{middle + 4}">{shown(row["median"])}</text>'


def plot(rows, title):
    height = TOP + len(rows) * (BAR + GAP) + 10
    spread = "; line: min to max" if any("max" in row for row in rows.values()) else ""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{title}">', STYLE, f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{title}</text>',
        f'<text x="{WIDTH - 12}" y="24" text-anchor="end">µs of the server\'s processor time, medians{spread}</text>',
        *bars(rows), "</svg>", ""])


def judged(value, bar):
    """The bar, and whether the figure misses it."""
    sign, limit, unit = re.fullmatch(r"([<>]=)([\d.]+)(.*)", bar).groups()
    met = value >= float(limit) if sign == ">=" else value <= float(limit)
    return f"{limit}{unit}{'' if met else ', missed'}"


def filled(field, results):
    name, row, column, form = field.groups()
    try:
        value = results[name]["ratios"][row] if " / " in row else results[name]["rows"][row][column or "median"]
    except KeyError:
        return "not measured yet"  # by a bench that has more rows than when it last ran
    if not form:
        return shown(value)
    return judged(value, form) if form[0] in "<>" else f"{value:{form}}"


def used(template):
    """The names of the results that a table is made from."""
    return list(dict.fromkeys(field[1] for field in FIELD.finditer(template)))


def read_results():
    return {path.stem: json.loads(path.read_text()) for path in FIGURES.glob("*.json")}


def template(name, results):
    return TABLES[name](results) if callable(TABLES[name]) else TABLES[name]


def sources():
    """The names of all results."""
    results = read_results()
    return list(dict.fromkeys(source for name in TABLES for source in used(template(name, results))))


def beside(load):
    """The load average before the bench and at its end. Results of earlier benches do not tell it."""
    return "load {:g} before and {:g} at the end".format(*load) if load else ""


def origin(names, results):
    """When the results were measured, of which commit, how and beside what: a paragraph."""
    runs = {}
    for name in names:
        one = results[name]
        commit = one["commit"] and f"of commit {one['commit']}"
        told = (one["date"], commit, one["conditions"], beside(one.get("load")))
        runs.setdefault(", ".join(filter(None, told)), []).append(name)
    text = "; ".join(f"{', '.join(names)}: {run}" for run, names in runs.items())
    return "\n".join(textwrap.wrap(f"Measured: {text}.", 125, break_on_hyphens=False)) + "\n"


def table(name, results):
    text = template(name, results)
    return FIELD.sub(lambda field: filled(field, results), text) + "\n" + origin(used(text), results)


def take(benches):
    """Copy the last results. Those of a bench may be several files: hot is hot-64, hot-64-cpu and hot-1-cpu."""
    taken = [name for name in sources() if (RESULTS / f"{name}.json").exists()
             and (not benches or any(f"{name}-".startswith(f"{bench}-") for bench in benches))]
    for name in taken:
        data = json.loads((RESULTS / f"{name}.json").read_text())
        if "conditions" not in data:
            sys.exit(f"{RESULTS / name}.json has an earlier form: run the bench again, or remove the file")
        shutil.copyfile(RESULTS / f"{name}.json", FIGURES / f"{name}.json")
        print("taken:", origin([name], {name: data}).removeprefix("Measured: "), end="")
    if not taken:
        sys.exit(f"{RESULTS}: no results of {' or '.join(benches) or 'any bench'}: ./dev bench first")


def made():
    """What each file of the documents has to hold."""
    results = read_results()
    files = {FIGURES / name: plot(results[bench]["rows"], title) for name, (bench, title) in PLOTS.items()}
    seen = []

    def block(match):
        seen.append(match[2])
        return match[1] + table(match[2], results) + match[3]

    for page in PAGES:
        files[page] = re.sub(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", block, page.read_text(), flags=re.DOTALL)
    assert sorted(seen) == sorted(TABLES), f"tables in the documents: {seen}"
    return files


def main():
    if sys.argv[1:2] == ["take"]:
        take(sys.argv[2:])
    elif sys.argv[1:]:
        sys.exit("usage: ./dev figures [take [BENCH...]]")
    for path, text in made().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
