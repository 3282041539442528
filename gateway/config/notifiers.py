"""Reads ``notify:`` of the gateway's file: who is told of alarms, by name."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from gateway.alarms.notify.settings import KINDS, NotifierConfig
from gateway.config.collect import Collector
from gateway.config.namedfiles import with_files
from gateway.config.validation import name_fault, nearest
from gateway.yamlfile.document import Section

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_NEEDS = {"mqtt": "paho"}
"""Kind -> module of its extra, which has the kind's name."""


def load_notifiers(collector: Collector, folder: Path) -> dict[str, NotifierConfig]:
    """The notifiers that can be used; what is wrong with the others is noted."""
    found = {}
    for name, section in collector.entries(("notify",)):
        config = _load(collector, folder, name, section)
        if config is not None:
            found[name] = config
    return found


def _load(collector: Collector, folder: Path, name: str, section: Section) -> NotifierConfig | None:
    path = ("notify", name)
    if not _NAME.fullmatch(name) and not name_fault(name):
        message = f"'{name}' names a file; use only letters, digits, _ and -"
        collector.fault(path, message, key=True)
    kind = collector.choice(section, path, "type", lambda: KINDS)
    if kind is None:
        return None
    if kind not in KINDS:
        message = f"unknown type '{kind}'; {nearest(kind, KINDS)}"
        collector.fault((*path, "type"), message)
        return None
    if kind in _NEEDS and importlib.util.find_spec(_NEEDS[kind]) is None:
        message = f"'{kind}' needs: pip install 'edge-gateway[{kind}]' (missing: {_NEEDS[kind]})"
        collector.fault((*path, "type"), message)
    _, usable = collector.validate(KINDS[kind], section, path)
    if usable is None:
        return None
    config, faults = with_files(usable, folder)
    for key, message in faults:
        collector.fault((*path, key), message)
    return config
