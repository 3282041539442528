"""Where the HTTP app listens and who may ask: the ``api:`` section of the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gateway.api.address import Address, parse_listen
from gateway.driver import Settings

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class TlsConfig(Settings):
    """``api.tls:``, HTTPS on the TCP address; the Unix socket needs none."""

    certificate_file: Path = Field(
        strict=False,
        description="PEM file with the certificate, and those that lead to its CA after it. "
        "A renewed file is taken within a minute, without a restart.",
    )
    key_file: Path = Field(strict=False, description="PEM file with its key, without a password.")
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest version of TLS.")
    hsts_s: Annotated[int, Field(ge=0, le=63_072_000)] = Field(
        86_400,
        description="For so many seconds browsers use nothing but HTTPS for this host, on all its "
        "ports (HSTS). 0: not asked for.",
    )


class ApiConfig(Settings):
    """The ``api:`` section."""

    socket: Path = Field(
        Path("/run/gateway.sock"),
        strict=False,
        description="Unix socket of the HTTP app, for the CLI and local tools (mode 0660).",
    )
    listen: str | None = Field(
        None,
        description="TCP address as host:port, e.g. 127.0.0.1:8080 or [::1]:8080. "
        "Left out: only the Unix socket.",
    )
    tokens_file: Path | None = Field(
        None,
        strict=False,
        description="File with the hashes of tokens, by `gateway token add`. Clients on TCP send "
        "one as `Authorization: Bearer TOKEN`. Required where `listen` is not loopback.",
    )
    loopback_open: bool = Field(
        True,
        description="Whether anybody on this machine may look without a token. false: behind a "
        "proxy, which makes all the world seem to be this machine.",
    )
    hosts: list[str] = Field(
        default_factory=list,
        description="Further names of this machine by which browsers may ask, without port, e.g. "
        "hall-3.plant.example.",
    )
    tls: TlsConfig | None = Field(None, description="HTTPS instead of HTTP on `listen`.")

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str | None) -> str | None:
        if value is not None:
            parse_listen(value)
        return value

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _HOST.fullmatch(name):
                raise ValueError(f"'{name}' is not a name; expected e.g. hall-3.plant.example")
        return value

    @model_validator(mode="after")
    def _check_token(self) -> ApiConfig:
        address = self.address
        if address is not None and not address.is_loopback and self.tokens_file is None:
            raise ValueError(
                f"listen: '{self.listen}' can be reached from other machines and "
                "needs a tokens_file; or listen on 127.0.0.1"
            )
        return self

    @property
    def address(self) -> Address | None:
        """Where to listen on TCP, None for not at all."""
        return None if self.listen is None else parse_listen(self.listen)
