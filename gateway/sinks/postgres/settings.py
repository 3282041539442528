"""Settings of a sink of type ``postgres``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from gateway.driver import HostName
from gateway.secretfiles import PasswordCredential, PasswordFile, one_of
from gateway.sinks import SinkConfig

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")


class PostgresConfig(SinkConfig):
    """A sink of type ``postgres``."""

    host: HostName = Field("localhost", description="Name or IP address of the server.")
    port: int = Field(5432, ge=1, le=65535, description="Its TCP port.")
    database: str = Field(min_length=1, max_length=63, description="Database; it must exist.")
    schema_: str = Field(
        "gateway",
        alias="schema",
        description="Schema that holds the tables; `gateway db` makes it.",
    )
    user: str = Field(min_length=1, max_length=63, description="Role to connect as.")
    password_file: PasswordFile = None
    password_credential: PasswordCredential = None
    tls: Literal["off", "prefer", "require", "verify-full"] = Field(
        "prefer", description="As libpq's sslmode; verify-full also checks who the server is."
    )
    ca_file: Path | None = Field(
        None, strict=False, description="Certificates that the server's must be signed by."
    )
    timeout_s: float = Field(
        30.0, ge=1, le=300, description="Longest wait for one batch or connection, in seconds."
    )
    retention_days: int = Field(
        0, ge=0, le=36_500, description="Drop values older than this; 0: keep them."
    )
    partition_days: int = Field(
        7,
        ge=1,
        le=366,
        description="Width of a partition; read when `gateway db` makes the tables.",
    )
    compress_after_days: int = Field(
        7, ge=0, le=3650, description="TimescaleDB: compress what is older than this; 0: never."
    )
    gzip: bool = Field(True, description="Compress what is spooled.")

    @field_validator("schema_")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or value.startswith("pg_"):
            raise ValueError(
                f"'{value}' is no name for a schema; expected small letters, digits and _"
            )
        return value

    @model_validator(mode="after")
    def _one_password(self) -> PostgresConfig:
        one_of(self, "password_file", "password_credential")
        if self.ca_file is not None and self.tls in ("off", "prefer", "require"):
            raise ValueError(f"ca_file is not looked at with tls: {self.tls}; expected verify-full")
        return self

    @property
    def url(self) -> str:
        """Where it goes, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{host}:{self.port}/{self.database}"
