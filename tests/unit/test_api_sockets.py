"""The listening sockets: what they replace, what they leave alone, what goes wrong in words."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.api.client import Client, NotRunning
from gateway.api.settings import ApiConfig
from gateway.api.sockets import Listeners, inherited_sockets
from gateway.errors import GatewayError
from tests.support import ROOT, free_port
from tests.unit.apikit import Served, ask, served, unix_connection
from tests.unit.tokenkit import guarded


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    config = ApiConfig(socket=tmp_path / "gw.sock", listen=f"127.0.0.1:{free_port()}")
    with served(config) as running:
        yield running


def test_it_serves_the_unix_socket_and_tcp_and_says_where(api: Served) -> None:
    assert api.server.endpoints == [str(api.api.socket), f"http://{api.api.listen}"]
    assert api.client.get_json("/healthz") == api.tcp.get_json("/healthz") == {"alive": True}


def test_without_listen_there_is_no_tcp(tmp_path: Path) -> None:
    with served(ApiConfig(socket=tmp_path / "s")) as running:
        assert running.server.endpoints == [str(tmp_path / "s")]


def test_ipv6_loopback_and_names_can_be_listened_on(tmp_path: Path) -> None:
    port = free_port()
    with served(ApiConfig(socket=tmp_path / "s", listen=f"localhost:{port}")):
        assert ask(f"127.0.0.1:{port}", "/v1/status")[0] == 200
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        with served(ApiConfig(socket=tmp_path / "s", listen=f"[::1]:{port}")):
            assert ask(f"[::1]:{port}", "/v1/status")[0] == 200


def test_the_socket_is_for_owner_and_group_only_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o077):
        before = os.umask(umask)
        try:
            with served(ApiConfig(socket=tmp_path / "s")):
                assert stat.S_IMODE((tmp_path / "s").lstat().st_mode) == 0o660
        finally:
            os.umask(before)


def test_the_socket_is_gone_after_the_end(tmp_path: Path) -> None:
    with served(ApiConfig(socket=tmp_path / "s")) as running:
        assert running.api.socket.exists()
    assert not running.api.socket.exists()
    with pytest.raises(NotRunning):
        running.client.get_json("/healthz")


def test_a_socket_that_a_killed_gateway_left_is_taken_over(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.listen()
    left.close()
    with served(ApiConfig(socket=tmp_path / "s")) as running:
        assert running.client.get_json("/healthz")


def test_a_socket_that_somebody_serves_is_left_to_them(tmp_path: Path) -> None:
    api = ApiConfig(socket=tmp_path / "s")
    with served(api) as first:
        with pytest.raises(GatewayError, match="another gateway answers there"), served(api):
            pass
        assert first.client.get_json("/healthz")


def test_a_socket_whose_queue_is_full_counts_as_served(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(socket.socket(socket.AF_UNIX)) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with unix_connection(path), pytest.raises(GatewayError, match="another gateway answers"):
            Listeners(ApiConfig(socket=path))
    assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_not_a_socket_is_never_deleted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GatewayError, match="exists and is not a socket"):
        Listeners(ApiConfig(socket=path))
    assert os.path.lexists(path)


def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = Listeners(ApiConfig(socket=path))
    path.rename(tmp_path / "old")
    second = Listeners(ApiConfig(socket=path))
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_an_address_in_use_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        at = f"127.0.0.1:{other.getsockname()[1]}"
        api = ApiConfig(socket=tmp_path / "s", listen=at)
        with pytest.raises(GatewayError) as caught, served(api):
            pass
    assert str(caught.value).startswith(f"api.listen {at}: in use by another program")
    assert not (tmp_path / "s").exists()


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    api = guarded(tmp_path, "192.0.2.1:8080")
    with pytest.raises(GatewayError, match=r"192\.0\.2\.1:8080: no address of this machine"):
        Listeners(api)


def test_a_socket_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="there is no folder"):
        Listeners(ApiConfig(socket=tmp_path / "none" / "s"))
    with pytest.raises(GatewayError, match="at most 107 bytes"):
        Listeners(ApiConfig(socket=tmp_path / ("x" * 120)))
    with pytest.raises(GatewayError, match=r"api.socket /proc/s: "):
        Listeners(ApiConfig(socket=Path("/proc/s")))


def test_sockets_from_systemd_are_served_and_not_removed(tmp_path: Path) -> None:
    """A process is started as systemd does it: descriptors from 3 on, named by variables."""
    path = tmp_path / "activated"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(path))
    given.listen()
    script = (
        "import os, sys\n"
        f"os.dup2({given.fileno()}, 3)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
        "from gateway.api.settings import ApiConfig\n"
        "from gateway.api.sockets import inherited_sockets\n"
        "from tests.unit.apikit import served\n"
        "from pathlib import Path\n"
        f"with served(ApiConfig(socket=Path({str(tmp_path / 'unused')!r}))) as running:\n"
        "    print(running.server.endpoints, flush=True)\n"
        "    sys.stdin.read()\n"
        "print(inherited_sockets(), 'LISTEN_FDS' in os.environ)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        pass_fds=[given.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"['{path}']\n"
        given.close()
        assert Client(path).get_json("/healthz") == {"alive": True}
        assert process.communicate("", timeout=20)[0] == "[] False\n"
    assert path.exists()
    assert not (tmp_path / "unused").exists()


def test_sockets_of_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "2")
    assert inherited_sockets() == []


def test_a_socket_unit_may_not_open_the_app_to_the_network_unguarded(tmp_path: Path) -> None:
    given = socket.socket()
    given.bind(("0.0.0.0", 0))
    given.listen()
    with pytest.raises(GatewayError, match=r"set api\.tokens_file"):
        Listeners(ApiConfig(socket=tmp_path / "s"), [given])
    assert given.fileno() == -1
