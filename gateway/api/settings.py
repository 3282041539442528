"""Where the HTTP app listens and who may ask: the ``api:`` section of the configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from gateway.api.address import Address, parse_listen
from gateway.driver import Settings
from gateway.errors import GatewayError
from gateway.logs import hide

MIN_TOKEN_CHARS = 16
"""Shorter tokens can be guessed over a plant network."""


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
    token_file: Path | None = Field(
        None,
        strict=False,
        description="File with the token that clients on TCP must send as "
        "`Authorization: Bearer TOKEN`. Required where `listen` is not loopback; clients on "
        "this machine then need none.",
    )

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str | None) -> str | None:
        if value is not None:
            parse_listen(value)
        return value

    @model_validator(mode="after")
    def _check_token(self) -> ApiConfig:
        address = self.address
        if address is not None and not address.is_loopback and self.token_file is None:
            raise ValueError(
                f"listen: '{self.listen}' can be reached from other machines and "
                "needs a token_file; or listen on 127.0.0.1"
            )
        return self

    @property
    def address(self) -> Address | None:
        """Where to listen on TCP, None for not at all."""
        return None if self.listen is None else parse_listen(self.listen)

    def read_token(self) -> str | None:
        """The token, None where none is asked for. GatewayError where the file cannot be used."""
        if self.token_file is None:
            return None
        try:
            token = self.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise GatewayError(
                f"token_file {self.token_file}: {why}; expected a readable file with the token"
            ) from error
        if len(token) < MIN_TOKEN_CHARS or not token.isascii() or len(token.split()) != 1:
            raise GatewayError(
                f"token_file {self.token_file}: not a token; expected one word of at least "
                f"{MIN_TOKEN_CHARS} ASCII characters, e.g. from `openssl rand -hex 32`"
            )
        hide(token)
        return token
