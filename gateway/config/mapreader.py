"""Reads one device map and collects all its faults that need no device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gateway.analysis.settings import StreamConfig
from gateway.config.alarms import read_rules
from gateway.config.collect import Collector
from gateway.config.maps import (
    GroupConfig,
    Grouped,
    MapConfig,
    Placed,
    PlacedModule,
    SourceMap,
)
from gateway.config.placeholders import names_in
from gateway.config.streamreader import read_stream, refuse_misplaced
from gateway.config.validation import name_fault, nearest, outline, table_fault
from gateway.driver import Driver, Tag, TagConfig
from gateway.errors import GatewayError, Place
from gateway.yamlfile import read_yaml
from gateway.yamlfile.document import Document, Path_, Section


def read_map(path: Path, find_driver: Callable[[str], type[Driver]]) -> SourceMap:
    """Read a device map; ConfigError only where there is nothing to go on with."""
    document = read_yaml(path)
    reader = _Reader(document, find_driver)
    reader.read()
    if reader.faults:
        reader.note_all_placeholders()
    return reader.map


class _Reader(Collector):
    """Reads one device map and collects its faults."""

    def __init__(self, document: Document, find_driver: Callable[[str], type[Driver]]) -> None:
        super().__init__(document)
        self._find_driver = find_driver
        self.map = SourceMap(document, faults=self.faults)
        self._tag_class: type[TagConfig] = TagConfig
        self._tags: TypeAdapter[dict[str, TagConfig]] | None = None

    def read(self) -> None:
        """Fill the map."""
        root = self.document.root
        # a stream has keys that must be given: it is read by itself
        bare = outline(root, "modules", "groups", "alarms")
        if isinstance(bare.get("stream"), Section):
            del bare["stream"]
        refuse_misplaced(self, bare, MapConfig, (), {"stream": StreamConfig})
        self.validate(MapConfig, bare, ())
        name = root.get("driver")
        if not isinstance(name, str):
            if "groups" not in root and "stream" not in root:
                self._missing("groups")
            return
        self.map.driver = name
        self.map.rules = list(read_rules(self, ("alarms",), self._note_placeholders))
        try:
            driver = self._find_driver(name)
        except GatewayError as error:
            self.fault(("driver",), str(error))
            return
        if "stream" in root:
            self._read_stream(driver)
            return
        if "groups" not in root:
            self._missing("groups" if driver.tag_class else "stream")
            return
        if driver.tag_class is None:
            message = f"driver '{name}' only streams; use `stream:` with channels"
            self.fault(("groups",), message, key=True)
            return
        self._tag_class = driver.tag_class
        self._tags = TypeAdapter(dict[str, self._tag_class])  # type: ignore[name-defined]
        for module, section in self.entries(("modules",)):
            tags = self._read_tags(section, ("modules", module))
            self.map.modules[module] = [t for t in tags if self._suits(t, "at")]
            if not section:
                self.fault(("modules", module), "the module has no tags", key=True)
        groups = root.get("groups")
        if isinstance(groups, Section) and not groups:
            self.fault(("groups",), "there are no groups; expected at least one", key=True)
        for group, section in self.entries(("groups",)):
            self._read_group(group, section)
        self._check_overlaps()
        used = {placed.module for group in self.map.groups for placed in group.placed}
        self.map.warnings += [
            f"{self.document.place(('modules', m), key=True).file}: module '{m}' is never placed"
            for m in self.map.modules
            if m not in used
        ]

    def _missing(self, key: str) -> None:
        text = MapConfig.model_fields[key].description or ""
        self.fault((), f"'{key}' is missing; expected: {text[:1].lower()}{text[1:-1]}", key=True)

    def _read_stream(self, driver: type[Driver]) -> None:
        for other in ("groups", "modules"):
            if other in self.document.root:
                message = f"a map has `stream` or `{other}`, not both; make it two maps"
                self.fault((other,), message, key=True)
        if driver.channel_class is None:
            message = f"driver '{self.map.driver}' does not stream; use `groups:` with tags"
            self.fault(("stream",), message, key=True)
            return
        section = self.section(("stream",))
        if section is not None:
            self.map.stream = read_stream(self, driver.channel_class, self._note_placeholders)

    def _read_tags(self, section: Section, path: Path_) -> list[Tag]:
        if self._tags is None:
            return []
        for _, tag in self.entries(path):
            _keep_text(tag, "address")
            _keep_text(tag, "at")
        try:
            # a text at fault may be of a tag in here: what is expected there tells how to mend it
            specs = {} if self.document.bad else self._tags.validate_json(json.dumps(section))
        except ValidationError:
            specs = {}
        if not specs:
            specs = self._read_one_by_one(section, path)
        tags = []
        for name, spec in specs.items():
            if self.document.bad and self._is_bad(section[name]):
                continue
            key = "at" if spec.address is None else "address"
            text = getattr(spec, key)
            if isinstance(text, str) and not self._note_placeholders(text, (*path, name, key)):
                continue
            tags.append(Tag(name, spec, self.document.place((*path, name), key=True)))
        return tags

    def _is_bad(self, tag: Section) -> bool:
        return any((s.value_line, s.value_col) in self.document.bad for s in tag.spots.values())

    def _read_one_by_one(self, section: Section, path: Path_) -> dict[str, TagConfig]:
        specs: dict[str, TagConfig] = {}
        for name, tag in section.items():
            if isinstance(tag, Section):
                spec, _ = self.validate(self._tag_class, tag, (*path, name))
                if spec is not None:
                    specs[name] = spec
        return specs

    def _note_placeholders(self, text: str, path: Path_) -> bool:
        """Remember the placeholders of an address; False where its braces are wrong."""
        if "{" not in text and "}" not in text:
            return True
        names = names_in(text)
        if names is None:
            self.fault(path, f"'{text}': expected placeholders such as {{db}}")
            return False
        self.map.uses.update(set(names))
        for name in names:
            self.map.placeholders.setdefault(name, self.document.place(path).line)
        return True

    def note_all_placeholders(self) -> None:
        """Remember those of texts that were not read, because something around them is wrong."""

        def walk(value: object, path: Path_) -> None:
            if isinstance(value, dict | list):
                for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                    if path[:1] != ("alarms",) or key != "message":  # whose braces are its own
                        walk(inner, (*path, key))
            elif isinstance(value, str):
                for name in names_in(value) or ():
                    self.map.placeholders.setdefault(name, self.document.place(path).line)

        walk(self.document.root, ())

    def _suits(self, tag: Tag, key: str) -> bool:
        """Whether the tag has only the kind of address that belongs here."""
        wrong = "address" if key == "at" else "at"
        if getattr(tag.spec, wrong) is None:
            return True
        message = f"`{wrong}` is not for the tags of a {'module' if key == 'at' else 'group'}"
        self.faults.append(tag.place.fault(f"{message}; use `{key}`"))
        return False

    def _read_group(self, name: str, section: Section) -> None:
        path = ("groups", name)
        config, usable = self.validate(GroupConfig, outline(section, "tags", "modules"), path)
        own = section.get("tags")
        tags = self._read_tags(own, (*path, "tags")) if isinstance(own, Section) else []
        group = Grouped(
            name,
            config.interval_s if config else 1.0,
            (config.measurement if config else None) or name,
            [t for t in tags if self._suits(t, "address")],
            [],
            self.document.place(path, key=True),
            list(usable.aggregates.items()) if usable else [],
        )
        if config and config.measurement is not None:
            self._check_measurement(config.measurement, (*path, "measurement"))
        elif own and (wrong := table_fault(name)):
            self.fault(path, wrong, key=True)
        for instance, placed in self.entries((*path, "modules")):
            self._place_module(group, instance, placed)
        if not own and not section.get("modules"):
            self.fault(path, "the group has no tags", key=True)
        self.map.groups.append(group)

    def _check_measurement(self, name: str, path: Path_) -> None:
        wrong = name_fault(name) or table_fault(name)
        if wrong:
            self.fault(path, wrong)

    def _place_module(self, group: Grouped, instance: str, section: Section) -> None:
        path = ("groups", group.name, "modules", instance)
        _keep_text(section, "at")
        placed, _ = self.validate(PlacedModule, section, path)
        if placed is None:
            return
        if placed.measurement is not None:
            self._check_measurement(placed.measurement, (*path, "measurement"))
        elif wrong := table_fault(placed.use):
            self.fault((*path, "use"), wrong)
        if placed.use not in self.map.modules:
            if placed.use not in (self.section(("modules",)) or ()):
                hint = nearest(placed.use, self.map.modules)
                self.fault((*path, "use"), f"unknown module '{placed.use}'; {hint}")
            return
        at = "" if placed.at is None else str(placed.at)
        if not at and any(tag.spec.at is not None for tag in self.map.modules[placed.use]):
            self.fault(
                path, "'at' is missing; expected: the address at which the module begins", key=True
            )
            return
        if not self._note_placeholders(at, (*path, "at")):
            return
        place = self.document.place(path, key=True)
        measurement = placed.measurement or placed.use
        group.placed.append(Placed(instance, placed.use, measurement, at, place))

    def _check_overlaps(self) -> None:
        series: dict[tuple[str, str], Place] = {}
        of_groups = {g.measurement: g for g in self.map.groups if g.tags}
        for group in self.map.groups:
            if group.name in self.map.modules:
                line = self.document.place(("modules", group.name), key=True).line
                message = f"a module has the name '{group.name}' too (line {line}); rename one"
                self.faults.append(group.place.fault(message))
            tables = [(group.measurement, "", group.place)] if group.tags else []
            tables += [(p.measurement, p.instance, p.place) for p in group.placed]
            for measurement, instance, place in tables:
                first = series.setdefault((measurement, instance), place)
                if first is not place:
                    message = (
                        f"its rows could not be told from those of {first.path} (line "
                        f"{first.line}): both are '{measurement}'; set another `measurement`"
                    )
                    self.faults.append(place.fault(message))
                owner = of_groups.get(measurement)
                if instance and owner and owner.name not in self.map.modules:
                    message = (
                        f"the table '{measurement}' is the group's of line {owner.place.line}; "
                        "set another `measurement`"
                    )
                    self.faults.append(place.fault(message))


def _keep_text(section: Section, key: str) -> None:
    """An address is text as it was written: 4.10 is not 4.1."""
    if type(section.get(key)) in (int, float):
        section[key] = section.spots[key].text
