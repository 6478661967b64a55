"""What operators look with: an HTTP client for the metrics listener, Prometheus, a browser."""

import http.client
import json
import os
import socket
import urllib.error
import urllib.request

import yaml
from harness.gateways import EXAMPLES, free_port
from harness.servers import Process, wait_until


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("apikeyd", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def fetch(daemon, page, method="GET"):
    """The metrics listener's answer: (status, headers, text)."""
    connection = UnixConnection(daemon.metrics)
    try:
        connection.request(method, page)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def status(daemon):
    return json.loads(fetch(daemon, "/status.json")[2])


def samples(text):
    """An exposition as {series: value}."""
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines() if not line.startswith("#")}


def metrics(daemon):
    return samples(fetch(daemon, "/metrics")[2])


class Prometheus:
    """With the example configuration, but for ports, and times cut short."""

    def __init__(self, folder, target):
        folder.mkdir()
        self.port = free_port()
        config = yaml.safe_load((EXAMPLES / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        job = config["scrape_configs"][0]["static_configs"][0]
        assert job["targets"] == ["127.0.0.1:9464"]
        job["targets"] = [target]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        rules = yaml.safe_load((EXAMPLES / "prometheus" / "alerts.yml").read_text())
        for rule in rules["groups"][0]["rules"]:
            rule["for"] = "1s"
        (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
        self.process = Process(
            ["prometheus", f"--config.file={folder}/prometheus.yml",
             f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}"],
            folder / "log", env={**os.environ, "HOME": str(folder)})
        wait_until(lambda: self.died() or self.ready(), "Prometheus")
        if self.died():
            raise RuntimeError(self.process.log())

    def died(self):
        return self.process.child.poll() is not None

    def ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5)
        except OSError:
            return None

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}",
                                        timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read()) from error

    def query(self, expression):
        found = self.ask("query?" + urllib.parse.urlencode({"query": expression}))
        return {json.dumps(one["metric"], sort_keys=True): float(one["value"][1])
                for one in found["result"]}

    def firing(self):
        return {one["labels"]["alertname"] for one in self.ask("alerts")["alerts"]
                if one["state"] == "firing"}

    def stop(self):
        self.process.stop()


class Browser:
    """Headless Chromium, looking at one page."""

    def __init__(self, folder, url, width=1100, dark=False):
        # Debian's, and only where it is needed: the sanitizer rounds do without.
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         f"--user-data-dir={folder}/profile"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.driver.set_window_size(width, 1400)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.driver.get(url)

    def run(self, script):
        return self.driver.execute_script(script)

    def complaints(self):
        return [line for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]

    def stop(self):
        self.driver.quit()
