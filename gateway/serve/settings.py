"""The file of `gateway serve`: Redis and the database, which gateways, and who may look."""

from __future__ import annotations

import re
import socket
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from gateway.api.settings import ApiConfig
from gateway.driver import Settings
from gateway.sinks.postgres.settings import PostgresConfig
from gateway.sinks.redis.client import RedisServer


class ServeApi(ApiConfig):
    """``api:``, as a gateway's."""

    socket: Path = Field(
        Path("/run/gateway-serve.sock"), strict=False, description="Unix socket (mode 0660)."
    )
    session_key_file: Path | None = Field(
        None,
        strict=False,
        description="File of 32 bytes or more, the same on all nodes: who has signed in at one is "
        "known at all. Left out: sessions are of one node.",
    )


class HistoryConfig(PostgresConfig):
    """``history:``, as a sink of type postgres; it is only read."""

    type: str = Field("postgres", pattern="^postgres$", description="postgres")


class ServeFile(Settings):
    """The file of `gateway serve`."""

    name: str | None = Field(
        None,
        min_length=1,
        max_length=59,
        description="This node's name, for people; left out: the machine's.",
    )
    redis: RedisServer = Field(description="Where the gateways' sinks of type redis write to.")
    history: HistoryConfig | None = Field(
        None, description="The database of `gateway writer`; left out: there is no history."
    )
    gateways: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1)
    ] = Field(
        default=["*"], description="Names of gateways that are shown; * stands for any characters."
    )
    poll_s: float = Field(
        0.5, ge=0.1, le=60, description="So often Redis is asked for newer rows, in seconds."
    )
    find_every_s: float = Field(
        5.0, ge=0.1, le=3600, description="So often new tables are looked for, in seconds."
    )
    api: ServeApi = Field(
        default_factory=lambda: ServeApi.model_validate({}),
        description="Where the page and the API are.",
    )

    @property
    def node(self) -> str:
        """This node's name."""
        return self.name or re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())[:59]

    def shows(self, gateway: str) -> bool:
        """Whether a gateway is shown."""
        return any(fnmatchcase(gateway, pattern) for pattern in self.gateways)
