"""The section ``notify:``: what is wrong is told at its place; what the page shows can be used."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

from gateway.alarms.notify import KINDS
from gateway.config.collect import Collector
from gateway.config.notifiers import load_notifiers
from gateway.yamlfile import read_yaml
from tests.support import ROOT

PAGE = ROOT / "docs" / "notifications.md"


def loaded(folder: Path, text: str) -> tuple[list[str], dict[str, object]]:
    file = folder / "gateway.yaml"
    file.write_text(text)
    collector = Collector(read_yaml(file))
    found = load_notifiers(collector, folder)
    faults = [str(f).removeprefix(f"{folder}/") for f in collector.faults]
    return [f.replace(f"{folder}/", "") for f in faults], dict(found)


def test_the_example_of_the_page_can_be_used(tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(notify:.*?)```", PAGE.read_text("utf-8"), re.S)[0]
    (tmp_path / "secrets").mkdir()
    for name in ("cmms", "mqtt", "mail"):
        (tmp_path / "secrets" / name).write_text("a secret\n")
    faults, found = loaded(tmp_path, example)
    assert faults == []
    assert {config.type for config in found.values()} == set(KINDS)  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(found)) == found


def test_what_is_wrong_is_told_at_its_place(tmp_path: Path) -> None:
    faults, _ = loaded(
        tmp_path,
        "notify:\n"
        "  hook: {type: webhook, url: 'http://x/y', secret_file: nope, severty: high}\n"
        "  bad: {type: webhok}\n"
        "  none: {severity: high}\n"
        "  m: {type: mqtt, host: b, topic: 'a/{devise}'}\n"
        "  j: {type: journald, states: [foo], severity: hihg}\n"
        '  "a/b": {type: journald}\n'
        "  n: 3\n",
    )
    assert sorted(faults) == sorted(
        [
            "gateway.yaml:2:57: notify.hook.secret_file: nope cannot be read: there is no such "
            "file",
            "gateway.yaml:2:63: notify.hook.severty: unknown key 'severty'; did you mean "
            "'severity'?",
            "gateway.yaml:3:15: notify.bad.type: unknown type 'webhok'; did you mean 'webhook'?",
            "gateway.yaml:4:3: notify.none: 'type' is missing; expected webhook or mqtt or email "
            "or command or journald",
            "gateway.yaml:5:35: notify.m.topic: unknown field '{devise}'; did you mean '{device}'?",
            "gateway.yaml:6:32: notify.j.states[0]: 'foo' is not known; expected: acknowledged, "
            "latched, normal, returned, shelved, suppressed, unacknowledged",
            "gateway.yaml:6:48: notify.j.severity: 'hihg' is not known; did you mean 'high'?",
            "gateway.yaml:7:3: notify.a/b: 'a/b' names a file; use only letters, digits, _ and -",
            "gateway.yaml:8:6: notify.n: expected `key: value` entries, found the number 3",
        ]
    )
