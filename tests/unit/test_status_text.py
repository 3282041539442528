"""What `gateway status` says in words."""

from __future__ import annotations

from gateway.commands.live import status_lines
from tests.unit.apikit import Plant


def test_dead_letters_are_named_with_their_number_and_their_sink() -> None:
    document = Plant().status()
    sinks = document["sinks"]
    sinks["other"] = {**sinks["influx"], "dead_letters": 1}
    sinks["history"] = {k: v for k, v in sinks["influx"].items() if not k.startswith("dead")}
    del sinks['odd"\\\nname']
    (line,) = [line for line in status_lines(document) if "dead letter" in line]
    assert "4 dead letters of sink influx, 1 dead letter of sink other" in line
    assert "gateway dead-letters list" in line
    for sink in sinks.values():
        sink["dead_letters"] = 0
    assert not [line for line in status_lines(document) if "dead letter" in line]


def test_a_reload_that_was_refused_is_told_with_its_first_fault() -> None:
    document = Plant().status()
    document["reload"] = {"ok": True, "faults": []}
    assert not [line for line in status_lines(document) if "reload" in line]
    document["reload"] = {"ok": False, "faults": ["g.yaml:3:1: bad", "g.yaml:4:1: worse"]}
    (line,) = [line for line in status_lines(document) if "reload" in line]
    assert "the last reload was refused, 2 faults: g.yaml:3:1: bad" in line


def test_devices_of_other_programs_have_a_table() -> None:
    document = Plant().status()
    shared = {"reason": None, "tags": 2, "tags_bad": 0}
    document["ingest"] = {"devices": {
        "box": {"state": "good", "newest_s": -2.0, **shared},
        "oven": {**shared, "state": "stale", "newest_s": 90.0, "reason": "t: too old"},
        "press": {**shared, "state": "connecting", "newest_s": None, "tags_bad": 1},
    }}  # fmt: skip
    lines = status_lines(document)
    first = next(i for i, line in enumerate(lines) if line.startswith("SENT DEVICE"))
    found = [line.split() for line in lines[first + 1 : first + 4]]
    assert found[0] == ["oven", "stale:", "t:", "too", "old", "2", "-", "90", "s"]
    assert found[1] == ["press", "connecting", "2", "1", "-"]
    assert found[2] == ["box", "good", "2", "-", "2", "s", "ahead"]
