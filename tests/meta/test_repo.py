"""Checks of the repository itself: style, analysis, folders, and docs against tables."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from harness import bench, figures, migrations, results as bench_results

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("APIKEYD_BUILD", ROOT / "build" / "release"))
DAEMON = BUILD / "apikeyd"
LIMIT = 1700  # seconds: for a hang. ./dev test runs these tests beside others, with what time those leave
# A test build has other flags and a command more. clang-tidy and gcc read a debug build: ./dev lint makes it.
of_release = pytest.mark.builds("release")
reads_debug = pytest.mark.skipif(not (ROOT / "build" / "debug" / "compile_commands.json").exists(),
                                 reason="reads the debug build: ./dev lint makes it")
pytestmark = pytest.mark.timeout(LIMIT + 100)


def run(*argv):
    return subprocess.run([str(a) for a in argv], cwd=ROOT, capture_output=True, text=True,
                          timeout=LIMIT, check=False)


def tracked(*patterns):
    """Files that git tracks, or would: this also works on a work tree with new ones."""
    done = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", "--",
               *patterns)
    assert done.returncode == 0, done.stderr
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).exists()]


def clean(done):
    assert done.returncode == 0 and not done.stdout.strip(), done.stdout + done.stderr


@pytest.mark.needs("clang-format")
def test_clang_format():
    clean(run("clang-format", "--dry-run", "-Werror", *tracked("*.c", "*.h")))


# The whole of clang's analyzer costs seven times as much, which ./dev lint spends.
ANALYZER = [] if os.environ.get("APIKEYD_LINT") == "deep" else \
    [f"--extra-arg={arg}" for arg in ("-Xclang", "-analyzer-config", "-Xclang", "mode=shallow")]


@pytest.mark.slow
@pytest.mark.needs("clang-tidy")
@reads_debug
def test_clang_tidy():
    # Of two sources for one interface the build has one.
    built = {entry["file"] for entry in json.loads((ROOT / "build" / "debug" / "compile_commands.json").read_text())}
    files = [path for path in tracked("daemon/*.c", "ctl/*.c") if str(path) in built]
    assert len(files) > 100
    halves = [subprocess.Popen(
        ["clang-tidy", "-p", "build/debug", "--quiet", *ANALYZER, *map(str, files[i::2])], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for i in range(2)]
    found = "".join(half.communicate(timeout=LIMIT)[0] for half in halves)
    assert all(half.returncode == 0 for half in halves), found


@pytest.mark.slow
@pytest.mark.needs("cppcheck")
def test_cppcheck():
    clean(run("cppcheck", "--quiet", "--error-exitcode=1", "--std=c11",
              "--enable=warning,performance,portability", "-I", "include", "--library=tests/meta/cppcheck.cfg",
              # later versions tell how they read, and miss that a loop is entered
              "--suppress=normalCheckLevelMaxBranches", "--suppress=uninitvar:daemon/lookup/resolver.c",
              # queue(3) is macros; without them cppcheck reads lists wrongly
              f"--include=/usr/include/{sysconfig.get_config_var('MULTIARCH')}/sys/queue.h", "daemon", "ctl"))


def compiler_flags(build):
    """What each of the daemon's sources is compiled with: definitions and include paths."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = Path(entry["file"])
        if source.is_relative_to(ROOT / "daemon"):
            argv = shlex.split(entry["command"])
            pairs = [argv[i:i + 2] for i, word in enumerate(argv) if word == "-isystem"]
            yield source, [word for word in argv if re.match(r"-[DI]|-std=", word)] + sum(pairs, [])


@pytest.mark.slow
@reads_debug
def test_gcc_analyzer():
    """Leaks are the sanitizers' work: it does not see that what is put into a list, or opened for good, is not lost."""
    jobs = [["gcc", *flags, "-fanalyzer", "-Wno-analyzer-malloc-leak", "-Wno-analyzer-fd-leak", "-Werror", "-c", "-o", "/dev/null", source]
            for source, flags in compiler_flags(ROOT / "build" / "debug")]
    with ThreadPoolExecutor(2) as two:
        found = [done.stderr for done in two.map(lambda job: run(*job), jobs) if done.returncode]
    assert len(jobs) > 100 and not found, "".join(found)


@of_release
def test_the_program_is_hardened():
    """readelf(1) and nm(1) on the release build."""
    headers, dynamic = run("readelf", "-hlW", DAEMON).stdout, run("readelf", "-dW", DAEMON).stdout
    assert re.search(r"Type: +DYN \(Position-Independent Executable", headers)
    assert "GNU_RELRO" in headers and re.search(r"GNU_STACK .* RW ", headers)
    assert re.search(r"FLAGS_1.*NOW.*PIE", dynamic) and "RUNPATH" not in dynamic
    called = run("nm", "-D", "-u", DAEMON).stdout
    assert "__stack_chk_fail" in called, "stack protector"
    assert re.search(r"__(memcpy|snprintf|vsnprintf|read)_chk", called), "FORTIFY_SOURCE"


@pytest.mark.needs("shellcheck")
def test_shellcheck():
    clean(run("shellcheck", "-s", "bash", "dev", ".ci/run", "ctl/apikeyctl.bash"))


@pytest.mark.needs("codespell")
def test_spelling():
    # Of a later release's list: halves of words and a misspelt option, which tests need.
    clean(run("codespell", "-L", "brin,caf,chace", *tracked("*.md", "*.c", "*.h", "*.py", "*.sql", "dev", "*.conf")))


@pytest.mark.needs("python3-pyflakes")
def test_pyflakes():
    clean(run(sys.executable, "-m", "pyflakes", *tracked("*.py")))


def test_tests_import_no_tests():
    """Else a test runs only beside another one, and a change of one breaks the other."""
    for path in tracked("*.py"):
        found = re.search(r"^\s*(from|import) +(\w+\.)*test_\w+", path.read_text(), re.MULTILINE)
        assert not found, f"{path}: {found.group()}"


def test_tools_use_no_tests():
    for path in tracked("tools/*"):
        assert not re.search(r"harness|\btests\b", path.read_text()), path


def marked_builds(path):
    """Names of tests (the file's own for a whole file) with the builds that their marker `builds` names."""
    names = {}  # of markers

    def builds(node):
        for one in ast.walk(node):
            if isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "builds":
                yield tuple(ast.literal_eval(arg) for arg in one.args)
            elif isinstance(one, ast.Name) and one.id in names:
                yield names[one.id]

    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield from ((node.name, found) for decorator in node.decorator_list for found in builds(decorator))
        elif isinstance(node, ast.Assign):
            target = node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""
            for found in builds(node.value):
                if target == "pytestmark":
                    yield path.name, found
                else:
                    names[target] = found


def test_no_build_leaves_a_test_out_silently():
    """The table in tests/README.md has each test that not all builds run; each is run by a phase of ./dev test."""
    marked = dict(pair for path in tracked("tests/integration/*.py") for pair in marked_builds(path))
    rows = (ROOT / "tests" / "README.md").read_text().split("<!-- builds -->\n")[1].split("<!-- end -->")[0].splitlines()[2:]
    cells = [row.split(" | ") for row in rows]
    told = {name: tuple(builds.split(", ")) for names, builds, _ in cells for name in re.findall(r"`([\w.]+)`", names)}
    assert len(marked) > 10 and told == marked
    phases = set(re.findall(r"^    phase (\w+) tests/integration ", (ROOT / "dev").read_text(), re.MULTILINE))
    for name, builds in marked.items():
        assert set(builds) <= {"release", "debug", "asan", "tsan"} and set(builds) & phases, name


def test_needed_packages_are_installed_for_all_tests():
    """What a test is marked to need is in a list of `dev`, whose ./dev test installs them all."""
    known = " ".join(re.findall(r"_packages=\(([^)]*)\)", (ROOT / "dev").read_text())).split()
    for path in tracked("tests/*.py"):
        for names in re.findall(r"\.needs\(([^)]*)\)", path.read_text()):
            for package in re.findall(r'"([^"]+)"', names):
                assert package in known, f"{path}: {package}"


@of_release
def test_sample_config_is_the_tables():
    assert (ROOT / "config" / "apikeyd.conf").read_text() == run(DAEMON, "--sample-config").stdout


@of_release
@pytest.mark.parametrize("what", ["options", "commands", "metrics"])
def test_manual_is_the_tables(what):
    text = (ROOT / "docs" / "reference.md").read_text()
    table = run(DAEMON, "--list", what).stdout
    assert len(table.splitlines()) > 10
    assert f"<!-- {what} -->\n{table}<!-- end -->" in text


@of_release
@pytest.mark.parametrize("what, words, fuzzer", [
    ("options", r"^\| `\w+\.(\w+)`", "config"),
    ("commands", r"^\| `([A-Z]+)", "resp"),
])
def test_dictionaries_of_fuzzers_have_the_tables_words(what, words, fuzzer):
    """A fuzzer hardly finds one that is not there."""
    table = set(re.findall(words, run(DAEMON, "--list", what).stdout, re.MULTILINE))
    text = (ROOT / "tests" / "fuzz" / "dict" / fuzzer).read_text()
    known = set(re.findall(r'^"(\w+)(?: = | )?"$', text, re.MULTILINE))
    assert len(table) > 10 and not table - known


@of_release
def test_table_of_folders_is_cmakes():
    """tests/harness/tables.py writes it. In the figure a folder stands above all that it uses, in its own column."""
    text, table = (ROOT / "docs" / "architecture.md").read_text(), (BUILD / "folders.md").read_text()
    assert f"<!-- folders -->\n{table}<!-- end -->" in text
    figure = text.split("<!-- layers -->")[1].strip("\n").split("\n\n")[0].splitlines()
    at = {word: (depth, line.index(word)) for depth, line in enumerate(figure) for word in line.split()}
    front = {word for word, (_, column) in at.items() if column == at["front"][1]}
    back = {word for word, (_, column) in at.items() if column >= at["back"][1]}
    rows = re.findall(r"\| `(?:daemon/)?(\w+)` \|.*\| (.*) \|$", table, re.MULTILINE)
    assert {folder for folder, _ in rows} == set(at) and len(front) == 4 and len(back) == 8
    for folder, uses in rows:
        for used in set(uses.split(", ")) & set(at):
            assert at[used][0] > at[folder][0], f"{folder} uses {used}"
            assert not (folder in front and used in back or folder in back and used in front), f"{folder} uses {used}"


@of_release
@pytest.mark.parametrize("page, marker, table", [
    ("apikeyd.conf.5", "options", ("apikeyd", "--list", "roff")),
    ("apikeyctl.1", "commands", ("apikeyctl", "--manual")),
])
def test_manual_pages_are_the_tables(page, marker, table):
    made = run(DAEMON.parent / table[0], *table[1:]).stdout
    assert len(made.splitlines()) > 50
    text = (ROOT / "docs" / "man" / page).read_text()
    assert f'.\\" {marker}\n{made}.\\" end\n' in text


@pytest.mark.needs("mandoc")
def test_manual_pages_are_clean():
    pages = tracked("docs/man/*.[158]")
    assert len(pages) == 3
    clean(run("mandoc", "-T", "lint", "-W", "warning", *pages))


@of_release
@pytest.mark.parametrize("folder, pure", [
    *((name, True) for name in ("base", "model", "config", "schema", "wire", "ledger")),
    *((name, False) for name in ("conn", "thread", "postgres", "redis")),
])
def test_pure_folders_need_no_other_library(folder, pure):
    """Nothing that they leave to the linker comes from libevent, libpq or hiredis, or tells the time."""
    done = run("nm", "-u", BUILD / "daemon" / f"libapikeyd_{folder}.a")
    found = re.findall(r"\b(?:event_|evutil_|evdns_|bufferevent_|PQ|redis(?:Async|Command|Reply|Reader)|pthread_"
                       r"|clock_gettime|time$|gettimeofday).*", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and pure == (not found), f"{done.stderr}{found}"


@of_release
@pytest.mark.parametrize("source, header, compiles", [
    ("base/buffer.c", "apikeyd/base/slice.h", True),
    ("base/buffer.c", "apikeyd/model/digest.h", False),
    ("ledger/ledger.c", "apikeyd/clock/clock.h", False),
    ("auth/check.c", "apikeyd/conn/connection.h", True),
    ("auth/check.c", "apikeyd/thread/back_env.h", False),
    ("changes/feed_postgres.c", "notification_rate.h", True),
    ("lookup/resolver.c", "notification_rate.h", False),
    ("lookup/resolver.c", "apikeyd/auth/check.h", False),
])
def test_a_folder_sees_what_it_may_use(source, header, compiles):
    """Another #include does not compile."""
    source = ROOT / "daemon" / source
    flags = [*dict(compiler_flags(BUILD))[source], "-iquote", source.parent]
    done = subprocess.run(["gcc", *flags, "-fsyntax-only", "-x", "c", "-"], input=f'#include "{header}"\n', text=True,
                          capture_output=True, check=False)
    assert (done.returncode == 0) == compiles and (compiles or "No such file" in done.stderr), done.stderr


def test_only_the_parser_of_replies_sees_hiredis():
    """Its headers stand in the compiler's own path, where a folder's targets do not keep them out."""
    users = [str(path.relative_to(ROOT)) for path in tracked("daemon/*.[ch]", "include/*.h")
             if re.search(r"#include <hiredis/|\bredis(?:Reply|Reader|Context|ReadTask)\b", path.read_text())]
    assert users == ["daemon/redis/redis_reply.c"]


def test_public_headers_are_used_by_other_folders():
    """One that only its own folder uses stands beside its source."""
    users = {}
    for path in tracked("daemon/*.[ch]", "include/*.h", "ctl/*.[ch]"):
        path = path.relative_to(ROOT)
        folder = path.parts[2] if path.parts[0] == "include" else path.parts[1]
        for used in re.findall(r"#include <apikeyd/(\w+/\w+\.h)>", (ROOT / path).read_text()):
            if path.parts[0] == "include" or not used.startswith(f"{folder}/"):
                users.setdefault(used, path)
    public = {str(path.relative_to(ROOT / "include/apikeyd")) for path in tracked("include/*.h")}
    assert public and sorted(public - users.keys()) == []


def module(path):
    """A module is NAME.c with NAME.h, wherever the header stands."""
    return ("ctl" if path.parts[0] == "ctl" else "daemon", path.stem)


def used_modules(path):
    """By the #include lines of a file of the daemon or of ctl."""
    for name in re.findall(r'#include (<apikeyd/[^>]+|"[^"]+)', (ROOT / path).read_text()):
        yield ("ctl" if path.parts[0] == "ctl" and name[0] == '"' else "daemon", Path(name[1:]).stem)


def circles(graph):
    """One way round for each circle found, depth first."""
    done, way = set(), []

    def follow(node):
        if node in way:
            yield [*way[way.index(node):], node]
        elif node not in done:
            way.append(node)
            for to in sorted(graph.get(node, ())):
                yield from follow(to)
            done.add(way.pop())

    for node in sorted(graph):
        yield from follow(node)


def test_no_circle_of_files():
    """Modules that need each other are one module, or one of them does not need the other."""
    graph = {}
    for path in tracked("daemon/*.[ch]", "include/*.h", "ctl/*.[ch]"):
        path = path.relative_to(ROOT)
        graph.setdefault(module(path), set()).update(set(used_modules(path)) - {module(path)})
    assert len(graph) > 100
    found = [" > ".join(name for _, name in circle) for circle in circles(graph)]
    assert not found


def long_functions(path):
    """Names of a C file's functions of more than 60 lines, as clang-format lays them out."""
    begin, name = None, ""
    for number, line in enumerate(path.read_text().splitlines()):
        if line == "{":
            begin = number
        elif line == "}" and begin is not None:
            if number - begin > 60:
                yield f"{path.name}: {name}"
            begin = None
        elif line and not line[0].isspace() and "(" in line:
            name = line.split("(")[0].split()[-1].strip("*")


def test_functions_fit_on_a_screen():
    """A file's length is no measure: a module is not cut in three to stay under a number."""
    found = [name for path in tracked("*.c") if "tests" not in path.parts
             for name in long_functions(path)]
    assert found == ["back.c: back_new"]  # a list of parts
    assert len((ROOT / "daemon" / "main.c").read_text().splitlines()) <= 120


def test_few_places_end_the_process():
    """Out of memory has one way. The others are queues that cannot be full, and libevent's own end."""
    found = sorted(path.name for path in tracked("daemon/*.c") if re.search(r"\babort\(\)", path.read_text()))
    assert found == ["flusher.c", "front.c", "log_hooks.c", "out_of_memory.c"]


def compared_read_times(text):
    """Comparisons in C of what is named as a read time is, or as a bound of one. What freshness says is none."""
    code = re.sub(r"/\*.*?\*/|#[^\n]*|freshness_\w+\([^()]*\)", "", text, flags=re.DOTALL)
    for part in re.split(r"&&|\|\||[;,?{}]", code):
        if re.search(r"(?<![-<>])[<>]=?(?![<>])", part) and re.search(r"read_at|oldest|watermark|confirmed|newest", part):
            yield " ".join(part.split())


def test_only_freshness_compares_read_times():
    """Whether a verdict was read late enough is judged in one place, or two places will differ."""
    own = ["daemon/model/freshness.c", "daemon/model/watermarks.c", "include/apikeyd/model/freshness.h"]
    found = {str(path.relative_to(ROOT)): lines for path in tracked("daemon/*.[ch]", "include/*.h")
             if (lines := list(compared_read_times(path.read_text())))}
    assert [found.pop(name, []) != [] for name in own] == [True] * len(own)
    assert found == {}


def test_the_lease_knows_nothing_of_postgresql():
    """Another kind of change feed tells it the same."""
    for name in ("include/apikeyd/changes/lease.h", "daemon/changes/lease.c"):
        code = re.sub(r"/\*.*?\*/", "", (ROOT / name).read_text(), flags=re.DOTALL)
        assert not re.search(r"postgres|libpq|\bpg_|\bPQ|#include \"", code), name


def test_every_source_says_its_licence():
    for path in tracked("*.c", "*.h"):
        assert "SPDX-License-Identifier: MIT" in path.read_text(), path


def test_errors_cannot_be_overlooked():
    """What returns an int returns -errno or a descriptor, and is warn-unused. One returns a number."""
    plain = [name for path in tracked("daemon/*.h", "include/*.h")
             for name in re.findall(r"^int\s+(\w+)\(", path.read_text(), re.MULTILINE)]
    assert plain == ["pg_connection_server_pid"]


def test_headers_open_with_the_idea():
    for path in tracked("include/*.h", "daemon/*.h", "ctl/*.h"):
        assert path.read_text().startswith(f"/* {path.stem}: "), path


def test_every_script_pins_its_path():
    """Else a role that may create somewhere in the path of whoever deploys has its operators taken."""
    for path in tracked("migrations/*.sql"):
        if path.parts[-2:] != ("deploy", "index.sql"):  # which cannot stand in a transaction
            assert "\nBEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n" in path.read_text(), path
    text = "".join((ROOT / "daemon" / "schema" / name).read_text() for name in ("schema.sql", "usage.sql"))
    pinned = "\nBEGIN\n    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);\n"
    blocks = re.findall(r"^DO .*?^\$apikeyd\$;", re.sub(r"\n +-- .*", "", text), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 12
    for block in blocks:
        declared, _, rest = block.partition(pinned)
        assert rest.endswith("    PERFORM set_config('search_path', path, true);\nEND\n$apikeyd$;"), block
        for kind in re.findall(r"^    \w+ (?:CONSTANT )?(\S+)", declared, re.MULTILINE):
            assert kind.rstrip(";").startswith("pg_catalog.") or kind == "int", declared


@of_release
def test_migrations_are_made_from_the_schema():
    """tests/harness/migrations.py writes them."""
    made = migrations.scripts()
    assert len(made) == 8
    for path, text in made.items():
        assert path.read_text() == text, path


def test_the_version_stands_in_one_place():
    """Programs and tests read CMakeLists.txt, tables.py writes the manual pages; the two lists of changes have to
    have an entry for it. No other source says it, and examples in the documents say the same."""
    version, = re.findall(r"^project\(apikeyd VERSION (\d+\.\d+\.\d+) ", (ROOT / "CMakeLists.txt").read_text(),
                          re.MULTILINE)
    found = {program: run(BUILD / program, "--version").stdout for program in ("apikeyd", "apikeyctl")}
    assert found == {program: f"{program} {version}\n" for program in found}
    for page in tracked("docs/man/*.[158]"):
        assert f"\n.Os apikeyd {version}\n" in page.read_text(), f"{page}: run tests/harness/tables.py"
    newest = re.match(r"apikeyd \((.*?)(-\d+)?\) ", (ROOT / "debian" / "changelog").read_text())
    assert newest and newest[1] == version, "debian/changelog begins with another version"
    released = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released and released[0] == version, "CHANGELOG.md has no section for it"
    for path in tracked("*.md"):
        if path.name != "CHANGELOG.md":
            assert set(re.findall(r"apikeyd[ _](\d+\.\d+\.\d+)", path.read_text())) <= {version}, path
    for path in tracked("*.c", "*.h", "*.py", "*.cmake", "*.json", "dev", "systemd"):
        # A lock file has the versions of others.
        assert path.name == "package-lock.json" or not re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", path.read_text()), path


def test_promises_name_tests_that_exist():
    """The last column of tables of promises has files of tests, and names as -k takes them."""
    tests = tracked("tests/*.py", "tests/*.c")
    known = " ".join([path.name for path in tests] +
                     [name for path in tests for name in re.findall(r"\btest_\w+", path.read_text())])
    for page, least in (("SECURITY.md", 30), ("docs/guarantees.md", 40)):
        tables = re.findall(r"^\|[^\n]*\| test(?:ed in)? \|\n(.*?)\n\n", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
        cells = [row.rsplit(" | ", 1)[1] for table in tables for row in table.splitlines()[1:]]
        names = re.findall(r"`([\w.]+)`", " ".join(cells))
        assert len(names) > least, page
        for name in names:
            assert name in known, f"{page}: no test is named {name}"


def test_links_in_the_docs_lead_somewhere():
    for path in tracked("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path}: {link}"


def test_tables_and_plots_are_of_one_run():
    """./dev figures makes both. A plot from another run than the table beside it is wrong about one of them."""
    files = figures.made()
    assert {path.stem for path in tracked("docs/plots/*.json")} == set(figures.sources())
    assert {path for path in files if path.suffix == ".svg"} == set(tracked("docs/plots/*.svg"))
    for path, text in files.items():
        assert path.read_text() == text, path


def test_commands_have_written_all_figures():
    """In the form that results.save() has, with the commit that was measured. No document has figures beside these."""
    for path in tracked("docs/plots/*.json"):
        found = json.loads(path.read_text())
        assert {*found} - {"load"} == {"date", "commit", "conditions", "ratios", "rows"} and found["commit"], path
    for path in tracked("*.md"):
        assert "written by hand" not in path.read_text(), path


def test_take_puts_the_last_results_into_the_documents(tmp_path, monkeypatch):
    """In the form that the benches write. Results that another bench left behind stay out if they are not asked for."""
    pages, plots, results = (tmp_path / name for name in ("pages", "plots", "results"))
    pages.mkdir()
    shutil.copytree(figures.FIGURES, plots)
    monkeypatch.setattr(figures, "PAGES", [Path(shutil.copy(page, pages)) for page in figures.PAGES])
    monkeypatch.setattr(figures, "FIGURES", plots)
    for module in (bench_results, figures):
        monkeypatch.setattr(module, "RESULTS", results)
    report = bench.Report("start (ms)", 2)
    for took in (1300, 1500):
        report.add("apikeyd", took)
        report.add("redis", 1000)
    report.ratio("apikeyd", "redis")
    report.save("on a train")
    bench_results.save("flood", "", bench_results.single({"a second": 1}))
    flood = (plots / "flood.json").read_text()
    figures.take(["start"])
    page = figures.made()[figures.PAGES[0]]
    assert "| start, exec to the first answer | 1,400 ms | Redis | 1,000 ms | 1.4 | 1, missed |" in page
    assert (plots / "flood.json").read_text() == flood
    assert re.search(r"start:\s.*2\s+rounds,\s+on\s+a\s+train,\s+load\s+[\d.]+\s+before\s+and\s+[\d.]+\s+at\s+the\s+end", page)


def test_pictures_are_what_the_script_draws(tmp_path):
    """./dev pictures draws them. Each is shown in a document."""
    for source in tracked("docs/pictures/*.py"):
        shutil.copy(source, tmp_path)
    clean(run(sys.executable, "-B", tmp_path / "draw.py"))
    drawn = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert len(drawn) > 4
    assert drawn == {path.name: path.read_text() for path in tracked("docs/pictures/*.svg")}
    documents = "".join(path.read_text() for path in tracked("*.md"))
    for name in drawn:
        assert f"pictures/{name})" in documents, name


def test_every_dependency_is_documented():
    table = (ROOT / "docs" / "dependencies.md").read_text()
    named = set(re.findall(r"[\w.+-]+", table))
    for group in re.findall(r"_packages=\(([^)]*)\)", (ROOT / "dev").read_text()):
        for package in group.split():
            assert package in named, package


def test_examples_are_well_formed():
    """Those that the integration tests do not run."""
    examples = ROOT / "config" / "examples"
    for path in (*examples.glob("*/*.yaml"), *examples.glob("*/*.yml")):
        assert all(yaml.safe_load_all(path.read_text())), path
