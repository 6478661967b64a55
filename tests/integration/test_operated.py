"""As operators run it: a real Prometheus with the example files, the dashboard, a real browser.

These look at the daemon from outside, so one build is enough for them (conftest.py)."""

import json
import os
import re
import subprocess

import pytest
import yaml
from conftest import check, flush, has_heard_of
from harness.gateways import EXAMPLES, free_port
from harness.operators import Browser, Prometheus, fetch, status
from harness.servers import HANG, Process, accepts, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.needs("prometheus", "chromium", "chromium-driver",
                                                    "python3-selenium", "nginx"),
              pytest.mark.builds("release")]


def promtool(*arguments, text=None):
    return subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True,
                          text=True, timeout=60, check=False)


def test_promtool_accepts_the_metrics(daemon):
    done = promtool("check", "metrics", text=fetch(daemon, "/metrics")[2])
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


def test_promtool_accepts_the_example_files():
    done = promtool("check", "config", EXAMPLES / "prometheus" / "prometheus.yml")
    rules = (EXAMPLES / "prometheus" / "alerts.yml").read_text().count("- alert: ")
    assert done.returncode == 0 and f"{rules} rules found" in done.stdout, done.stdout + done.stderr


def queries_of_the_dashboard():
    dashboard = json.loads((EXAMPLES / "grafana" / "apikeyd.json").read_text())
    assert dashboard["uid"] and dashboard["schemaVersion"] and len(dashboard["panels"]) > 10
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield re.search(r"label_values\((\w+),", variable["query"]["query"]).group(1)


def names_in(expression):
    without_values = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:apikeyd|process)_\w+", without_values))


@pytest.fixture
def watched(scratch, start):
    port = free_port()
    daemon = start({"listen.metrics": f"127.0.0.1:{port}"})
    prometheus = Prometheus(scratch / f"prometheus-{port}", f"127.0.0.1:{port}")
    yield daemon, prometheus
    prometheus.stop()


def test_an_alert_fires_when_redis_is_stopped(db, redis_server, watched):
    """And every expression of the dashboard and the alerts names metrics that Prometheus has."""
    daemon, prometheus = watched
    db.add_key("good")
    check(daemon.client(), "good")
    wait_until(lambda: prometheus.query("up") and list(prometheus.query("up").values()) == [1.0],
               "a scrape")
    checks = 'apikeyd_checks_total{verdict="allow",tier="postgres"}'
    wait_until(lambda: list(prometheus.query(checks).values()) == [1.0], "the check to be scraped")
    assert prometheus.firing() == set()

    known = set(prometheus.ask("label/__name__/values"))
    groups = yaml.safe_load((EXAMPLES / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = [rule["expr"] for group in groups for rule in group["rules"]]
    assert len(alerts) > 10
    for expression in [*queries_of_the_dashboard(), *alerts]:
        names = names_in(expression)
        assert (names or "up{" in expression) and names <= known, expression
        prometheus.query(expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))

    redis_server.stop()
    wait_until(lambda: "ApikeydRedisDown" in prometheus.firing(), "the alert")
    redis_server.start()
    wait_until(lambda: "ApikeydRedisDown" not in prometheus.firing(), "the all-clear")


@pytest.fixture
def page(request, scratch, start):
    """page(url, …) opens a browser; the daemon is reached on a port of its own. Options are the fixture's parameter."""
    browsers = []
    port = free_port()
    daemon = start({"listen.metrics": f"127.0.0.1:{port}", **getattr(request, "param", {})})

    def show(url=f"http://127.0.0.1:{port}/", **options):
        folder = scratch / f"browser-{port}-{len(browsers)}"
        folder.mkdir()
        browsers.append(Browser(folder, url, **options))
        wait_until(lambda: browsers[-1].run("return document.body.dataset.at"), "the page")
        return browsers[-1]
    show.daemon = daemon
    yield show
    for browser in browsers:
        browser.stop()


def pull(value, path):
    for name in path.split("."):
        value = value[name]
    return value


# What the browser shows, as JSON, by the path in /status.json that each place names.
SHOWN = """return Object.fromEntries([...document.querySelectorAll("[data-value]")].map(
    (e) => [e.dataset.value, [JSON.parse(e.dataset.raw), e.textContent]]))"""
SHOWN_OF_ONE_ANSWER = """
    const done = arguments[0], plain = window.fetch;
    window.fetch = async (...a) => {
        const answer = await plain(...a), status = JSON.parse(await answer.clone().text());
        new MutationObserver((changes, observer) => {  // when the page has shown it all, it notes when that was
            if (document.body.dataset.at !== status.at) return;
            observer.disconnect();
            done([status, (() => {""" + SHOWN + """})(), document.querySelectorAll("#events li").length]);
        }).observe(document.body, {attributes: true});
        window.fetch = plain;
        return answer;
    };"""


def test_values_shown_are_those_of_status_json(db, page):
    browser = page()
    db.add_key("good")
    browser.driver.set_script_timeout(HANG)

    def look():
        for _ in range(50):
            check(page.daemon.client(), "good")
        return browser.driver.execute_async_script(SHOWN_OF_ONE_ANSWER)
    answer, shown, events = wait_until(
        lambda: [one for one in [look()] if one[1]["checks.per_second.allow"][0] > 0], "a rate")[0]
    assert len(shown) > 35
    for path, (raw, text) in shown.items():
        assert raw == pull(answer, path), path
        assert text, path
    assert shown["postgres.state"][1] == shown["redis.state"][1] == shown["feed.state"][1] == "up"
    assert events == len(answer["events"])
    assert browser.run("return document.querySelectorAll('#latency tr').length") == 5
    assert browser.run("return document.getElementById('trouble').hidden")
    assert answer["busiest_keys"] is None and browser.run(BUSIEST) is None  # usage.counts is off
    assert browser.complaints() == []


BUSIEST = """const section = document.getElementById("busiest"); return section.offsetParent && {
    keys: [...section.querySelectorAll("tbody tr")].map((row) => [...row.children].map((e) => e.textContent)),
    note: section.querySelector(".note").textContent}"""


@pytest.mark.parametrize("page", [{"usage.counts": "hour"}], indirect=True)
def test_the_busiest_keys_are_shown(db, page):
    """By their rows' IDs, with the refused ones; at first there are none."""
    ids = {key: str(db.add_key(key, active=key != "off")) for key in ("busy", "off", "quiet")}
    browser = page()
    assert browser.run(BUSIEST)["keys"] == []
    for key, times in (("quiet", 1), ("busy", 1234), ("off", 7), ("none", 20)):
        for _ in range(times):
            check(page.daemon.client(), key)
    flush(page.daemon)
    wait_until(lambda: browser.run(BUSIEST)["keys"], "the keys")
    found = browser.run(BUSIEST)
    assert found["keys"] == [[ids["busy"], "1,234"], [ids["off"], "7"], [ids["quiet"], "1"]]
    assert found["note"].endswith("until the last flush.")
    assert browser.complaints() == []


# For each chart its name, its lines' paths, the last figures told, and how many gaps and events are marked.
CHARTS = """return [...document.querySelectorAll(".plot")].map((plot) => ({
    name: plot.getAttribute("aria-label"), paths: [...plot.querySelectorAll("path")].map((e) => e.getAttribute("d")),
    titles: [...plot.querySelectorAll("title")].map((e) => e.textContent), told: [...plot.parentElement.querySelectorAll("b")].map((e) => e.textContent),
    gaps: plot.querySelectorAll(".gap").length, marks: plot.querySelectorAll(".target").length}))"""


def test_the_history_is_plotted(db, page):
    db.add_key("good")
    has_heard_of(page.daemon, 1)  # so its lag is in the sample too
    for _ in range(50):
        check(page.daemon.client(), "good")
    wait_until(lambda: sum(n or 0 for n in status_of(page)["history"]["allow"]) == 50, "a sample")
    browser = page()
    charts = browser.run(CHARTS)
    assert [chart["name"].split(",")[0] for chart in charts] == [
        "Checks per second", "Answer times", "Checks answered from memory", "Revocation lag", "Usage pending"]
    for chart in charts:
        assert chart["paths"][0].startswith("M"), chart
    assert charts[4]["told"] == ["1"] and "to 1;" in charts[4]["name"]
    rates, _, ratio, *_ = browser.run("""latest.history.covered_us = [1e7, null, null, 2e7, 1e7];
        for (const name of ["allow", "from_memory"]) latest.history[name] = [70, null, null, 80, 0];
        for (const name of ["deny_unknown", "deny_inactive", "unavailable"])
            latest.history[name] = [10, null, null, 0, 0];
        for (const name of ["deny_expired", "deny_early"]) latest.history[name] = [0, null, null, 0, 0];
        latest.history.since = new Date(Date.parse(latest.at) - 50000).toISOString();
        latest.events = [{at: latest.at, level: "warning", text: "w"}, {at: latest.at, level: "info", text: "i"}];
        showHistory(latest);""" + CHARTS)
    # 7/s and, after a gap, 80 in 20 s: 4/s; then none, which is known.
    assert rates["told"] == ["0"] * 4 and "ALLOW from 0 to 7; DENY unknown from 0 to 1" in rates["name"]
    assert rates["paths"][0].count("M") == 2 and rates["paths"][0].count("H") == 3
    assert rates["paths"][0].endswith("V100.0H1000.0")
    assert ratio["told"] == ["–"] and "from 70 % to 100 %" in ratio["name"], "no check, no ratio"
    assert browser.run("point(1e-6); return document.getElementById('span').textContent").startswith("At ")
    assert browser.run(CHARTS)[0]["told"] == ["–"] * 4, "the daemon had not started yet"
    assert (rates["gaps"], rates["marks"]) == (2, 1) and rates["titles"][0].endswith("warning: w")
    assert browser.complaints() == []


def test_a_stopped_redis_shows_as_down(redis_server, page):
    browser = page(dark=True)
    before = browser.run(CHARTS)[0]["marks"]
    redis_server.stop()
    wait_until(lambda: browser.run(SHOWN)["redis.state"][1] == "down", "the page to tell")
    assert status_of(page)["redis"]["state"] == "down"
    wait_until(lambda: all(chart["marks"] > before for chart in browser.run(CHARTS)), "the event to be marked")
    assert "Redis is down" in browser.run("return document.getElementById('trouble').textContent")
    assert browser.run("return document.querySelector('[data-value=\"redis.state\"]').className") == "bad"
    assert browser.run("return document.title") == "apikeyd: degraded"


def status_of(page):
    return json.loads(page.daemon.admin_client().execute_command("STATUS"))


def test_a_daemon_that_is_gone_shows(page):
    browser = page()
    page.daemon.stop()
    wait_until(lambda: "No answer" in browser.run(
        "return document.getElementById('trouble').textContent"), "the page to tell")
    page.daemon.start()
    wait_until(lambda: browser.run("return document.getElementById('trouble').hidden"), "its return")


@pytest.mark.parametrize("dark", [False, True])
def test_readable_on_a_phone(page, dark):
    browser = page(width=390, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    light = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(18, 22, 28)") == dark


def test_behind_nginx_on_a_unix_socket(scratch, start, page):
    """Under a path of nginx's, as docs/operations.md shows."""
    daemon = start()
    folder = scratch / f"nginx-{daemon.folder.name}"
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"{'user root; ' if os.geteuid() == 0 else ''}daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; server {{ listen 127.0.0.1:{port};\n"
        f"location /apikeyd/ {{ proxy_pass http://unix:{daemon.metrics}:/; }} }} }}\n")
    process = Process(["nginx", "-c", folder / "nginx.conf", "-p", folder], folder / "log")
    try:
        browser = page(f"http://127.0.0.1:{port}/apikeyd/")
        assert browser.run(SHOWN)["process.connections_limit"][0] == \
            status(daemon)["process"]["connections_limit"]
        assert browser.complaints() == []
    finally:
        process.stop()
    assert accepts(daemon.metrics)
