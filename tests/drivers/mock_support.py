"""Mock devices for tests, made from plain dictionaries."""

from __future__ import annotations

from typing import Any

from drivers.mock import MockDriver
from gateway.driver import DeviceMap, GroupSpec, TableSpec, Tag
from gateway.errors import Place
from gateway.model import Row, Scalar

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
