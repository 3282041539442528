"""Device maps: their settings, and how a map that was read is applied to each of its devices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from gateway.alarms.settings import AnyRule
from gateway.analysis.settings import AggregateConfig, StreamConfig
from gateway.config.alarms import ReadRule
from gateway.config.placeholders import BRACES, fill
from gateway.config.streamreader import Streamed
from gateway.driver import DeviceMap, GroupSpec, Settings, TableSpec, Tag, TagConfig
from gateway.errors import Fault, Place
from gateway.yamlfile.document import Document, Path_, Section

Labels: TypeAlias = tuple[tuple[str, str], ...]


class PlacedModule(Settings):
    """One entry of a group's ``modules:``, a module at an address."""

    use: str = Field(description="Name of the module.")
    at: str | int | float | None = Field(
        None, description="Address at which it begins, in the driver's own notation."
    )
    measurement: str | None = Field(
        None, description="Table to write to; left out: the module's name."
    )


class GroupConfig(Settings):
    """One entry of ``groups:``, what is polled together."""

    interval_s: Annotated[float, Field(ge=0.005, le=86400)] = Field(
        description="Time from one poll to the next, in seconds."
    )
    measurement: str | None = Field(
        None, description="Table to write to; left out: the group's name."
    )
    tags: dict[str, TagConfig] = Field(
        default_factory=dict, description="The group's own tags, by name."
    )
    modules: dict[str, PlacedModule] = Field(
        default_factory=dict, description="Modules placed in the group, by name of the instance."
    )
    aggregates: dict[str, AggregateConfig] = Field(
        default_factory=dict,
        description="Statistics of the group's tags over a sliding window; each fills the table "
        "GROUP_NAME.",
    )


class MapConfig(Settings):
    """A device map: what a kind of machine has to tell."""

    driver: str = Field(description="Driver whose notation the addresses are in.")
    modules: dict[str, dict[str, TagConfig]] = Field(
        default_factory=dict,
        description="Sets of tags at relative addresses (`at:`), by name; groups place them.",
    )
    groups: dict[str, GroupConfig] = Field(
        default_factory=dict, description="What is polled, by name."
    )
    stream: StreamConfig | None = Field(
        None, description="What is sampled without a pause; in place of groups."
    )
    alarms: dict[str, AnyRule] = Field(
        default_factory=dict,
        description="Rules for every device of this map, by name; tags are named table.tag.",
    )


@dataclass(slots=True)
class Placed:
    """A module at its place."""

    instance: str
    module: str
    measurement: str
    at: str
    place: Place


@dataclass(slots=True)
class Grouped:
    """A group with its tags and modules."""

    name: str
    interval_s: float
    measurement: str
    tags: list[Tag]
    placed: list[Placed]
    place: Place
    aggregates: list[tuple[str, AggregateConfig]] = field(default_factory=list)


@dataclass(slots=True)
class SourceMap:
    """A device map as it was read, with its placeholders still open."""

    document: Document
    driver: str = ""
    modules: dict[str, list[Tag]] = field(default_factory=dict)
    groups: list[Grouped] = field(default_factory=list)
    stream: Streamed | None = None
    rules: list[ReadRule] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    placeholders: dict[str, int] = field(default_factory=dict)
    """Name -> line of its first use."""
    uses: Counter[str] = field(default_factory=Counter)
    """Placeholder -> number of addresses that have it."""
    places: dict[Place, Path_] = field(default_factory=dict)
    """Where each tag and placed module stands -> its keys; filled on the first fault."""

    def apply(self, device: str, labels: Labels, values: Mapping[str, object]) -> DeviceMap:
        """The map for one device; what has a placeholder without a value is left out."""
        groups = []
        for group in self.groups:
            tables = []
            own = _filled(group.tags, values)
            if own:
                tables.append(TableSpec(group.measurement, labels, own, group.place))
            for placed in group.placed:
                base = fill(placed.at, values)
                if base is None:
                    continue
                tags = _filled(self.modules[placed.module], values, base)
                if tags:
                    inner = (*labels[:2], ("module", placed.instance), *labels[2:])
                    tables.append(TableSpec(placed.measurement, inner, tags, placed.place))
            if tables:
                groups.append(GroupSpec(group.name, group.interval_s, tables, group.place))
        stream = self.stream.apply(values) if self.stream else None
        return DeviceMap(self.document.file, groups, stream)

    def placeholders_of(self, path: Path_) -> list[str]:
        """The placeholders in the entry at ``path``."""
        return BRACES.findall(self.document.text(path) or "")

    def pinpoint(self, fault: Fault, device_map: DeviceMap) -> tuple[Fault, Path_]:
        """A driver's fault of a tag, moved to the entry that its message speaks of; its keys."""
        if not self.places:
            self.places = {
                self.document.place(p, key=True): p for p in _tag_paths(self.document.root)
            }
        path = self.places.get(fault.place)
        if path is None:
            return fault, ()
        section = self.document.value(path)
        quoted: dict[str | None, Path_] = {}
        for key in section:
            quoted.setdefault(self.document.text((*path, key)), (*path, key))
        tables = [t for group in device_map.groups for t in group.tables]
        for table, tag in ((t, tag) for t in tables for tag in t.tags if tag.place == fault.place):
            quoted[tag.address] = (*path, "address" if tag.base is None else "at")
            if tag.base is not None and table.place in self.places:
                quoted[tag.base] = (*self.places[table.place], "at")
        for channel in device_map.stream.channels if device_map.stream else ():
            if channel.place == fault.place and channel.spec.address is not None:
                quoted[channel.spec.address] = (*path, "address")
        for word in re.findall(r"'([^']+)'", fault.message):
            found = quoted.get(word) or quoted.get(word.partition(": ")[2] or word)
            if found:
                return self._moved(fault, found), found
        for key in section:
            if key not in ("type", "address", "at") and key in re.split(r"\W+", fault.message):
                return self._moved(fault, (*path, key)), (*path, key)
        return fault, ()

    def _moved(self, fault: Fault, path: Path_) -> Fault:
        return self.document.place(path).fault(fault.message)


def _filled(tags: list[Tag], values: Mapping[str, object], base: str | None = None) -> list[Tag]:
    out = []
    key = "address" if base is None else "at"
    for tag in tags:
        given = str(getattr(tag.spec, key) or "")
        spec = tag.spec
        if "{" in given:
            text = fill(given, values)
            if text is None:
                continue
            spec = spec.model_copy(update={key: text})
        elif base is None:
            out.append(tag)  # nothing is the device's own: all devices share it
            continue
        out.append(Tag(tag.name, spec, tag.place, base))
    return out


def _tag_paths(root: Section) -> Iterator[Path_]:
    def inner(section: Any, *path: str) -> Iterator[Path_]:
        if isinstance(section, dict):
            yield from ((*path, name) for name in section)

    for module, tags in _sections(root.get("modules")):
        yield from inner(tags, "modules", module)
    for group, section in _sections(root.get("groups")):
        yield from inner(section.get("tags"), "groups", group, "tags")
        yield from inner(section.get("modules"), "groups", group, "modules")
    stream = root.get("stream")
    if isinstance(stream, Section):
        yield from inner(stream.get("channels"), "stream", "channels")


def _sections(value: Any) -> Iterator[tuple[str, Section]]:
    if isinstance(value, Section):
        yield from ((k, v) for k, v in value.items() if isinstance(v, Section))
