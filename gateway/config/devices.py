"""The buses and devices of a gateway's file: their settings, maps, labels and drivers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.alarms.rules import AlarmPlan
from gateway.config.alarms import AlarmPlanner
from gateway.config.collect import Collector
from gateway.config.fingerprints import fingerprint
from gateway.config.ingested import IngestedTags
from gateway.config.mapreader import read_map
from gateway.config.maps import Labels, SourceMap
from gateway.config.namedfiles import with_files
from gateway.config.plant import BusPlan
from gateway.config.streams import Planner, StreamRequest
from gateway.config.validation import S, name_fault, near_name, nearest
from gateway.driver import (
    DeviceConfig,
    DeviceMap,
    Driver,
    StreamDriver,
    find_driver,
    installed_drivers,
)
from gateway.errors import ConfigError, Fault, GatewayError
from gateway.model import RESERVED, VIA
from gateway.yamlfile.document import Path_, Section, tidy


def check_labels(collector: Collector, path: Path_) -> Labels:
    """The labels at ``path``; faults for names and values that cannot be labels."""
    labels = collector.section(path) or Section(1, 1)
    for key, value in labels.items():
        wrong = name_fault(key)
        if key in RESERVED or key == VIA[0]:
            wrong = f"the label '{key}' is reserved; choose another"
        if wrong:
            collector.fault((*path, key), wrong, key=True)
        if isinstance(value, str) and (wrong := name_fault(value)):
            collector.fault((*path, key), wrong.replace("the name", "the value of the label"))
    return tuple((key, value) for key, value in labels.items() if isinstance(value, str))


class DeviceLoader:
    """Loads ``buses:`` and ``devices:``; the faults go to the collector."""

    def __init__(
        self,
        file: Collector,
        folder: Path,
        gateway: str,
        labels: Labels,
        alarms: AlarmPlanner,
        sent: IngestedTags,
    ) -> None:
        self.devices: dict[str, Driver] = {}
        self.files: list[Path] = []
        self.warnings: list[str] = []
        self.planner = Planner(file.faults)
        self.alarms = AlarmPlan()
        self._alarms = alarms
        self._sent = sent
        self._requests: list[StreamRequest] = []
        self._file = file
        self._folder = folder
        self._gateway = gateway
        self._labels = labels
        self._maps: dict[Path, SourceMap | tuple[Fault, ...]] = {}
        self._classes: dict[str, type[Driver] | GatewayError] = {}
        self._buses: dict[str, Any] = {}
        self.fingerprints: dict[str, str] = {}
        """Device -> hash of all that it is made of."""
        self._map_prints: dict[str, str] = {}

    def load(self) -> None:
        """Load every bus, device and map."""
        for name, section in self._file.entries(("buses",)):
            self._buses[name] = self._bus(name, section)
        for name, section in self._file.entries(("devices",)):
            self._device(name, section)
        for found in self._maps.values():
            self._file.faults += found.faults if isinstance(found, SourceMap) else ()
        polled = [t for d in self.devices.values() for g in d.groups for t in g.tables]
        configured = (self._file.section(("devices",)) or {}).keys()
        self.planner.broken = (configured - self.devices.keys()) | self._sent.broken
        self.planner.streaming = {dict(r.labels)["device"] for r in self._requests}
        for request in self._requests:
            self.planner.plan_stream(request, [*polled, *self._sent.tables])
        self._plan_alarms()
        for name, plan in self.planner.streams.items():
            # a live tag is one of the other device's: that one changes, so does this
            others = sorted(tag.table.device for tag in plan.live_tags())
            prints = self.fingerprints | self._sent.fingerprints
            self.fingerprints[name] = fingerprint(
                self.fingerprints[name], [prints[other] for other in others]
            )

    def _plan_alarms(self) -> None:
        tables = [t for d in self.devices.values() for g in d.groups for t in g.tables]
        tables += [plan.target for plan in self.planner.aggregates]
        tables += self._sent.tables
        # a stream that could not be planned has no tables, which has been told
        broken = sorted(
            self.planner.broken | (self.planner.streaming - self.planner.streams.keys())
        )

        known = {table.device for table in tables}

        def is_broken(text: str) -> bool:
            if self._sent.is_unreadable and text.partition(".")[0] not in known:
                return True
            return any(text == name or text.startswith(f"{name}.") for name in broken)

        self.alarms = self._alarms.plan(tables, self.planner.streams, is_broken)
        for name, seconds in self._alarms.longer.items():  # its ring is another one with it
            self.fingerprints[name] = fingerprint(self.fingerprints[name], seconds)

    def plan(self) -> list[BusPlan]:
        """What each thread polls."""
        plans = {name: BusPlan(name, bus, []) for name, bus in self._buses.items()}
        used = set()
        for name, device in self.devices.items():
            bus = getattr(device.config, "bus", None)
            used.add(bus)
            if not device.config.enabled:
                continue
            if bus is None:
                plans[name] = BusPlan(name, None, [device])
            else:
                plans[bus].devices.append(device)
        self.warnings += [
            f"bus '{name}' has no devices" for name in self._buses if name not in used
        ]
        return [plan for plan in plans.values() if plan.devices]

    def _with_files(self, settings: S, path: Path_) -> S:
        settings, faults = with_files(settings, self._folder)
        for key, message in faults:
            self._file.fault((*path, key), message)
        return settings

    def _find_driver(self, name: str) -> type[Driver]:
        """As `find_driver`, which looks through all that is installed: once for each name."""
        if name not in self._classes:
            try:
                self._classes[name] = find_driver(name)
            except GatewayError as error:
                self._classes[name] = error
        found = self._classes[name]
        if isinstance(found, GatewayError):
            raise found
        return found

    def _driver_class(self, name: str, path: Path_) -> type[Driver] | None:
        try:
            return self._find_driver(name)
        except GatewayError as error:
            self._file.fault(path, str(error))
            return None

    def _bus(self, name: str, section: Section) -> Any:
        path = ("buses", name)
        if name in (self._file.section(("devices",)) or ()):
            message = f"a device has the name '{name}' too; rename one"
            self._file.fault(path, message, key=True)
        kind = self._file.choice(section, path, "driver", installed_drivers)
        driver = self._driver_class(kind, (*path, "driver")) if kind else None
        if driver is None:
            return None
        if driver.bus_class is None:
            message = f"the devices of driver '{kind}' cannot share a bus"
            self._file.fault((*path, "driver"), message)
            return None
        config, _ = self._file.validate(driver.bus_class, section, path)
        if config is None:
            return None
        try:
            return driver.make_bus(name, self._with_files(config, path))
        except ConfigError as error:
            self._file.faults += [self._placed(fault, path) for fault in error.faults]
            return None

    def _placed(self, fault: Fault, path: Path_) -> Fault:
        """A fault of the settings, which knows no line: at the entry whose path it names."""
        if fault.place.line:
            return fault
        below = fault.place.path.removeprefix(".".join(map(str, path))).strip(".").split(".")
        place = self._file.document.place((*path, *filter(None, below)))
        return place.fault(fault.message)

    def _driver_name(self, section: Section, path: Path_) -> str | None:
        """The device's driver, which its bus may say."""
        bus, its = section.get("bus"), None
        if isinstance(bus, str):
            buses = self._file.section(("buses",)) or Section(1, 1)
            if bus not in buses:
                message = f"unknown bus '{bus}'; {nearest(bus, buses, 'buses')}"
                self._file.fault((*path, "bus"), message)
            elif isinstance(buses[bus], Section):
                its = buses[bus].get("driver")
        if "driver" not in section and "bus" in section:
            return its if isinstance(its, str) else None
        kind = self._file.choice(section, path, "driver", installed_drivers)
        if isinstance(its, str) and kind is not None and its != kind:
            message = f"the bus '{bus}' is of driver '{its}', the device of '{kind}'"
            self._file.fault((*path, "bus"), message)
        return kind

    def _device(self, name: str, section: Section) -> None:
        path = ("devices", name)
        if name == "gateway":
            message = "the device name 'gateway' is reserved; choose another"
            self._file.fault(path, message, key=True)
        kind = self._driver_name(section, path)
        driver = self._driver_class(kind, (*path, "driver")) if kind else None
        own = check_labels(self._file, (*path, "labels"))
        source = self._map(section, (*path, "map"))
        if driver is None:
            return
        data = {**section, "driver": kind}
        if "bus" in data and "bus" not in driver.config_class.model_fields:
            message = f"the devices of driver '{kind}' share no bus; remove it"
            self._file.fault((*path, "bus"), message)
            del data["bus"]
        sound, config = self._file.validate(driver.config_class, data, path)
        if source is None or config is None:
            return
        config = self._with_files(config, path)
        if source.driver != kind:
            if source.driver:
                message = f"{source.document.file} is a map of driver '{source.driver}'"
                self._file.fault((*path, "map"), f"{message}; the device's is '{kind}'")
            return
        values = self._values(section, source, path)
        users = sorted((dict(self._labels) | dict(own)).items())
        labels = (("gateway", self._gateway), ("device", name), *users)
        device_map = source.apply(name, labels, values)
        self._build(driver, config, device_map, source, name, is_sound=sound is not None)
        self.fingerprints[name] = fingerprint(data, labels, self._map_print(source))
        built = self.devices.get(name)
        if built is not None:
            self._alarms.add(name, source.rules, values)
        if source.stream is not None:
            its = built if isinstance(built, StreamDriver) else None
            self._requests.append(StreamRequest(its, source, source.stream, values, labels))
        elif built is not None:
            self.planner.plan_aggregates(built, source, labels)

    def _map_print(self, source: SourceMap) -> str:
        file = source.document.file
        if file not in self._map_prints:
            root = source.document.root  # rules restart no device
            self._map_prints[file] = fingerprint({k: v for k, v in root.items() if k != "alarms"})
        return self._map_prints[file]

    def _map(self, section: Section, path: Path_) -> SourceMap | None:
        given = section.get("map")
        if not isinstance(given, str):
            return None
        file = tidy(self._folder / given)
        if file not in self._maps:
            try:
                self._maps[file] = source = read_map(file, self._find_driver)
                self.files.append(file)
                self.warnings += source.warnings
            except ConfigError as error:
                self._maps[file] = error.faults
        found = self._maps[file]
        if isinstance(found, SourceMap):
            return found
        for fault in found:
            if fault.place.line:
                self._file.faults.append(fault)
            else:  # not a place in the map: there is no map
                self._file.fault(path, f"{fault.place.file}: {fault.message}")
        return None

    def _values(self, section: Section, source: SourceMap, path: Path_) -> dict[str, object]:
        """The values of the placeholders; faults where they do not match the map's."""
        given = section.get("with")
        values = dict(given) if isinstance(given, Section) else {}
        file = source.document.file
        for name, line in source.placeholders.items():
            if name not in values:
                near = near_name(name, values.keys() - source.placeholders.keys())
                hint = f"did you mean {{{near}}}?" if near else f"add `with: {{{name}: ...}}`"
                message = f"{{{name}}} of {file}:{line} has no value; {hint}"
                self._file.fault((*path, "with"), message, key=True)
        for name in values:
            if name not in source.placeholders:
                hint = nearest(name, source.placeholders, "its placeholders")
                message = f"{file} has no placeholder {{{name}}}; {hint}"
                self._file.fault((*path, "with", name), message, key=True)
        return values

    def _build(
        self,
        driver: type[Driver],
        config: DeviceConfig,
        device_map: DeviceMap,
        source: SourceMap,
        name: str,
        *,
        is_sound: bool,
    ) -> None:
        on_bus = getattr(config, "bus", None)
        bus = self._buses.get(on_bus) if isinstance(on_bus, str) else None
        if on_bus is not None and bus is None:
            is_sound = False
        chosen = driver.for_map(device_map)
        if issubclass(chosen, StreamDriver) and device_map.stream is None:
            return  # the map has no stream, which has been told
        try:
            self.devices[name] = chosen(name, config, device_map, bus)
        except ConfigError as error:
            placed = [self._placed(fault, ("devices", name)) for fault in error.faults]
            found = [source.pinpoint(fault, device_map) for fault in placed]
            self._file.faults += [fault for fault, _ in found]
            self._blame_values(name, config.with_, source, {path for _, path in found if path})
        except Exception as error:
            if is_sound:  # with settings at fault it may well fail; they have been reported
                what = f"{type(error).__name__}: {error}"
                message = f"driver '{config.driver}' failed, which is a bug in it: {what}"
                self._file.fault(("devices", name), message)

    def _blame_values(
        self, name: str, values: Mapping[str, object], source: SourceMap, wrong: set[Path_]
    ) -> None:
        """A fault of each placeholder's value that no address of the map is right with."""
        left = set(wrong)
        for key, uses in source.uses.most_common():
            of_key = {path for path in left if key in source.placeholders_of(path)}
            if key in values and len(of_key) == uses:
                where = f"{source.document.file}:{source.placeholders[key]}"
                message = f"'{values[key]}' for {{{key}}} makes no valid address; see {where}"
                self._file.fault(("devices", name, "with", key), message)
                left -= of_key
