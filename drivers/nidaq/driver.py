"""The NI driver: the analogue inputs of one card or chassis, sampled together without a pause."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from drivers.nidaq.channels import read_channels
from drivers.nidaq.settings import NidaqChannel, NidaqConfig
from gateway.driver import (
    ChannelConfig,
    DeviceConfig,
    DeviceMap,
    Driver,
    Endpoint,
    Simulation,
    StreamDriver,
    TagConfig,
)
from gateway.errors import DeviceUnavailable
from gateway.model import Block

if TYPE_CHECKING:  # at run time it is imported to connect: nidaqmx takes a second
    from drivers.nidaq.session import Session

RESTARTS: Final = 3
"""How often a task that overruns is started again before one block of it was read."""

LOOK_EVERY_S: Final = 1.0
"""How often NI-DAQmx is asked what waits in its buffer."""


class NidaqDriver(StreamDriver):
    """Streams one task of NI-DAQmx, here or at an NI gRPC Device Server."""

    config_class: ClassVar[type[DeviceConfig]] = NidaqConfig
    tag_class: ClassVar[type[TagConfig] | None] = None
    channel_class: ClassVar[type[ChannelConfig] | None] = NidaqChannel
    config: NidaqConfig

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        if not isinstance(config, NidaqConfig):
            raise TypeError(f"expected a NidaqConfig, not {type(config).__name__}")
        super().__init__(name, config, device_map, bus)
        self.inputs, self.channels = read_channels(self.stream.channels)
        # volts that are scaled here; the others NI-DAQmx scales by the sensor's data
        self._scaled = [
            (row, i.spec.scale, i.spec.offset)
            for row, i in enumerate(self.inputs)
            if (i.spec.scale, i.spec.offset) != (1.0, 0.0)
        ]
        self._session: Session | None = None
        self._simulated: Endpoint | None = None
        self._first = 0
        self._overruns = 0
        self._unread_s: float | None = None
        self._look_at = 0.0

    @property
    def _endpoint(self) -> Endpoint | None:
        return self._simulated or self.config.endpoint

    # -- the connection -----------------------------------------------------------------------

    def connect(self) -> None:
        """Create the task and start it; from now on NI-DAQmx keeps its samples."""
        from drivers.nidaq.link import Link
        from drivers.nidaq.session import Session

        self.close()
        config, link = self.config, None
        if (endpoint := self._endpoint) is not None:
            ca_file = None if self._simulated else config.grpc_ca_file
            link = Link(endpoint, ca_file, config.timeout_s)
        self._session = session = Session(
            self.name, self.inputs, self.stream.block_samples, self.stream.rate_hz, link
        )
        self._first, self._unread_s, self._look_at = 0, None, 0.0
        try:
            session.open(config.buffer_s, config.timeout_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the task and the connection to its server."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def interrupt(self) -> None:
        """Free a read that waits: its task is aborted, or the connection to its server closed."""
        if (session := self._session) is not None:
            session.interrupt()

    def redirect(self, endpoint: Endpoint) -> None:
        """Read from the gRPC server at this endpoint, without TLS, whatever the settings say."""
        self._simulated = endpoint

    # -- reading ------------------------------------------------------------------------------

    def read_block(self) -> Block:
        """Wait for the next block; fewer samples where the rest of them is late.

        After an overrun the task is started again: the block says so in ``gap`` and its samples
        count from 0. Raises DeviceUnavailable.
        """
        if self._session is None:
            raise DeviceUnavailable("closed", "not connected")
        try:
            return self._read(self._session)
        except DeviceUnavailable:
            self.close()
            raise

    def _read(self, session: Session) -> Block:
        from drivers.nidaq.session import Overrun

        gap = None
        for _ in range(RESTARTS + 1):
            try:
                data = session.read()
            except Overrun as error:
                gap, why = "overrun", str(error)
                self._overruns += 1
                self._first = 0
                session.restart()
                continue
            for row, scale, offset in self._scaled:
                data[row] *= scale
                data[row] += offset
            block = Block(data, self._first, session.rate_hz, gap)
            self._first += block.samples
            if (now := time.monotonic()) >= self._look_at:
                self._look_at = now + LOOK_EVERY_S
                self._unread_s = session.unread_s()
            return block
        raise DeviceUnavailable("overrun", f"{RESTARTS + 1} times without a block: {why}")

    # -- looking at it ------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Route, devices, rate as the card has it, overruns, what waits in the buffer."""
        endpoint, session = self._endpoint, self._session
        facts: dict[str, Any] = {
            "route": "local" if endpoint is None else "grpc",
            "endpoint": "NI-DAQmx" if endpoint is None else f"{endpoint.host}:{endpoint.port}",
            "channels": len(self.channels),
            "overruns": self._overruns,
            "buffer_s": self.config.buffer_s,
        }
        if session is not None:
            facts["devices"] = "; ".join(session.devices)
            facts["rate_hz"] = session.rate_hz
            facts["samples"] = self._first
            if self._unread_s is not None:
                facts["unread_s"] = round(self._unread_s, 3)
        return facts

    @classmethod
    def simulate(
        cls, devices: Sequence[Driver], *, ports: Mapping[str, int] | None = None
    ) -> Simulation | None:
        """Serve the inputs of these devices as an NI gRPC Device Server does."""
        from drivers.nidaq.simulator import NidaqSimulation

        return NidaqSimulation([d for d in devices if isinstance(d, NidaqDriver)], ports or {})
