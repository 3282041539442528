"""The messages of ``proto/telemetry.proto``, made from its compiled description."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.model import Kind

DESCRIPTION: Final = Path(__file__).with_name("telemetry.binpb")
"""By `gateway.ingest.generate`."""

METHOD: Final = "StreamRows"
SERVICE: Final = "edgegateway.v1.Telemetry"
KINDS: Final[tuple[Kind | None, ...]] = (None, "f4", "f8", "i8", "u8", "b1", "str")
"""By number of the enum."""

FIELDS: Final[dict[Kind, str]] = {
    "f4": "f4", "f8": "f8", "i8": "i8", "u8": "u8", "b1": "b1", "str": "text"
}  # fmt: skip
"""Where the values of a kind stand in ``Rows``."""

MAX_MESSAGE: Final = 524_288


class Messages(NamedTuple):
    """The classes."""

    batch: Any
    ack: Any


@cache
def messages() -> Messages:
    """The classes, made once; protobuf is imported only here."""
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    found = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTION.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    named = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"edgegateway.v1.{name}"))
        for name in ("Batch", "Ack")
    ]
    return Messages(*named)
