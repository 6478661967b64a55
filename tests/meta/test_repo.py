"""Checks of the repository itself: style, analysis, layering, and docs against tables."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("APIKEYD_BUILD", ROOT / "build" / "release"))
DAEMON = BUILD / "apikeyd"
# A test build has other flags and a command more. clang-tidy and gcc read a debug build: ./dev lint makes it.
of_release = pytest.mark.skipif(BUILD.name != "release", reason="is about the release build")
reads_debug = pytest.mark.skipif(not (ROOT / "build" / "debug" / "status_page.c").exists(),
                                 reason="reads the debug build: ./dev lint makes it")


def run(*argv):
    return subprocess.run([str(a) for a in argv], cwd=ROOT, capture_output=True, text=True,
                          timeout=600, check=False)


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


@pytest.mark.slow
@pytest.mark.needs("clang-tidy")
@reads_debug
def test_clang_tidy():
    files = tracked("daemon/*.c", "ctl/*.c")
    halves = [subprocess.Popen(
        ["clang-tidy", "-p", "build/debug", "--quiet", *map(str, files[i::2])], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for i in range(2)]
    found = "".join(half.communicate(timeout=600)[0] for half in halves)
    assert all(half.returncode == 0 for half in halves), found


@pytest.mark.slow
@pytest.mark.needs("cppcheck")
def test_cppcheck():
    clean(run("cppcheck", "--quiet", "--error-exitcode=1", "--std=c11",
              "--enable=warning,performance,portability", "-I", "include",
              # queue(3) is macros; without them cppcheck reads lists wrongly
              "--include=/usr/include/x86_64-linux-gnu/sys/queue.h", "daemon", "ctl"))


@pytest.mark.slow
@reads_debug
def test_gcc_analyzer():
    """Leaks are the sanitizers' work: it does not see that what is put into a list is not lost."""
    files = tracked("daemon/*.c")
    halves = [subprocess.Popen(
        ["sh", "-ec", """for file; do
            gcc -std=c17 -D_GNU_SOURCE -DAPIKEYD_VERSION='""' -Iinclude -Idaemon/back -Ibuild/debug \\
                -I/usr/include/postgresql -fanalyzer -Wno-analyzer-malloc-leak -Werror -c -o /dev/null "$file"
        done""", "sh", *map(str, files[i::2])], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True) for i in range(2)]
    found = "".join(half.communicate(timeout=600)[1] for half in halves)
    assert all(half.returncode == 0 for half in halves), found


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
    # Indirect branch tracking of CET: functions begin with endbr64.
    code = run("objdump", "-d", "--no-show-raw-insn", "--disassemble=main", DAEMON).stdout
    assert re.search(r"<main>:\n.*endbr64", code), code


@pytest.mark.needs("shellcheck")
def test_shellcheck():
    clean(run("shellcheck", "-s", "bash", "dev", ".ci/run", "ctl/apikeyctl.bash"))


@pytest.mark.needs("codespell")
def test_spelling():
    clean(run("codespell", *tracked("*.md", "*.c", "*.h", "*.py", "*.sql", "dev", "*.conf")))


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


OTHERS = {
    "daemon/core": r"event2/|libpq|hiredis|pthread|time\.h|apikeyd/(clock|front|back|back_env|hole)\.h",
    "daemon/thread": r"event2/|libpq|hiredis|apikeyd/(front|back|back_env|hole|mailbox)\.h",
    "daemon/front": r"libpq|hiredis|event2/dns|apikeyd/(thread|log_writer|back|back_env|resolver|flusher|redis_tier|pg_connection)\.h",
    "ctl": r"event2/|apikeyd/(front|back|mailbox|clock|hole|connection)\.h",
    "daemon/back": r"apikeyd/(front|connection|hole|listener|check|commands|admin)\.h",
}


def includes(path):
    return re.findall(r'#include [<"]([^>"]+)', path.read_text())


def reached(path, seen):
    """Headers of the project that a file includes, through others too, and all that they name."""
    for name in includes(path):
        yield name
        header = ROOT / "include" / name
        if header.exists() and header not in seen:
            seen.add(header)
            yield from reached(header, seen)


@pytest.mark.parametrize("layer", OTHERS)
def test_includes_point_one_way(layer):
    files = tracked(f"{layer}/*.[ch]")
    assert files
    for path in files:
        for name in reached(path, set()):
            assert not re.match(OTHERS[layer], name), f"{path} reaches {name}"


@of_release
def test_core_needs_no_other_library():
    """Nothing that core leaves to the linker comes from libevent, libpq or hiredis."""
    done = run("nm", "-u", "build/release/libapikeyd_core.a")
    assert "SHA256_Update" in done.stdout
    assert not re.search(r"\b(event_|evutil_|evdns_|PQ|pg_array|redis(Async|Command|Reply|Reader)"
                         r"|clock_gettime|time$|gettimeofday)", done.stdout, re.MULTILINE)


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
    assert len((ROOT / "daemon" / "main.c").read_text().splitlines()) < 120


def test_few_places_end_the_process():
    """Out of memory has one way. The others are queues that cannot be full, and libevent's own end."""
    found = sorted(path.name for path in tracked("daemon/*.c") if re.search(r"\babort\(\)", path.read_text()))
    assert found == ["flusher.c", "front.c", "log_hooks.c", "out_of_memory.c"]


def test_every_source_says_its_licence():
    for path in tracked("*.c", "*.h"):
        assert "SPDX-License-Identifier: MIT" in path.read_text(), path


def test_headers_open_with_the_idea():
    for path in tracked("include/apikeyd/*.h"):
        assert path.read_text().startswith(f"/* {path.stem}: "), path


def test_every_script_pins_its_path():
    """Else a role that may create somewhere in the path of whoever deploys has its operators taken."""
    for path in tracked("migrations/*.sql"):
        assert "\nBEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n" in path.read_text(), path


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
        assert not re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", path.read_text()), path


def test_links_in_the_docs_lead_somewhere():
    for path in tracked("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path}: {link}"


def test_plots_show_the_table():
    """A plot that is made from another run than the table beside it is wrong about one of them."""
    table = (ROOT / "docs" / "performance.md").read_text()
    plots = tracked("docs/plots/*.svg")
    assert plots
    for path in plots:
        values = re.findall(r">([\d.]+)</text>", path.read_text())
        assert values and all(f"| {value} µs |" in table for value in values), f"{path}: {values}"


def test_readme_names_every_dependency():
    readme = (ROOT / "README.md").read_text()
    for group in re.findall(r"_packages=\(([^)]*)\)", (ROOT / "dev").read_text()):
        for package in group.split():
            assert package in readme, package


@pytest.mark.needs("lua5.4")
def test_examples_are_well_formed():
    """Those that the integration tests do not run."""
    examples = ROOT / "config" / "examples"
    for path in (*examples.glob("*/*.yaml"), *examples.glob("*/*.yml")):
        assert yaml.safe_load(path.read_text()), path
    lua = (examples / "nginx-lua" / "apikeyd.conf").read_text()
    block = re.search(r"access_by_lua_block \{(.*?)\n        \}\n", lua, re.DOTALL).group(1)
    done = subprocess.run(["luac5.4", "-p", "-"], input=block, text=True, check=False,
                          capture_output=True)
    clean(done)
