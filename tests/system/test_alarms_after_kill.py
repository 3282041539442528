"""Transitions that a kill took on their way to a sink: their own database has them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from gateway.sinks.historian import HistorianConfig, HistorianSink
from tests.support import until
from tests.system.test_alarms import FORCE, GUARD, Hall

NEVER = "flush_interval_s: 60"


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(tmp_path)


def stored(hall: Hall) -> list[tuple[int, str]]:
    """Number and state of all transitions that the historian has, oldest first."""
    sink = HistorianSink(
        "history", HistorianConfig(type="sqlite", store_every_s=0), hall.folder / "state"
    )
    try:
        rows = [row for _, row in sink.newest_rows("press", "gateway_alarm", 0, 100)]
    finally:
        sink.close()
    return sorted((row["number"], row["state"]) for row in rows)


@pytest.mark.parametrize("ran_before", [False, True])
def test_after_a_kill_a_sink_has_all_transitions(hall: Hall, *, ran_before: bool) -> None:
    hall.write(FORCE) if ran_before else hall.write(FORCE, GUARD)
    if ran_before:
        with hall.running():
            until(lambda: len(hall.states()) == 1)
        hall.write(FORCE, GUARD)
    text = hall.file.read_text()
    hall.file.write_text(text.replace("flush_interval_s: 0.2", NEVER))
    with hall.running(signal.SIGKILL):
        until(lambda: len(hall.states()) == 2)
        body = {"id": "press/guard", "why": "seen", "who": "anna"}
        hall.client.post_json("/v1/alarms/acknowledge", body=body)
    lost = stored(hall)
    assert len(lost) == ran_before, "the kill cost none: the test proves nothing"
    with hall.running():
        kept = [(t["number"], t["state"]) for t in hall.history()]
    assert len(kept) == 3
    assert stored(hall) == kept, "each once"
