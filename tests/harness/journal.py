"""Run a program with a journal of its own: unshare -m python3 journal.py FOLDER PROGRAM …

In a mount namespace that only it is in, so that nothing of the machine's is touched. Each entry goes to
FOLDER/entries as a JSON object. Ends when the program does, with its status."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading


def fields(entry):
    """The native protocol, without binary fields: NAME=value, a line each."""
    return dict(line.split("=", 1) for line in entry.decode().splitlines() if "=" in line)


def receive(journal, path):
    with open(path, "a", buffering=1, encoding="utf-8") as entries:
        while entry := journal.recv(65536):
            entries.write(json.dumps(fields(entry)) + "\n")


def main():
    folder, *program = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.makedirs("/run/systemd/journal")
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind("/run/systemd/journal/socket")
    threading.Thread(target=receive, args=(journal, folder + "/entries"), daemon=True).start()
    child = subprocess.Popen(program)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    sys.exit(child.wait())


if __name__ == "__main__":
    main()
