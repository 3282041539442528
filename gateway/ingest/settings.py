"""Whether other programs may send rows, and how many tables they may make: ``ingest:``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from gateway.driver import Settings
from gateway.ingest.declared import SentDeviceConfig


class GrpcTlsConfig(Settings):
    """``ingest.grpc.tls:``."""

    certificate_file: Path = Field(
        strict=False,
        description="PEM file with the certificate, and those that lead to its CA after it. "
        "A renewed file is taken without a restart.",
    )
    key_file: Path = Field(strict=False, description="PEM file with its key, without a password.")
    client_ca_file: Path | None = Field(
        None,
        strict=False,
        description="PEM file with the CA of clients: each has to show a certificate of it, and "
        "then needs no token. Left out: clients need a token.",
    )


class GrpcConfig(Settings):
    """``ingest.grpc:``, the service of `proto/telemetry.proto`."""

    listen: str = Field(description="TCP address as host:port, e.g. 127.0.0.1:50051 or [::]:50051.")
    tls: GrpcTlsConfig | None = Field(
        None, description="TLS; required where `listen` is not loopback."
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        listen_address(value)
        return value

    @model_validator(mode="after")
    def _check_tls(self) -> GrpcConfig:
        host, _ = listen_address(self.listen)
        if self.tls is None and host not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(
                f"listen: '{self.listen}' can be reached from other machines and needs tls, or "
                "tokens go over the wire in clear; or listen on 127.0.0.1"
            )
        return self


class IngestConfig(Settings):
    """``ingest:``, rows from other programs."""

    http: bool = Field(
        False,
        description="Take rows by POST /v1/ingest, /api/v2/write and /write, on the addresses of "
        "`api`: line protocol, JSON rows, and what collectd sends.",
    )
    grpc: GrpcConfig | None = Field(None, description="Take rows by gRPC, too.")
    max_tables: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="Most tables that senders may make: combinations of device, table, labels and "
        "columns. Each costs memory until the next start.",
    )
    max_columns: int = Field(
        1000, ge=1, le=10_000, description="Most columns of a table that a sender makes."
    )
    devices: dict[str, SentDeviceConfig] = Field(
        default_factory=dict,
        description="Devices of other programs whose tags alarm rules and operating states may "
        "name. What is not said here is taken all the same.",
    )

    @property
    def is_on(self) -> bool:
        """Whether any rows may come."""
        return self.http or self.grpc is not None


def listen_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``. ValueError where it is none."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_v6 = ":" in bare
    if (
        not colon
        or not bare
        or not (port.isascii() and port.isdigit())
        or not 0 < int(port) < 65536
        or is_v6 != host.startswith("[")
    ):
        raise ValueError(f"'{text}' is not an address; expected e.g. 127.0.0.1:50051")
    return bare, int(port)
