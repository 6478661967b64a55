"""Files of sockets that somebody removes or replaces while the daemon runs: cleaners of /run and /tmp, an rm."""

import contextlib
import grp
import os
import socket

import pytest
from conftest import check, info
from harness.activation import hand_over
from harness.servers import accepts, wait_until
from http_wire import HttpWire
from wire import Wire

pytestmark = pytest.mark.slow


def answers_anew(path):
    """Whether a new connection is answered, by whatever protocol is spoken there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        try:
            client.connect(str(path))
        except OSError:
            return False
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return client.recv(100) != b""


@contextlib.contextmanager
def somebody_elses(path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        yield


def test_a_socket_that_is_removed_is_bound_again(db, start):
    db.add_key("good")
    daemon = start({"listen.check_mode": "0606"}, wait=False)
    http = daemon.folder / "http.sock"
    daemon.options["listen.http"] = http
    daemon.start()
    with Wire(daemon.check) as old, Wire(daemon.admin) as operator, HttpWire(http) as page:
        assert old.ask("PING") == operator.ask("PING") == b"PONG"
        modes = [path.stat().st_mode for path in (daemon.check, daemon.admin, http)]
        for path in (daemon.check, daemon.admin, http):
            path.unlink()
        for path in (daemon.check, daemon.admin, http):
            wait_until(lambda p=path: answers_anew(p), "the socket to be there again")
        assert [path.stat().st_mode for path in (daemon.check, daemon.admin, http)] == modes
        # Connections of before live on.
        assert old.ask("PING") == operator.ask("PING") == b"PONG"
        assert page.authorize("good").status == 200
    assert check(daemon.client(), "good")[0] == "ALLOW"
    counts = info(daemon)
    assert counts["sockets_rebound"] == 3 and counts["sockets_lost"] == 0
    assert daemon.log().count("was removed; the daemon has bound it again") == 3
    assert daemon.stop() == 0
    assert not daemon.check.exists() and not daemon.admin.exists() and not http.exists()


def test_somebody_elses_file_is_left_alone(start):
    daemon = start()
    daemon.check.unlink()
    with somebody_elses(daemon.check):
        wait_until(lambda: info(daemon)["sockets_lost"] == 1, "the other file to be seen")
        assert "is another file now, which is left alone" in daemon.log()
        daemon.check.unlink()
        wait_until(lambda: answers_anew(daemon.check), "the socket to be there again")
        daemon.check.unlink()
    with somebody_elses(daemon.check):
        wait_until(lambda: info(daemon)["sockets_lost"] == 1, "the other file to be seen")
        assert daemon.stop() == 0
        assert accepts(daemon.check), "not removed at the end either"
    daemon.check.unlink()


def test_a_folder_that_is_removed(start, scratch, db):
    daemon = start(wait=False)
    folder = scratch / f"{db.name}.run"
    folder.mkdir()
    daemon.check = daemon.options["listen.check"] = folder / "check.sock"
    daemon.start()
    daemon.check.unlink()
    folder.rmdir()
    wait_until(lambda: info(daemon)["sockets_lost"] == 1, "that to be seen")
    assert "cannot be bound again" in daemon.log()
    folder.mkdir()
    wait_until(lambda: answers_anew(daemon.check), "the socket to be there again")
    assert info(daemon)["sockets_lost"] == 0


def test_a_group_that_cannot_be_given_is_told_with_what_it_takes(start):
    """The unit's filter takes chown away, which the release tests run under; elsewhere it is given."""
    daemon = start({"listen.check_group": "daemon"}, wait=False)
    if "confined.py" in " ".join(map(str, daemon.runner)):
        with pytest.raises(RuntimeError, match="Operation not permitted; .* SystemCallFilter=@chown"):
            daemon.start()
        daemon.process = None
    elif os.geteuid() == 0:
        daemon.start()
        assert daemon.check.stat().st_gid == grp.getgrnam("daemon").gr_gid
    else:
        pytest.skip("needs a group to give")


def test_a_group_that_the_file_has_already_needs_no_right(start):
    """Not even that to chown, which the unit's filter takes away."""
    daemon = start({"listen.check_group": grp.getgrgid(os.getegid()).gr_name})
    assert daemon.check.stat().st_gid == os.getegid()


def test_options_that_a_socket_unit_overrides_are_told(start):
    daemon = start({"listen.check_group": "daemon", "listen.check_mode": "0600"}, wait=False)
    daemon.write_config()
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(daemon.check))
        os.chmod(daemon.check, 0o666)
        handed.listen()
        daemon.process = hand_over(daemon, {"check": handed})
        wait_until(lambda: accepts(daemon.admin), "the daemon")
        log = daemon.log()
        assert 'socket activation: "check": listen.check_group daemon is not used' in log and "SocketGroup=" in log
        assert "listen.check_mode 0600 is not used" in log and "has mode 0666; set SocketMode=" in log
        assert '"admin"' not in log
        assert daemon.stop() == 0


def test_sockets_of_systemd_are_told_of(start):
    daemon = start(wait=False)
    daemon.write_config()
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(daemon.check))
        handed.listen()
        daemon.process = hand_over(daemon, {"check": handed})
        wait_until(lambda: accepts(daemon.admin), "the daemon")
        os.rename(daemon.check, f"{daemon.check}.away")
        wait_until(lambda: info(daemon)["sockets_lost"] == 1, "that to be seen")
        assert "stop the daemon with its socket units" in daemon.log()
        os.rename(f"{daemon.check}.away", daemon.check)
        wait_until(lambda: info(daemon)["sockets_lost"] == 0, "that to be seen")
        assert info(daemon)["sockets_rebound"] == 0 and f"{daemon.check} is back" in daemon.log()
        assert daemon.stop() == 0
    assert daemon.check.exists()
