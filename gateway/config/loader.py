"""Loads a gateway's file and the device maps that it names, keeping on after faults."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from gateway.api.settings import ApiConfig, TlsConfig
from gateway.api.tokens import read_tokens
from gateway.config.alarms import AlarmPlanner, read_alarms
from gateway.config.collect import Collector
from gateway.config.devices import DeviceLoader, check_labels
from gateway.config.fingerprints import fingerprint
from gateway.config.ingested import IngestedTags
from gateway.config.namedfiles import with_files
from gateway.config.notifiers import load_notifiers
from gateway.config.plant import FileConfig, Plant
from gateway.config.validation import name_fault, outline, repair, without
from gateway.errors import ConfigError, GatewayError
from gateway.ingest.settings import GrpcConfig, IngestConfig
from gateway.sinks import SinkConfig, find_sink, installed_sinks
from gateway.yamlfile import read_yaml
from gateway.yamlfile.document import Section, printable, shown, tidy

MAX_SOCKET_BYTES = 107
"""Longest path of a Unix socket in Linux."""

_BY_ENTRY = ("sinks", "buses", "devices", "alarms", "notify")
"""Sections that are judged entry by entry."""

_SINK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def load_plant(path: Path) -> Plant:
    """The plant of a gateway's file (an absolute path); ConfigError with all faults."""
    try:
        return _Loader(path).load()
    except ConfigError as error:
        faults = [f._replace(message=printable(f.message)) for f in error.faults]
    raise ConfigError(faults)


class _Loader(Collector):
    """Loads one gateway's file."""

    def __init__(self, path: Path) -> None:
        super().__init__(read_yaml(path))
        self._path = path
        self._folder = path.parent

    def load(self) -> Plant:
        """Go through the whole file."""
        root = self.document.root
        file, _ = self.validate(FileConfig, outline(root, *_BY_ENTRY), ())
        gateway = self.section(("gateway",)) or Section(1, 1)
        name = gateway.get("name")
        wrong = name_fault(name) if isinstance(name, str) else None
        if wrong:
            self.fault(("gateway", "name"), wrong)
        labels = check_labels(self, ("gateway", "labels"))
        api = self._api()
        ingest = self._ingest(api)
        sinks = {n: self._sink(n, section) for n, section in self.entries(("sinks",))}
        notify = load_notifiers(self, self._folder)
        named = self.section(("notify",)) or Section(1, 1)
        alarms = AlarmPlanner(self.faults, *read_alarms(self), notifiers=named.keys())
        called = name if isinstance(name, str) else ""
        sent = IngestedTags(self, called)
        devices = DeviceLoader(self, self._folder, called, labels, alarms, sent)
        devices.load()
        for what in ("sinks", "devices"):
            section = self.section((what,))
            if section is not None and not section:
                self.fault((what,), f"there are no {what}; expected at least one", key=True)
        if self.faults or file is None:
            raise ConfigError(self.faults)
        return Plant(
            file=self._path,
            name=file.gateway.name,
            labels=file.gateway.labels,
            state_dir=tidy(self._folder / file.state_dir),
            require_clock=file.gateway.require_clock,
            api=api,
            writer=file.writer,
            spool=file.spool,
            ingest=ingest,
            sinks={n: sink for n, sink in sinks.items() if sink is not None},
            buses=devices.plan(),
            devices=devices.devices,
            streams=devices.planner.streams,
            aggregates=devices.planner.aggregates,
            alarms=devices.alarms,
            notify=notify,
            fingerprints={
                "device": devices.fingerprints,
                "bus": {n: fingerprint(s) for n, s in (self.section(("buses",)) or {}).items()},
                "sink": {n: fingerprint(s) for n, s in (self.section(("sinks",)) or {}).items()},
                "alarm": alarms.prints,
                "settings": {
                    **{
                        key: fingerprint(root.get(key))
                        for key in FileConfig.model_fields
                        if key not in ("sinks", "buses", "devices")
                    },
                    "alarms": alarms.settings_print(self.section(("alarms",))),
                    "ingest": fingerprint(without(self.section(("ingest",)), "devices")),
                    "ingest.devices": fingerprint(sent.fingerprints),
                },
            },
            files=[self._path, *devices.files],
            warnings=devices.warnings,
        )

    def _api(self) -> ApiConfig:
        section = self.section(("api",))
        if section is None:
            return ApiConfig.model_validate({})
        usable = repair(ApiConfig, section)
        if usable is None:
            return ApiConfig.model_validate({})
        api, faults = with_files(usable, self._folder)
        for key, message in faults:
            hint = "; `gateway token add FILE NAME` makes it" if key == "tokens_file" else ""
            self.fault(("api", key), message + hint)
        if len(os.fsencode(api.socket)) > MAX_SOCKET_BYTES:
            message = f"{shown(api.socket)} is too long for a socket"
            self.fault(("api", "socket"), f"{message}; expected at most {MAX_SOCKET_BYTES} bytes")
        if not faults:
            try:
                if api.tokens_file is not None:
                    read_tokens(api.tokens_file)
            except GatewayError as error:
                self.fault(("api", "tokens_file"), str(error))
        return api if api.tls is None else self._with_tls(api, api.tls)

    def _with_tls(self, api: ApiConfig, given: TlsConfig) -> ApiConfig:
        from gateway.api.tls import load_context  # few need it, and it takes long to import

        tls, faults = with_files(given, self._folder)
        for key, message in faults:
            self.fault(("api", "tls", key), message)
        if not faults:
            try:
                load_context(tls)
            except GatewayError as error:
                self.fault(("api", "tls"), str(error))
        return api.model_copy(update={"tls": tls})

    def _ingest(self, api: ApiConfig) -> IngestConfig:
        section = self.section(("ingest",))
        usable = None if section is None else repair(IngestConfig, section)
        if usable is None or usable.grpc is None:
            return usable or IngestConfig.model_validate({})
        return usable.model_copy(update={"grpc": self._grpc(usable.grpc, api)})

    def _grpc(self, grpc: GrpcConfig, api: ApiConfig) -> GrpcConfig:
        path = ("ingest", "grpc")
        if importlib.util.find_spec("grpc") is None:
            self.fault(path, "needs: pip install 'edge-gateway[ingest]' (missing: grpc)", key=True)
        has_ca = grpc.tls is not None and grpc.tls.client_ca_file is not None
        if not has_ca and api.tokens_file is None:
            message = "nobody could send: expected api.tokens_file, or tls.client_ca_file here"
            self.fault(path, message, key=True)
        if grpc.tls is None:
            return grpc
        tls, faults = with_files(grpc.tls, self._folder)
        for key, message in faults:
            self.fault((*path, "tls", key), message)
        if not faults:
            from gateway.api.tls import load_context  # few need it, and it takes long to import

            try:
                pair = {"certificate_file": tls.certificate_file, "key_file": tls.key_file}
                load_context(TlsConfig.model_validate(pair))
            except GatewayError as error:
                self.fault((*path, "tls"), str(error))
        return grpc.model_copy(update={"tls": tls})

    def _sink(self, name: str, section: Section) -> SinkConfig | None:
        path = ("sinks", name)
        if not _SINK_NAME.fullmatch(name) and not name_fault(name):
            message = f"'{name}' names a folder; use only letters, digits, _ and -"
            self.fault(path, message, key=True)
        kind = self.choice(section, path, "type", installed_sinks)
        if kind is None:
            return None
        try:
            config_class = find_sink(kind).config_class
        except GatewayError as error:
            self.fault((*path, "type"), str(error))
            return None
        _, usable = self.validate(config_class, section, path)
        if usable is None:
            return None
        config, faults = with_files(usable, self._folder)
        for key, message in faults:
            self.fault((*path, key), message)
        return config
