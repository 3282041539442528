"""The sink contract: the place that data goes to, and how an installed sink is found by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from gateway import plugins
from gateway.driver import Settings
from gateway.model import Selected as Selected


class SinkConfig(Settings):
    """One entry of ``sinks:``; each sink adds its own fields."""

    type: str = Field(description="Kind of sink, e.g. influxdb or sqlite.")


class Payload(NamedTuple):
    """One encoded batch as it will be sent, byte for byte, as often as needed."""

    body: bytes
    format: str
    """What the bytes are, e.g. ``lp+gzip``: a spool may outlive a change of configuration."""
    rows: int
    values: int


class Sink(ABC):
    """Encodes batches and delivers them. The constructor does no I/O."""

    config_class: ClassVar[type[SinkConfig]] = SinkConfig
    durable: ClassVar[bool] = False
    """True: ``store`` is on disk when it returns, so there is no spool before this sink."""

    def __init__(self, name: str, config: SinkConfig, state_dir: Path) -> None:
        self.name = name
        self.config = config
        self.state_dir = state_dir

    @abstractmethod
    def close(self) -> None:
        """Release what is open. Idempotent, never raises."""

    def status(self) -> dict[str, Any]:
        """Facts for the status; no I/O."""
        return {}


class RemoteSink(Sink):
    """A sink behind a network: its batches are spooled before they are sent."""

    letter_format: ClassVar[str] = "lp"
    """Format of a dead letter that is sent once more: lines as they were refused, not packed."""

    @abstractmethod
    def encode(self, rows: Sequence[Selected]) -> list[Payload]:
        """The batch in the sink's own format, in payloads of a size that it takes. Pure."""

    @abstractmethod
    def deliver(self, body: bytes, format: str) -> None:
        """Send one payload; returning means stored.

        SinkUnavailable: keep and retry. TooLarge: split. Rejected: refused for good.
        """

    def check(self) -> bool:
        """Ask with our own credentials whether rows would be taken, for `gateway doctor`.

        Nothing is stored. Raises as `deliver`; False: this sink knows no way to ask.
        """
        return False

    def pieces(self, body: bytes, format: str) -> list[bytes]:
        """What to send one after another instead of a payload; mostly just itself.

        So that a part which the sink is known to refuse does not take the rest with it. Each
        piece stays as it is when asked again.
        """
        return [body]

    @abstractmethod
    def split(self, body: bytes, format: str, words: str = "") -> list[bytes]:
        """A payload in smaller ones that say the same, or just itself where there are none.

        ``words``: what the sink refused it with; empty where it was too much at once.
        """


class DurableSink(Sink):
    """A sink that is on disk itself."""

    durable: ClassVar[bool] = True

    @abstractmethod
    def store(self, rows: Sequence[Selected]) -> None:
        """Store the batch; it is on disk on return. SinkUnavailable where it cannot be now."""


def installed_sinks() -> list[str]:
    """Names of the sinks whose entry points are installed."""
    return plugins.installed("sinks")


def find_sink(name: str) -> type[Sink]:
    """The sink class of that name; GatewayError says what to install or the nearest name."""
    found: type[Sink] = plugins.find("sinks", "sink type", name)
    return found
