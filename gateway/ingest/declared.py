"""What senders are to send, said beforehand: alarm rules and operating states can name its tags."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.settings import Settings


class SentTagConfig(Settings):
    """One entry of ``ingest.devices.DEVICE.tables.TABLE.tags:``."""

    type: Literal["number", "bool", "text"] = Field(
        "number", description="What comes; anything else makes the value BAD `type`."
    )
    unit: str | None = Field(
        None,
        description="Its unit. A sender that tells another one makes the value BAD `unit`; most "
        "tell none.",
    )


class SentTableConfig(Settings):
    """One entry of ``ingest.devices.DEVICE.tables:``."""

    interval_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        description="Longest time between two rows, in seconds. Values that are older than 3 of "
        "them, and than 5 s, are not judged."
    )
    tags: Annotated[dict[str, SentTagConfig], Field(min_length=1)] = Field(
        description="The columns that rules may name; a sender may send more."
    )


class SentDeviceConfig(Settings):
    """One entry of ``ingest.devices:``."""

    tables: Annotated[dict[str, SentTableConfig], Field(min_length=1)] = Field(
        description="Its tables by name; with a label `module` or `channel`: TABLE.MODULE."
    )
