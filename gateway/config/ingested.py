"""``ingest.devices:``, the tags of other programs that rules may name."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.analysis.ingested import KINDS, tag_table
from gateway.config.collect import Collector
from gateway.config.fingerprints import fingerprint
from gateway.config.validation import name_fault, table_fault, validate
from gateway.ingest.declared import SentDeviceConfig
from gateway.model import RESERVED, Table
from gateway.yamlfile.document import Path_, Section

PATH: Path_ = ("ingest", "devices")


class IngestedTags:
    """A table for each declared tag; the faults go to the collector."""

    def __init__(self, file: Collector, gateway: str) -> None:
        self.tables: list[Table] = []
        self.broken: set[str] = set()
        """Devices with faults: that their tags are not there is no further one."""
        self.fingerprints: dict[str, str] = {}
        """Device -> hash of what is said of it."""
        given = file.document.root.get("ingest")
        self.is_unreadable = given is not None and not isinstance(given, Section)
        """Whether nothing can be said of what is declared."""
        self._file = file
        self._gateway = gateway
        section = file.section(PATH)
        whole = file.section(("ingest",)) or Section(1, 1)
        is_off = whole.get("http", False) is False and not file.has_fault(("ingest", "http"))
        if section and is_off and "grpc" not in whole:
            file.fault(PATH, "nobody can send: expected ingest.http: true or ingest.grpc", key=True)
        configured = file.section(("devices",)) or Section(1, 1)
        for name, its in file.entries(PATH):
            if name in configured:
                message = f"'{name}' is read by this gateway itself; expected another name"
                file.fault((*PATH, name), message, key=True)
            elif name == "gateway":
                message = "the device name 'gateway' is reserved; choose another"
                file.fault((*PATH, name), message, key=True)
            else:
                self._device(name, its)

    def _device(self, name: str, section: Section) -> None:
        path = (*PATH, name)
        faults = list(self._names(path))
        for at, message in faults:
            self._file.fault(at, message, key=True)
        config, _ = validate(SentDeviceConfig, section, self._file.document, path)  # told already
        self.fingerprints[name] = fingerprint(section)
        if faults or config is None:
            self.broken.add(name)
            return
        for key, table in config.tables.items():
            for tag, its in table.tags.items():
                kind = KINDS[its.type]
                self.tables.append(
                    tag_table(self._gateway, name, key, tag, kind, its.unit, table.interval_s)
                )

    def _names(self, path: Path_) -> Iterator[tuple[Path_, str]]:
        """What is wrong with names of tables and tags."""
        for table in self._file.section((*path, "tables")) or ():
            at = (*path, "tables", table)
            if wrong := name_fault(table) or table_fault(table):
                yield at, wrong.removesuffix("; expected another `measurement`")
            for tag in self._file.section((*at, "tags")) or ():
                wrong = name_fault(tag)
                if tag in RESERVED:
                    wrong = f"the name '{tag}' is reserved; no sender can have such a column"
                if wrong:
                    yield (*at, "tags", tag), wrong
