"""HTTPS on TCP, plain on the Unix socket, and a certificate that is renewed while it runs."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from gateway.api import tls
from gateway.api.settings import ApiConfig, TlsConfig
from gateway.api.tls import load_context
from gateway.errors import GatewayError
from tests.support import free_port, need_program, until
from tests.unit.apikit import Served, served
from tests.unit.tokenkit import listen


def make_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for localhost and 127.0.0.1 that signs itself, with its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    kind = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    command = f"req -x509 {kind} -days 2 -subj /CN={name}"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    openssl = need_program("openssl", "openssl")
    subprocess.run([openssl, *command.split(), *names, *files], check=True, capture_output=True)
    key.chmod(0o600)
    return certificate, key


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_pair(folder, name) for name in ("first", "second")}


def config_of(folder: Path, version: str = "1.2", hsts_s: int = 86_400) -> TlsConfig:
    return TlsConfig.model_validate(
        {
            "certificate_file": str(folder / "now.pem"),
            "key_file": str(folder / "now.key"),
            "min_version": version,
            "hsts_s": hsts_s,
        }
    )


def put(folder: Path, pair: tuple[Path, Path]) -> None:
    """As a renewal does it: one file after the other."""
    for source, name in zip(pair, ("now.pem", "now.key"), strict=True):
        made = shutil.copy(source, folder / "new")
        Path(made).replace(folder / name)
    (folder / "now.key").chmod(0o600)


@pytest.fixture
def api(
    tmp_path: Path, pairs: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setattr(tls, "LOOK_S", 0.05)
    put(tmp_path, pairs["first"])
    at = f"127.0.0.1:{free_port()}"
    config = ApiConfig(socket=tmp_path / "s", listen=at, tls=config_of(tmp_path))
    with served(config) as running:
        yield running


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def asked(at: str, context: ssl.SSLContext, name: str = "") -> tuple[int, dict[str, str]]:
    host, _, port = at.partition(":")
    connection = http.client.HTTPSConnection(name or host, int(port), timeout=5, context=context)
    try:
        connection.request("GET", "/v1/status")
        response = connection.getresponse()
        response.read()
        return response.status, {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


def test_tcp_is_https_and_the_unix_socket_is_not(
    api: Served, pairs: dict[str, tuple[Path, Path]]
) -> None:
    trusted = trusting(pairs["first"][0])
    for name in ("", "localhost"):
        status, headers = asked(listen(api), trusted, name)
        assert (status, headers["strict-transport-security"]) == (200, "max-age=86400")
    assert api.client.get_json("/healthz") == {"alive": True}
    assert f"https://{listen(api)}" in api.server.endpoints
    code = api.client.post_json("/v1/session/codes")
    assert code["url"] == f"https://{listen(api)}/"
    with pytest.raises(ssl.SSLCertVerificationError):
        asked(listen(api), ssl.create_default_context())


def test_plain_http_gets_no_answer_there(api: Served) -> None:
    host, _, port = listen(api).partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/" not in sock.recv(100)


def test_a_websocket_goes_through_it(api: Served, pairs: dict[str, tuple[Path, Path]]) -> None:
    uri = f"wss://{listen(api)}/ws/live"
    with connect(uri, ssl=trusting(pairs["first"][0]), close_timeout=2) as client:
        assert b"hello" in bytes(str(client.recv(5)), "utf-8")


def test_a_cookie_over_https_is_for_https_only(
    api: Served, pairs: dict[str, tuple[Path, Path]]
) -> None:
    code = api.client.post_json("/v1/session/codes")["code"]
    host, _, port = listen(api).partition(":")
    context = trusting(pairs["first"][0])
    connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=context)
    headers = {"Content-Type": "application/json", "Origin": f"https://{listen(api)}"}
    connection.request("POST", "/v1/session", json.dumps({"code": code}), headers)
    response = connection.getresponse()
    assert response.status == 200
    assert "Secure" in str(response.getheader("set-cookie"))
    connection.close()


def test_a_renewed_certificate_is_taken_and_half_a_renewal_is_not(
    api: Served,
    pairs: dict[str, tuple[Path, Path]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = (trusting(pairs[name][0]) for name in ("first", "second"))
    shutil.copy(pairs["second"][0], tmp_path / "now.pem")  # its key is not there yet
    until(lambda: "the old certificate stays" in caplog.text)
    for name in ("", "localhost"):
        assert asked(listen(api), first, name)[0] == 200
    put(tmp_path, pairs["second"])

    def is_new(name: str) -> bool:
        try:
            return asked(listen(api), second, name)[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    until(lambda: is_new("localhost"), what="the new certificate")
    assert is_new("")  # by its address, as most ask: without a server name
    with pytest.raises(ssl.SSLCertVerificationError):
        asked(listen(api), first)
    told = caplog.text.count("the old certificate stays")  # half a copy has words of its own
    (tmp_path / "now.key").unlink()
    until(lambda: caplog.text.count("the old certificate stays") > told)
    assert asked(listen(api), second)[0] == 200


def test_an_old_version_of_tls_is_refused(
    tmp_path: Path, pairs: dict[str, tuple[Path, Path]]
) -> None:
    put(tmp_path, pairs["first"])
    at = f"127.0.0.1:{free_port()}"
    config = config_of(tmp_path, "1.3", hsts_s=0)
    old = trusting(pairs["first"][0])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with served(ApiConfig(socket=tmp_path / "s", listen=at, tls=config)):
        with pytest.raises(ssl.SSLError):
            asked(at, old)
        status, headers = asked(at, trusting(pairs["first"][0]))
        assert status == 200
        assert "strict-transport-security" not in headers


def test_a_handshake_that_does_not_come_is_given_up(api: Served) -> None:
    host, _, port = listen(api).partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        assert sock.recv(1) == b""


def test_files_that_are_no_pair_are_named(
    tmp_path: Path, pairs: dict[str, tuple[Path, Path]]
) -> None:
    put(tmp_path, pairs["first"])
    config = config_of(tmp_path)
    key = tmp_path / "now.key"
    load_context(config)
    shutil.copy(pairs["second"][1], key)
    with pytest.raises(GatewayError, match=r"now\.key: not the key of .*now\.pem"):
        load_context(config)
    key.write_text("nonsense")
    with pytest.raises(GatewayError, match="expected PEM files, the key without a password"):
        load_context(config)
    encrypted = ["ec", "-in", str(pairs["first"][1]), "-aes256", "-passout", "pass:x"]
    openssl = need_program("openssl", "openssl")
    subprocess.run([openssl, *encrypted, "-out", str(key)], check=True, capture_output=True)
    with pytest.raises(GatewayError, match="the key without a password"):
        load_context(config)
    key.chmod(0o644)
    with pytest.raises(GatewayError, match="others may read or change it"):
        load_context(config)
    key.unlink()
    with pytest.raises(GatewayError, match=r"now\.key: No such file"):
        load_context(config)
