"""./dev fuzz [NAME|all|coverage] [SECONDS]: run fuzzers, and tell what they did.

Inputs that reach new code are kept in build/fuzz/corpus. One that breaks something is kept in
build/fuzz/found: mend what it shows, and move it to tests/fuzz/regression/NAME, which ./dev test
replays. Each fuzzer runs on one processor; with all, two at a time.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.results import save, single  # noqa: E402
from harness.servers import ROOT, Scratch  # noqa: E402

FUZZ = ROOT / "tests" / "fuzz"
WORK = ROOT / "build" / "fuzz"
NAMES = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.c"))
# The code that each is about, for its coverage.
ABOUT = {
    "attribute_text": ["wire/attribute_text.c", "model/attributes.c"],
    "aws_event": ["wire/aws_event.c"],
    "config": ["config/config.c", "config/option_value.c", "model/key_source.c", "model/key_form.c"],
    "counts": ["ledger/count_batch.c", "ledger/count_file.c"],
    "http": ["wire/http_request.c", "wire/request_key.c", "wire/http_chunked.c", "face/http.c", "face/http_aws.c", "conn/connection.c"],
    "ledger": ["ledger/ledger.c", "ledger/ledger_file.c", "ledger/ledger_half.c"], "notification": ["wire/notification.c"],
    "feed_entry": ["wire/feed_entry.c", "wire/hmac_tag.c"], "redis_reply": ["redis/redis_reply.c"],
    "redis_value": ["wire/redis_value.c", "wire/hmac_tag.c"], "resp_request": ["wire/resp_request.c"],
    "resp": ["face/commands.c", "face/greeting.c", "face/transaction.c", "auth/check.c", "conn/connection.c", "auth/lookahead.c"],
    "spill": ["ledger/spill.c", "ledger/usage_batch.c"],
}


def kept(name):
    """Folders of inputs that the repository has."""
    return [folder for kind in ("corpus", "regression") if (folder := FUZZ / kind / name).is_dir()]


def command(name, build=WORK):
    return [build / "tests" / "fuzz" / f"fuzz_{name}"]


def run(argv, **env):
    """The finished process. What it leaves when it dies is cleared away."""
    scratch = Scratch()
    try:
        return subprocess.run(argv, cwd=scratch.path, capture_output=True, text=True, errors="replace",
                              check=False, env={**os.environ, **env})
    finally:
        scratch.remove()


def replay(name):
    """Every input that is kept, once; the finished process."""
    return run([*command(name), "-runs=0", *kept(name)])


def fuzz(name, seconds):
    """The finished process, and what it counted: executions, edges, inputs that are worth keeping."""
    corpus, found = WORK / "corpus" / name, WORK / "found" / name
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    argv = [*command(name), f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096",
            "-print_final_stats=1", f"-artifact_prefix={found}/", corpus, *kept(name)]
    if (words := FUZZ / "dict" / name).exists():
        argv.append(f"-dict={words}")
    done = run(argv)
    number = {key: re.findall(pattern, done.stderr) for key, pattern in {
        "executions": r"number_of_executed_units: (\d+)", "edges": r"\bcov: (\d+)",
        "inputs": r"\bcorp: (\d+)"}.items()}
    return done, {key: int(values[-1]) if values else 0 for key, values in number.items()}


def fuzz_all(names, seconds):
    failed, rows = False, {}
    print(f"{'fuzzer':14} {'executions':>12} {'a second':>10} {'edges':>7} {'inputs':>7}", flush=True)
    with ThreadPoolExecutor(2) as pool:
        for name, (done, count) in zip(names, pool.map(lambda name: fuzz(name, seconds), names)):
            print(f"{name:14} {count['executions']:12,} {count['executions'] // seconds:10,} "
                  f"{count['edges']:7,} {count['inputs']:7,}", flush=True)
            rows[name] = count
            if done.returncode != 0:
                failed = True
                print(done.stderr[-6000:])
    if names == NAMES:
        save("fuzz", f"{seconds} s each", rows)
    return failed


def coverage():
    """Lines of the code it is about that each fuzzer's inputs reach, those of earlier runs included."""
    build, reached = ROOT / "build" / "coverage", {}
    for name in NAMES:
        raw, data = build / f"{name}.profraw", build / f"{name}.profdata"
        corpus = [folder for folder in (WORK / "corpus" / name,) if folder.is_dir()]
        run([*command(name, build), "-runs=0", *corpus, *kept(name)], LLVM_PROFILE_FILE=str(raw)).check_returncode()
        subprocess.run(["llvm-profdata", "merge", "-o", data, raw], check=True)
        report = subprocess.run(["llvm-cov", "report", *command(name, build), f"-instr-profile={data}"],
                                check=True, capture_output=True, text=True).stdout
        for row in report.splitlines():
            # The path is as the compiler was told it, which ccache may have made a relative one.
            if row.split() and row.split()[0].endswith(tuple(f"daemon/{source}" for source in ABOUT[name])):
                source, lines = Path(row.split()[0]).name, row.split()[9]
                print(f"{name:14} {source:20} lines {lines:>8}")
                reached[f"{name}, {source}"] = float(lines.rstrip("%"))
    save("fuzz-coverage", "with the inputs that runs have kept", single(reached))


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    if what == "coverage":
        coverage()
        return
    if what != "all" and what not in NAMES:
        sys.exit(f"fuzzers are {', '.join(NAMES)}")
    sys.exit(fuzz_all(NAMES if what == "all" else [what], seconds))


if __name__ == "__main__":
    main()
