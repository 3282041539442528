"""The mock driver: a device that exists only as signals and faults, all of them by YAML."""

from __future__ import annotations

import difflib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from drivers.mock.channels import MockChannel
from drivers.mock.rows import Shape, TableSignals, Windows
from drivers.mock.settings import STREAM_ONLY, MockConfig
from drivers.mock.standin import likely_shapes
from drivers.mock.stream import MockStreamDriver
from drivers.mock.tags import MockTag, parse_table
from drivers.mock.waves import draw, uniform
from gateway.driver import (
    DeviceConfig,
    DeviceMap,
    Driver,
    PlannedRequest,
    PolledDriver,
    Probe,
    StreamDriver,
)
from gateway.errors import ConfigError, DeviceUnavailable, Fault, Place
from gateway.model import Group, Row, Scalar, Table, bad_row

_NAMES = {"f4": "real", "f8": "lreal", "i8": "lint", "u8": "ulint", "b1": "bool", "str": "string"}


class MockDriver(PolledDriver):
    """Answers polls from signals, with the latency and the faults of its configuration.

    ``now_ns`` is its clock and may be replaced: a row depends on nothing but the seed, the names
    of device, table and column, and the row's own time.
    """

    config_class = MockConfig
    tag_class = MockTag
    channel_class = MockChannel

    def __init__(
        self, name: str, config: DeviceConfig, device_map: DeviceMap, bus: Any = None
    ) -> None:
        super().__init__(name, config, device_map, bus)
        faults: list[Fault] = []
        groups: list[Group] = []
        shapes: list[list[list[Shape]]] = []
        for index, spec in enumerate(device_map.groups):
            parsed = [parse_table(table_spec, faults) for table_spec in spec.tables]
            tables = tuple(
                Table(t.name, name, columns, t.labels, spec.name, spec.interval_s)
                for t, (columns, _) in zip(spec.tables, parsed, strict=True)
            )
            groups.append(Group(spec.name, spec.interval_s, tables, index))
            shapes.append([its_shapes for _, its_shapes in parsed])
        self.groups = tuple(groups)
        faults += self._useless_settings(device_map)
        if faults:
            raise ConfigError(faults)
        self._prepare(config, shapes)

    @classmethod
    def for_map(cls, device_map: DeviceMap) -> type[Driver]:
        """`MockStreamDriver` where the map has a stream."""
        return cls if device_map.stream is None else MockStreamDriver

    @classmethod
    def stand_in(cls, driver: Driver) -> MockDriver | MockStreamDriver:
        """A mock in place of a device: same name, groups and tables or channels, likely signals.

        A mock is its own stand-in: it keeps its signals and faults.
        """
        if isinstance(driver, (MockDriver, MockStreamDriver)):
            return driver
        real = driver.config
        config = MockConfig.model_validate(
            {
                **real.model_dump(include={"map", "labels", "enabled", "timeout_s"}),
                "driver": "mock",
                "with": real.with_,
            }
        )
        if isinstance(driver, StreamDriver):
            return MockStreamDriver.stand_in(driver, config)
        mock = cls.__new__(cls)
        PolledDriver.__init__(mock, driver.name, config, DeviceMap(str(real.map)))
        mock.groups = driver.groups
        shapes = [[likely_shapes(table) for table in group.tables] for group in driver.groups]
        mock._prepare(config, shapes)  # noqa: SLF001 - its own class
        return mock

    def _prepare(self, config: DeviceConfig, shapes: Sequence[Sequence[Sequence[Shape]]]) -> None:
        self._settings = cast(MockConfig, config)
        self.now_ns: Callable[[], int] = time.time_ns
        self._closed: threading.Event | None = None
        names = (self._settings.seed, self.name)
        self._signals = [
            [TableSignals(t, s, *names) for t, s in zip(group.tables, its_shapes, strict=True)]
            for group, its_shapes in zip(self.groups, shapes, strict=True)
        ]
        self._kinds = Counter(s.signal.kind for group in shapes for t in group for s in t)
        self._jitter_key = np.array([draw(*names, "", "jitter")], "u8")
        self._windows: dict[str, Windows] = {
            fault: Windows([draw(*names, "", fault)], [window])
            for fault in ("disconnect", "delay", "dropout")
            if (window := getattr(self._settings, fault)) is not None
        }

    def _useless_settings(self, device_map: DeviceMap) -> list[Fault]:
        known = [group.name for group in self.groups]
        faults = []
        for key in STREAM_ONLY:
            if key in self.config.model_fields_set:
                place = Place(device_map.file, 0, 0, f"devices.{self.name}.{key}")
                faults.append(place.fault("this map has tags to poll; only a stream has it"))
        for fault in ("delay", "dropout"):
            window = getattr(self.config, fault, None)
            for name in window.groups if window else ():
                if known and name not in known:
                    near = difflib.get_close_matches(name, known, 1) or known
                    place = Place(device_map.file, 0, 0, f"devices.{self.name}.{fault}.groups")
                    message = f"the map has no group '{name}'; it has {', '.join(near)}"
                    faults.append(place.fault(message))
        return faults

    # -- the contract -------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect; DeviceUnavailable ``refused`` in the times of ``disconnect``."""
        self._closed = None
        if self._is_open("disconnect", self.now_ns()):
            raise DeviceUnavailable("refused", "the mock is in a time of 'disconnect'")
        self._closed = threading.Event()

    def close(self) -> None:
        """Drop the connection."""
        self._closed = None

    def interrupt(self) -> None:
        """End a poll that waits for its latency."""
        if (closed := self._closed) is not None:
            closed.set()

    def status(self) -> dict[str, Any]:
        """Seed, and how many signals of each kind."""
        return {"mock": True, "seed": self._settings.seed, "signals": dict(self._kinds)}

    def plan(self, group: Group) -> list[PlannedRequest]:
        """One request a group; its bytes are those of the values."""
        sizes = [
            16 if kind == "str" else np.dtype(kind).itemsize
            for t in group.tables
            for kind in t.kinds
        ]
        return [PlannedRequest(f"mock {group.name}", len(sizes), sum(sizes))]

    def read(self, group: Group) -> list[Row]:
        """Read one round; see `PolledDriver.read`."""
        begun_ns = self.now_ns()
        self._exchange(group.name, begun_ns)
        time_ns = (begun_ns + self.now_ns()) // 2
        if self._is_open("dropout", time_ns, group.name):
            dropout = self._settings.dropout
            reason = dropout.reason if dropout else "dropout"
            return [bad_row(table, time_ns, reason) for table in group.tables]
        return [signals.row(time_ns) for signals in self._signals[group.index]]

    def probe(self, address: str) -> Probe:
        """The present value of one tag, by its name or as ``table.tag``."""
        table, column = self._find(address)
        signals = next(s for group in self._signals for s in group if s.table is table)
        time_ns = self.now_ns()
        if self._is_open("disconnect", time_ns):
            raise DeviceUnavailable("refused", "the mock is in a time of 'disconnect'")
        row = signals.row(time_ns)
        value, kind = row.value(column), table.kinds[column]
        mark = row.mark(column)
        readings: list[tuple[str, str]] = [] if value is None else [(_NAMES[kind], _text(value))]
        if mark is not None:
            readings.append(("quality", str(mark)))
        return Probe(f"{table.key}.{table.columns[column]}", _raw(value, kind), tuple(readings))

    # -- faults -------------------------------------------------------------------------------

    def _is_open(self, fault: str, time_ns: int, group: str | None = None) -> bool:
        windows = self._windows.get(fault)
        if windows is None or not windows.open(time_ns):
            return False
        chosen = getattr(getattr(self._settings, fault), "groups", [])
        return not chosen or group in chosen

    def _exchange(self, group: str, time_ns: int) -> None:
        """Take the time that the device takes, or fail as it fails."""
        closed, config = self._closed, self._settings
        if closed is None or closed.is_set():
            raise DeviceUnavailable("closed", "not connected")
        if self._is_open("disconnect", time_ns):
            raise DeviceUnavailable("closed", "the mock is in a time of 'disconnect'")
        pause_s = config.latency_s
        if config.jitter_s:
            pause_s += config.jitter_s * float(uniform(self._jitter_key, time_ns)[0])
        if config.delay is not None and self._is_open("delay", time_ns, group):
            pause_s += config.delay.by_s
        if pause_s and closed.wait(min(pause_s, config.timeout_s)):
            raise DeviceUnavailable("closed", "interrupted")
        if pause_s > config.timeout_s:
            raise DeviceUnavailable("timeout", f"no answer within {config.timeout_s:g} s")

    def _find(self, address: str) -> tuple[Table, int]:
        tables = [t for group in self.groups for t in group.tables]
        names: dict[str, tuple[Table, int]] = {}
        for table in tables:
            for i, column in enumerate(table.columns):
                names.setdefault(column, (table, i))
                names[f"{table.key}.{column}"] = (table, i)
        if address not in names:
            near = difflib.get_close_matches(address, names, 1)
            hint = f"did you mean '{near[0]}'?" if near else "expected the name of a tag"
            raise ValueError(f"no tag '{address}'; {hint}")
        return names[address]


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _raw(value: Scalar, kind: str) -> bytes:
    if value is None:
        return b""
    if kind == "str":
        return str(value).encode()
    raw: bytes = np.array(value, kind).astype(np.dtype(kind).newbyteorder(">")).tobytes()
    return raw
