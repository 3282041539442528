"""The file of `gateway writer`: which streams, as which consumer group, into which sink."""

from __future__ import annotations

import os
import re
import socket
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from gateway.api.settings import ApiConfig
from gateway.driver import Settings
from gateway.sinks import SinkConfig
from gateway.sinks.redis.client import RedisServer

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class BatchConfig(Settings):
    """``batch:``, how entries become batches."""

    max_rows: int = Field(
        5000, ge=1, le=100_000, description="Rows that make a batch before its time."
    )
    max_wait_s: float = Field(
        0.2, ge=0, le=60, description="Longest time that rows wait for their batch, in seconds."
    )


class DeadConfig(Settings):
    """``dead_letters:``, what the sink or the decoder refused for good."""

    max_entries: int = Field(
        100_000, ge=1, le=10_000_000, description="Most that are kept; then the oldest go, counted."
    )
    max_deliveries: int = Field(
        5,
        ge=2,
        le=1000,
        description="An entry that so many workers took up without an end is a dead letter.",
    )


class WriterApi(ApiConfig):
    """``api:``, as a gateway's."""

    socket: Path = Field(
        Path("/run/gateway-writer.sock"), strict=False, description="Unix socket (mode 0660)."
    )


class WriterFile(Settings):
    """The file of `gateway writer`."""

    redis: RedisServer = Field(description="Where the streams are.")
    streams: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=400)]], Field(min_length=1)
    ] = Field(
        default=["readings:*"],
        description="Names of streams; * stands for any characters. New ones are found by "
        "themselves.",
    )
    group: str = Field(
        pattern=NAME,
        description="Consumer group: its workers share the entries, each group gets all of them.",
    )
    worker: str | None = Field(
        None,
        pattern=NAME,
        description="This worker's name in its group; left out: of machine and process.",
    )
    sink: SinkConfig = Field(description="Where the rows go: as one of the gateway's `sinks:`.")
    batch: BatchConfig = Field(
        default_factory=partial(BatchConfig.model_validate, {}),
        description="How entries become batches.",
    )
    dead_letters: DeadConfig = Field(
        default_factory=partial(DeadConfig.model_validate, {}),
        description="What was refused for good.",
    )
    claim_after_s: float = Field(
        30.0,
        ge=1,
        le=86_400,
        description="Entries of a worker that gave no sign of life for so long are taken over.",
    )
    find_every_s: float = Field(
        5.0, ge=0.1, le=3600, description="So often new streams are looked for, in seconds."
    )
    shutdown_s: float = Field(
        20.0, ge=0, le=300, description="Longest time that a stop may take, in seconds."
    )
    state_dir: Path = Field(
        Path("/var/lib/edge-gateway-writer"),
        strict=False,
        description="Folder of a sink that has files of its own (sqlite).",
    )
    api: WriterApi | None = Field(
        None, description="Where health, status and metrics are asked for; left out: nowhere."
    )

    @model_validator(mode="after")
    def _fits(self) -> WriterFile:
        for pattern in self.streams:
            if re.match(r"(dead|replay):", pattern) or pattern == "*":
                raise ValueError(f"streams: '{pattern}' also means the writer's own; see docs")
        return self

    @property
    def worker_name(self) -> str:
        """The name in the group."""
        host = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())
        return self.worker or f"{host}-{os.getpid()}"

    @property
    def dead(self) -> str:
        """Stream of the group's dead letters."""
        return f"dead:{self.group}"

    @property
    def replay(self) -> str:
        """Stream of dead letters that are to be tried once more; only this group reads it."""
        return f"replay:{self.group}"
