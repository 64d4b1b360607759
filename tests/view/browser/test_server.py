"""The page is this machine's alone, or asks for a token; nothing of it is left behind."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from mimickit_hydra import api
from mimickit_hydra.errors import UserError
from mimickit_hydra.view.browser.gate import Gate
from mimickit_hydra.view.browser.server import Server


def _get(port: int, path: str = "/", **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.getheader("Set-Cookie") or "", answer.read()
    connection.close()
    return found


def test_a_server_ends_with_its_threads_and_its_port() -> None:
    before = set(threading.enumerate())
    with Server(port=18080) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert not server.watched()
        assert _get(server.port)[0] == 200
        with Server(port=server.port) as other:  # a second viewer takes the next port
            assert other.port > server.port
    assert set(threading.enumerate()) <= before
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_others_than_this_machine_need_the_token() -> None:
    before = set(threading.enumerate())
    with Server(host="0.0.0.0", port=18180) as server:
        assert "token=" in server.url
        inner = int(server.viser.get_port())
        assert server.viser.get_host() == "127.0.0.1"
        assert inner != server.port
        assert _get(server.port)[0] == 403
        assert _get(server.port, "/?token=wrong")[0] == 403
        assert _get(server.port, Cookie="mimickit_view=wrong")[0] == 403
        status, cookie, _ = _get(server.port, "/?" + urlsplit(server.url).query)
        assert status == 303
        status, _, page = _get(server.port, Cookie=cookie.partition(";")[0])
        assert status == 200
        assert b"<html" in page
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
    assert set(threading.enumerate()) <= before


def test_a_gate_does_not_fall_over_whatever_comes() -> None:
    gate = Gate("127.0.0.1", 0, 1)
    try:
        for sent in (b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 40000, b"GET / HTTP/1.1\r\nCookie: x\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", gate.port), timeout=20) as guest, contextlib.suppress(OSError):
                guest.sendall(sent)  # which the gate need not read to its end
                guest.shutdown(socket.SHUT_WR)
                guest.recv(100)
        assert _get(gate.port)[0] == 403
    finally:
        gate.close()


def test_a_host_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^view: cannot listen to 192\.0\.2\.1:8080 \("):
        Server(host="192.0.2.1")


def test_without_viser_it_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    line = r"^visualize=true: not installed \(no module viser\): pip install 'mimickit-hydra\[view\]'$"
    with pytest.raises(UserError, match=line):
        api.compose(["visualize=true"])
    api.compose([])


def test_a_run_that_nobody_watches_imports_no_viewer() -> None:
    code = (
        "import sys\n"
        "from mimickit_hydra import api\n"
        "run = api.compose(['engine=mujoco', 'devices=[cpu]', 'num_envs=2'])\n"
        "import mimickit_hydra.cli.train, mimickit_hydra.training.run, mimickit_hydra.training.evaluate\n"
        "api.build(run).close()\n"
        "print([name for name in sys.modules if 'viser' in name or 'view.browser' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
