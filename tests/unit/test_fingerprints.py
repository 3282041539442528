"""What a reload has to restart is what a configuration's parts depend on."""

from __future__ import annotations

from pathlib import Path

from gateway.config.fingerprints import Fingerprints, compare, fingerprint
from tests.unit.streamkit import GATEWAY, PLC, plant_of

STREAM = """
driver: mock
stream: {rate_hz: 2560, channels: {a: {unit: g}}, analysis: {speed: plc.process.speed_rpm}}
"""


def prints(folder: Path, stream: str = STREAM, gateway: str = GATEWAY) -> Fingerprints:
    return plant_of(folder, stream, gateway).fingerprints


def changed(old: Fingerprints, new: Fingerprints) -> list[str]:
    return list(compare(old, new).lines())


def test_comments_and_order_of_keys_change_nothing(tmp_path: Path) -> None:
    first = prints(tmp_path)
    text = STREAM.replace("unit: g", "full_scale: 5, unit: g") + "# words\n"
    other = prints(tmp_path, text.replace("full_scale: 5, unit: g", "unit: g, full_scale: 5"))
    assert changed(prints(tmp_path, text), other) == []
    assert changed(first, other) == ["device daq: changed"]
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])


def test_a_stream_depends_on_the_device_that_has_its_speed(tmp_path: Path) -> None:
    first = prints(tmp_path)
    (tmp_path / "plc.yaml").write_text(PLC)
    other = GATEWAY.replace("map: plc.yaml}", "map: plc.yaml, seed: 2}")
    assert changed(first, prints(tmp_path, gateway=other)) == [
        "device plc: changed",
        "device daq: changed",
    ]
    without = STREAM.replace(", analysis: {speed: plc.process.speed_rpm}", "")
    assert changed(prints(tmp_path, without), prints(tmp_path, without, other)) == [
        "device plc: changed"
    ]


def test_labels_of_the_gateway_change_every_device(tmp_path: Path) -> None:
    other = GATEWAY.replace("{name: g}", "{name: g, labels: {site: x}}")
    assert changed(prints(tmp_path), prints(tmp_path, gateway=other)) == [
        "device plc: changed",
        "device daq: changed",
        "settings gateway: changed",
    ]


def test_sinks_and_devices_come_and_go(tmp_path: Path) -> None:
    other = GATEWAY.replace("{history: {type: sqlite}}", "{other: {type: sqlite}}")
    assert changed(prints(tmp_path), prints(tmp_path, gateway=other)) == [
        "sink history: removed",
        "sink other: added",
    ]
