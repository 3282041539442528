"""Mock devices for tests, made from plain dictionaries."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from drivers.mock import MockDriver
from drivers.mock.stream import MockStreamDriver
from gateway.driver import ChannelSpec, DeviceMap, GroupSpec, StreamSpec, TableSpec, Tag
from gateway.errors import DeviceUnavailable, Place
from gateway.model import Array, Row, Scalar

PLACE = Place("map.yaml", 7, 3, "groups.process.tags")
LABELS = (("gateway", "test"), ("device", "machine"))
SECOND = 10**9
NOON = 1_780_000_000 * SECOND
"""Some moment, in ns since 1970; divisible by 1000 s."""

Tags = dict[str, dict[str, Any]]


class Clock:
    """A clock that only moves when told."""

    def __init__(self, time_ns: int = NOON) -> None:
        self.time_ns = time_ns

    def __call__(self) -> int:
        return self.time_ns


def connect_when_it_can_be(mock: MockDriver | MockStreamDriver) -> None:
    """Connect at a fixed time at which the device is not in a time of ``disconnect``."""
    for minute in range(30):
        mock.now_ns = Clock(NOON + minute * 60 * SECOND)
        with suppress(DeviceUnavailable):
            return mock.connect()
    pytest.fail(f"{mock.name} can never be connected")


def make(*groups: Tags, name: str = "machine", **config: Any) -> MockDriver:
    """A driver whose groups, ``g0``, ``g1``..., have these tags."""
    specs = []
    for i, tags in enumerate(groups):
        parsed = [
            Tag(tag, MockDriver.tag_class.model_validate(spec), PLACE) for tag, spec in tags.items()
        ]
        specs.append(GroupSpec(f"g{i}", 1.0, [TableSpec(f"g{i}", LABELS, parsed, PLACE)], PLACE))
    settings = MockDriver.config_class.model_validate(
        {"driver": "mock", "map": "map.yaml", **config}
    )
    return MockDriver(name, settings, DeviceMap("map.yaml", specs))


def row_at(driver: MockDriver, time_ns: int, group: int = 0) -> Row:
    """The first row of a group at a time."""
    driver.now_ns = Clock(time_ns)
    driver.connect()
    return driver.read(driver.groups[group])[0]


def series(tag: dict[str, Any], times_s: list[float], **config: Any) -> list[Scalar]:
    """The values of one tag at these times after NOON."""
    driver = make({"x": tag}, **config)
    return [row_at(driver, NOON + round(t * SECOND)).value(0) for t in times_s]


class Pace:
    """A wall clock, running time and waiting that only move when told, or waited for."""

    def __init__(self, time_ns: int = NOON) -> None:
        self.wall_ns = time_ns
        self.run_ns = 0
        self.waits: list[float] = []

    def drive(self, driver: MockStreamDriver) -> None:
        """Let the driver live by this clock."""
        driver.now_ns = lambda: self.wall_ns
        driver.elapsed_ns = lambda: self.run_ns
        driver.wait = self._wait

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.wall_ns += math.ceil(seconds * SECOND)
        self.run_ns += math.ceil(seconds * SECOND)

    def _wait(self, closed: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.pass_s(seconds)
        return closed.is_set()


def make_stream(
    channels: dict[str, dict[str, Any]],
    *,
    rate_hz: float = 25600.0,
    block_s: float = 0.1,
    name: str = "machine",
    file: str = "map.yaml",
    **config: Any,
) -> MockStreamDriver:
    """A stream driver whose channels are these."""
    specs = [
        ChannelSpec(channel, MockDriver.channel_class.model_validate(spec), PLACE)
        for channel, spec in channels.items()
    ]
    device_map = DeviceMap(file, stream=StreamSpec(rate_hz, block_s, specs, PLACE))
    settings = MockDriver.config_class.model_validate(
        {"driver": "mock", "map": "map.yaml", **config}
    )
    driver = MockDriver.for_map(device_map)(name, settings, device_map)
    assert isinstance(driver, MockStreamDriver)
    return driver


def started(driver: MockStreamDriver, pace: Pace | None = None) -> Pace:
    """Connect the driver on a virtual clock."""
    pace = pace or Pace()
    pace.drive(driver)
    driver.connect()
    return pace


def record(driver: MockStreamDriver, seconds: float) -> Array:
    """Read a new driver from sample 0 on: samples[channel, sample], without a gap."""
    started(driver)
    blocks: list[Array] = []
    while sum(b.shape[1] for b in blocks) < round(seconds * driver.stream.rate_hz):
        block = driver.read_block()
        assert block.gap is None
        blocks.append(block.data.copy())
    return np.concatenate(blocks, axis=1)[:, : round(seconds * driver.stream.rate_hz)]


def samples_of(channel: dict[str, Any], seconds: float, **config: Any) -> Array:
    """The samples of one channel."""
    row: Array = record(make_stream({"x": channel}, **config), seconds)[0]
    return row
