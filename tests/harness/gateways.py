"""The gateways that docs/gateways.md is about, run with the files in config/examples.

Only paths and ports are put in the place of those in the files."""

import contextlib
import json
import os
import random
import shutil
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.servers import ROOT, Process, wait_until

EXAMPLES = ROOT / "config" / "examples"


guards = []


def free_port():
    """A TCP port of 127.0.0.1 that is this process's until it ends. It is none of those that the kernel
    gives to clients (32768 and up), which a connection may take at any time, and no other test run takes
    it, as long as a socket of its name is bound."""
    for port in random.sample(range(20000, 32768), 12768):
        guard = socket.socket(socket.AF_UNIX)
        try:
            guard.bind(f"\0apikeyd tests: port {port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            guard.close()
            continue
        guards.append(guard)
        return port
    raise RuntimeError("no port is free")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Gateways reset connections that they keep and do not need any more."""
        if not isinstance(sys.exc_info()[1], ConnectionResetError):
            super().handle_error(request, client_address)


class Application:
    """Answers with what it has seen of a request; at /fails with 500."""

    def __init__(self):
        self.requests = 0
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                application.requests += 1
                body = json.dumps([[k.lower(), v] for k, v in self.headers.items()]).encode()
                self.send_response(500 if self.path == "/fails" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_OPTIONS = do_GET

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def accepts(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False


class Gateway:
    """One of them, in front of the application. `cors`: with the lines that are for browsers."""

    def __init__(self, folder, apikeyd, application, check="", cors=False):
        self.folder = folder
        self.cors = cors
        self.port = free_port()
        self.places = {"/run/apikeyd/http.sock": str(apikeyd), "/run/apikeyd/check.sock": str(check),
                       ":8080": f":{self.port}", ":8000": f":{application}"}
        folder.mkdir()
        # What they would keep in somebody's home goes into the folder.
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        self.process = Process(self.prepare(), folder / "log", env={**os.environ, **home})
        wait_until(lambda: self.died() or accepts(self.port), type(self).__name__)
        if self.died():
            raise RuntimeError(f"{type(self).__name__} ended at start:\n{self.process.log()}")

    def place(self, example, text=None):
        """Write an example into the folder, with our places in it."""
        text = text or (EXAMPLES / example).read_text()
        if self.cors:
            text = text.replace("#cors ", "")
        for old, new in self.places.items():
            text = text.replace(old, new)
        path = self.folder / example.split("/")[-1]
        path.write_text(text)
        return path

    def died(self):
        return self.process.child.poll() is not None

    def stop(self):
        self.process.stop()


class Nginx(Gateway):
    example, modules, settings = "nginx/apikeyd.conf", (), ""

    def prepare(self):
        site = self.place(self.example)
        main = self.folder / "nginx.conf"
        temporary = "\n".join(f"{name}_temp_path {self.folder}/{name};" for name in
                              ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        modules = "".join(f"load_module /usr/lib/nginx/modules/{name}.so;\n" for name in self.modules)
        main.write_text(f"{modules}daemon off; master_process off; pid {self.folder}/pid;\n"
                        f"error_log stderr warn; events {{}}\n"
                        f"http {{ access_log off; {temporary} {self.settings} include {site}; }}\n")
        return [shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-p", self.folder, "-e", "stderr",
                "-c", main]


class NginxPlans(Nginx):
    example = "nginx/plans.conf"


class NginxLua(Nginx):
    example, modules = "nginx-lua/apikeyd.conf", ("ndk_http_module", "ngx_http_lua_module")

    def prepare(self):
        """Debian gives lua-resty-redis another name than its own."""
        (self.folder / "resty").mkdir()
        (self.folder / "resty" / "redis.lua").symlink_to("/usr/share/lua/5.1/nginx/redis.lua")
        self.settings = f'lua_package_path "{self.folder}/?.lua;;";'
        return super().prepare()


class Caddy(Gateway):
    def prepare(self):
        path = self.place("caddy/Caddyfile")
        path.write_text("{\n\tadmin off\n}\n" + path.read_text())
        return ["/usr/bin/caddy", "run", "--config", path, "--adapter", "caddyfile"]


class Haproxy(Gateway):
    def prepare(self):
        lua = self.place("haproxy/apikeyd.lua")
        self.places["/etc/haproxy/apikeyd.lua"] = str(lua)
        return ["/usr/sbin/haproxy", "-db", "-f", self.place("haproxy/haproxy.cfg")]


GATEWAYS = {"nginx": Nginx, "nginx-lua": NginxLua, "caddy": Caddy, "haproxy": Haproxy}
