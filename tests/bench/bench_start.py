"""./dev bench start [ROUNDS]: from exec to the first answer, against redis-server.

The daemon has room for a million verdicts; PostgreSQL is there. The first answer is that to a PING."""

import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import ROUNDS, Report, Stack  # noqa: E402
from harness.servers import BUILD  # noqa: E402


def first_answer(argv, path):
    """Milliseconds until the program on this socket answers."""
    path.unlink(missing_ok=True)
    begin = time.monotonic()
    with subprocess.Popen([str(word) for word in argv], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as child:
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                    probe.sendall(b"PING\r\n")
                    if probe.recv(100).startswith(b"+PONG"):
                        took = time.monotonic() - begin
                        child.terminate()
                        return took * 1000
                except OSError:
                    time.sleep(0.0002)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2 * ROUNDS
    with Stack() as stack:
        daemon = stack.daemon(cache_memory="64MiB")
        daemon.stop()
        redis_socket = stack.folder / "other.sock"
        programs = {
            "apikeyd": ([BUILD / "apikeyd", "-c", daemon.config], daemon.check),
            "redis": (["redis-server", "--port", "0", "--unixsocket", redis_socket, "--save", "",
                       "--dir", stack.folder], redis_socket),
        }
        report = Report("start (ms from exec to the first answer)", rounds)
        for _ in range(rounds):
            for name, (argv, path) in programs.items():
                report.add(name, first_answer(argv, path))
    report.print("{:.1f}")
    report.judge("apikeyd", "redis", 1.0, least=False)
    report.save()


if __name__ == "__main__":
    main()
