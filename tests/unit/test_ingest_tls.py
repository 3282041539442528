"""gRPC over TLS: by token, or by the client's certificate alone; a renewed one is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.ingest.client import Credentials, Sender
from gateway.ingest.settings import GrpcConfig, GrpcTlsConfig
from tests.support import until
from tests.unit.test_api_tls import make_pair
from tests.unit.test_ingest_rpc import a_row, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pairs")
    for name in ("gateway", "renewed", "box", "stranger"):
        make_pair(made, name)
    return made


def test_a_token_goes_over_tls(folder: Path) -> None:
    certificate, key = files(folder, "gateway")
    with serving(GrpcTlsConfig(certificate_file=certificate, key_file=key)) as (server, disk):
        good = Credentials("good", certificate)
        assert Sender(server.at, good).send(iter([[a_row(1)]])).rows == 1
        with pytest.raises(GatewayError, match="a wrong token"):
            Sender(server.at, Credentials("bad", certificate)).send(iter([[a_row(2)]]))
        with pytest.raises(GatewayError, match="given up"):
            Sender(server.at, Credentials("good"), 0.0).send(iter([[a_row(3)]]))
        assert len(disk.rows) == 1


def test_a_certificate_says_who_sends(folder: Path) -> None:
    certificate, key = files(folder, "gateway")
    own, own_key = files(folder, "box")
    tls = GrpcTlsConfig(certificate_file=certificate, key_file=key, client_ca_file=own)
    with serving(tls) as (server, disk):
        good = Credentials(None, certificate, own, own_key)
        assert Sender(server.at, good).send(iter([[a_row(1)]])).rows == 1
        assert list(server.line.intake.status()["senders"]) != ["a certificate"]
        for other in (Credentials("good", certificate),
                      Credentials("good", certificate, *files(folder, "stranger"))):  # fmt: skip
            with pytest.raises(GatewayError, match="given up"):
                Sender(server.at, other, 0.0).send(iter([[a_row(2)]]))
        assert len(disk.rows) == 1


def test_a_renewed_certificate_is_taken_without_a_restart(folder: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    put(files(folder, "gateway"), (certificate, key))
    with serving(GrpcTlsConfig(certificate_file=certificate, key_file=key)) as (server, _):
        old = Credentials("good", files(folder, "gateway")[0])
        new = Credentials("good", files(folder, "renewed")[0])
        assert Sender(server.at, old, 0.0).send(iter([[a_row(1)]])).rows == 1
        put(files(folder, "renewed"), (certificate, key))

        def is_taken() -> bool:
            try:
                return bool(Sender(server.at, new, 0.0).send(iter([[a_row(2)]])).rows)
            except GatewayError:
                return False

        until(is_taken)
        certificate.unlink()
        assert Sender(server.at, new, 0.0).send(iter([[a_row(3)]])).rows == 1, "the old one stays"


def test_an_address_that_others_reach_needs_tls(folder: Path) -> None:
    with pytest.raises(ValueError, match="can be reached from other machines and needs tls"):
        GrpcConfig(listen="0.0.0.0:5000")
    certificate, key = files(folder, "gateway")
    tls = GrpcTlsConfig(certificate_file=certificate, key_file=key)
    assert GrpcConfig(listen="[::]:5000", tls=tls).tls == tls


def files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"


def put(pair: tuple[Path, Path], at: tuple[Path, Path]) -> None:
    for source, target in zip(pair, at, strict=True):
        shutil.copy(source, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)
