"""Reads the file of `gateway writer`; all its faults in one pass, each with its place."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.api.tokens import read_tokens
from gateway.config.collect import Collector
from gateway.config.namedfiles import with_files
from gateway.config.validation import outline
from gateway.errors import ConfigError, GatewayError
from gateway.relay.settings import NAME, WriterFile
from gateway.sinks import SinkConfig, find_sink, installed_sinks
from gateway.yamlfile import gc_paused, read_yaml
from gateway.yamlfile.document import Section, printable, tidy


def load_writer(path: Path) -> WriterFile:
    """The settings, with absolute paths. ConfigError with all faults of the file."""
    try:
        with gc_paused():
            return _load(tidy(Path(path).absolute()))
    except ConfigError as error:
        faults = [f._replace(message=printable(f.message)) for f in error.faults]
    raise ConfigError(faults)


def named(file: WriterFile, worker: str) -> WriterFile:
    """The same as another worker. GatewayError where that is no name."""
    if not re.fullmatch(NAME, worker):
        raise GatewayError(f"worker '{worker}': expected letters, digits, _ . and -, at most 64")
    return file.model_copy(update={"worker": worker})


def is_writer_file(path: Path) -> bool:
    """Whether it has the keys of a writer's file, and none of a gateway's."""
    root = read_yaml(tidy(Path(path).absolute())).root
    return "sink" in root and "group" in root and "devices" not in root


def _load(path: Path) -> WriterFile:
    found = Collector(read_yaml(path))
    folder = path.parent
    root = found.document.root
    given = outline(root)
    if isinstance(root.get("sink"), Section):
        given["sink"] = {"type": "judged apart"}
    _, file = found.validate(WriterFile, given, ())
    sink = _sink(found, folder)
    updates: dict[str, object] = {"sink": sink}
    if file is not None:
        for key in ("redis", "api"):
            if (settings := getattr(file, key)) is None:
                continue
            made, faults = with_files(settings, folder)
            for field, message in faults:
                found.fault((key, field), message)
            updates[key] = made
            if key == "api" and not faults and made.tokens_file is not None:
                try:
                    read_tokens(made.tokens_file)
                except GatewayError as error:
                    found.fault(("api", "tokens_file"), str(error))
        updates["state_dir"] = tidy(folder / file.state_dir)
    if found.faults or file is None or sink is None:
        raise ConfigError(found.faults)
    return file.model_copy(update=updates)


def _sink(found: Collector, folder: Path) -> SinkConfig | None:
    section = found.section(("sink",))
    if not isinstance(section, Section):
        return None  # said already
    kind = found.choice(section, ("sink",), "type", installed_sinks)
    if kind is None:
        return None
    try:
        config_class = find_sink(kind).config_class
    except GatewayError as error:
        found.fault(("sink", "type"), str(error))
        return None
    _, usable = found.validate(config_class, section, ("sink",))
    if usable is None:
        return None
    config, faults = with_files(usable, folder)
    for key, message in faults:
        found.fault(("sink", key), message)
    return config
