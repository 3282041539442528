"""The mock as a stream: channels of any rate at the pace of a clock, with the faults of a card."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from drivers.mock.channels import MockChannel
from drivers.mock.plan import Plan, parts_of, plan_channel, stream_faults
from drivers.mock.replay import Player
from drivers.mock.rows import Windows
from drivers.mock.sensor import FaultySensor, Spells
from drivers.mock.settings import MockConfig
from drivers.mock.standin import likely_stream
from drivers.mock.synth import Waveform, Workshop
from drivers.mock.waves import draw
from gateway.driver import DeviceConfig, DeviceMap, StreamDriver
from gateway.errors import ConfigError, DeviceUnavailable, GatewayError
from gateway.model import Array, Block


def _wait(closed: threading.Event, seconds: float) -> bool:
    return closed.wait(seconds)


class MockStreamDriver(StreamDriver):
    """Gives blocks of samples that depend on nothing but the seed, the names and their numbers.

    Sample 0 is taken at the first connection, and the machine goes on while nobody reads.
    ``now_ns`` (the wall clock), ``elapsed_ns`` (which paces the samples) and ``wait`` (true where
    the event was set meanwhile) may be replaced together. The constructor looks into the heads of
    the recordings that are to be played; `connect` reads them.
    """

    config_class = MockConfig
    tag_class = None
    channel_class = MockChannel

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        super().__init__(name, config, device_map, bus)
        faults = stream_faults(name, config, device_map.file)
        plans = [
            plan_channel(c, self.stream, device_map.file, faults) for c in self.stream.channels
        ]
        if faults:
            raise ConfigError(faults)
        self._prepare([plan for plan in plans if plan is not None])

    @classmethod
    def stand_in(cls, driver: StreamDriver, config: MockConfig) -> MockStreamDriver:
        """A mock in place of a stream: same channels, rate, groups and tables, likely signals."""
        mock = cls.__new__(cls)
        StreamDriver.__init__(
            mock, driver.name, config, DeviceMap(str(config.map), stream=driver.stream)
        )
        mock.groups = driver.groups
        rate_hz = driver.stream.rate_hz
        mock._prepare([Plan(c, likely_stream(c.unit, rate_hz)) for c in driver.channels])  # noqa: SLF001
        return mock

    def _prepare(self, plans: list[Plan]) -> None:
        self._settings = cast(MockConfig, self.config)
        self.channels = tuple(plan.channel for plan in plans)
        self._plans = plans
        self.now_ns: Callable[[], int] = time.time_ns
        self.elapsed_ns: Callable[[], int] = time.monotonic_ns
        self.wait: Callable[[threading.Event, float], bool] = _wait
        self._rate_hz = self.stream.rate_hz * (1.0 + self._settings.rate_error_ppm * 1e-6)
        self._closed: threading.Event | None = None
        self._sources: list[Waveform | Player] = []
        self._sensors: list[FaultySensor | None] = []
        self._begun_ns: tuple[int, int] | None = None
        """Wall clock and running time of sample 0."""
        self._spells: dict[str, Spells] = {}
        self._end: int | None = None
        self._next = self._first = 0
        self._blocks = 0
        self._gaps: Counter[str] = Counter()
        self._data: Array = np.empty((0, 0), "f4")
        names = (self._settings.seed, self.name)
        window = self._settings.disconnect
        self._disconnect = (
            Windows([draw(*names, "", "disconnect")], [window]) if window is not None else None
        )

    # -- the contract -------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect; DeviceUnavailable ``refused`` in the times of ``disconnect``."""
        self._closed = None
        if self._is_lost():
            raise DeviceUnavailable("refused", "the mock is in a time of 'disconnect'")
        if self._begun_ns is None:
            self._load()
            self._begin()
        self._restart(self._made())
        if self._end is not None and self._next >= self._end:
            raise DeviceUnavailable("ended", "the recording has ended")
        self._closed = threading.Event()

    def close(self) -> None:
        """Drop the connection."""
        self._closed = None

    def interrupt(self) -> None:
        """End a `read_block` that waits."""
        if (closed := self._closed) is not None:
            closed.set()

    def status(self) -> dict[str, Any]:
        """Seed, rate, how many blocks were read, and the gaps by their reason."""
        kinds = Counter("replay" if p.player else p.signal.kind for p in self._plans)
        return {
            "mock": True,
            "seed": self._settings.seed,
            "rate_hz": self.stream.rate_hz,
            "blocks": self._blocks,
            "gaps": dict(self._gaps),
            "signals": dict(kinds),
        }

    def read_block(self) -> Block:
        """Read the next block; see `StreamDriver.read_block`."""
        closed = self._closed
        if closed is None or closed.is_set():
            raise DeviceUnavailable("closed", "not connected")
        count, gap = self._cut()
        data = self._samples(count)
        self._wait_for(self._next + count, closed)
        block = Block(data, self._first, self.stream.rate_hz, gap)
        self._next += count
        self._first += count
        self._blocks += 1
        if gap is not None:
            self._gaps[gap] += 1
        return block

    # -- samples and their time ---------------------------------------------------------------

    def _load(self) -> None:
        loaded: dict[object, Array] = {}
        shop = Workshop(self.stream.rate_hz)
        sources: list[Waveform | Player] = []
        sensors: list[FaultySensor | None] = []
        ends = []
        for plan in self._plans:
            key = draw(self._settings.seed, self.name, plan.channel.name)
            if plan.player is not None:
                try:
                    plan.player.load(loaded)
                except GatewayError as error:
                    raise DeviceUnavailable("no_recording", str(error)) from error
                sources.append(plan.player)
                if plan.player.end is not None:
                    ends.append(plan.player.end)
            else:
                parts = parts_of(plan.signal, shop, key)
                sources.append(Waveform(parts, key, plan.channel.full_scale))
            sensors.append(
                plan.fault
                and FaultySensor(
                    plan.fault,
                    draw(key, "fault"),
                    self.stream.rate_hz,
                    math.inf if plan.channel.full_scale is None else plan.channel.full_scale,
                )
            )
        self._sources, self._sensors = sources, sensors
        self._end = min(ends, default=None)

    def _begin(self) -> None:
        begun_ns = self.now_ns()
        self._begun_ns = (begun_ns, self.elapsed_ns())
        names = (self._settings.seed, self.name)
        self._spells = {
            fault: Spells(draw(*names, "", fault), window, self._rate_hz, begun_ns)
            for fault in ("delay", "dropout")
            if (window := getattr(self._settings, fault)) is not None
        }

    def _is_lost(self) -> bool:
        if self._disconnect is None:
            return False
        now_ns = self.now_ns()
        if self._begun_ns is not None:
            now_ns = self._begun_ns[0] + self.elapsed_ns() - self._begun_ns[1]
        return bool(self._disconnect.open(now_ns))

    def _made(self) -> int:
        """Samples that exist by now."""
        begun_ns = self._begun_ns[1] if self._begun_ns else 0
        return math.floor((self.elapsed_ns() - begun_ns) * self._rate_hz / 1e9)

    def _restart(self, sample: int) -> None:
        self._next, self._first = sample, 0

    def _cut(self) -> tuple[int, str | None]:
        """How many samples the next block has, and why any are missing before it."""
        gap = None
        made, count = self._made(), self.stream.block_samples
        if made - self._next > self._settings.buffer_s * self._rate_hz:
            gap = "overrun"  # as a card: what is in the buffer is given up
            self._restart(made)
        dropout = self._settings.dropout
        furthest = made + count + math.ceil(self.config.timeout_s * self._rate_hz)
        while dropout is not None and self._next <= furthest:
            runs = self._spells["dropout"].within(self._next, count)
            if not runs:
                break
            begin, end = runs[0]
            if begin > self._next:
                count = begin - self._next
                break
            gap = gap or dropout.reason
            self._restart(end)
        if self._end is not None:
            if self._next >= self._end:
                raise DeviceUnavailable("ended", "the recording has ended")
            count = min(count, self._end - self._next)
        return count, gap

    def _samples(self, count: int) -> Array:
        if self._data.shape[1] != count:
            self._data = np.empty((len(self._sources), count), "f4")
        for row, source, sensor in zip(self._data, self._sources, self._sensors, strict=True):
            source.fill(row, self._next)
            if sensor is not None:
                sensor.apply(row, self._next)
        return self._data

    def _wait_for(self, sample: int, closed: threading.Event) -> None:
        """Wait until the samples before this one exist and have come."""
        begun_ns = self._begun_ns[1] if self._begun_ns else 0
        due_ns = begun_ns + math.ceil(sample / self._rate_hz * 1e9)
        delay = self._settings.delay
        if delay is not None and self._spells["delay"].within(sample - 1, 1):
            due_ns += round(delay.by_s * 1e9)
        now_ns = self.elapsed_ns()
        limit_ns = now_ns + round((self.stream.block_s + self.config.timeout_s) * 1e9)
        while now_ns < min(due_ns, limit_ns):
            if self.wait(closed, (min(due_ns, limit_ns) - now_ns) / 1e9):
                raise DeviceUnavailable("closed", "interrupted")
            now_ns = self.elapsed_ns()
        if self._is_lost():
            raise DeviceUnavailable("closed", "the mock is in a time of 'disconnect'")
        if due_ns > limit_ns:
            waited_s = self.stream.block_s + self.config.timeout_s
            raise DeviceUnavailable("timeout", f"no samples within {waited_s:g} s")
