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
