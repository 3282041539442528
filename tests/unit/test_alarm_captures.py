"""Raw windows around alarms: which samples are in them, their bounds, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.alarms.captures import Asked, Captures, window
from gateway.alarms.model import Severity, State, Transition, UnknownAlarm
from gateway.alarms.settings import CaptureConfig, CapturesConfig
from gateway.analysis.stream import StreamAnalysis
from gateway.errors import GatewayError
from gateway.model import Table
from tests.support import until
from tests.unit.streamkit import BLOCK, RATE_HZ, Rig

STREAM = """
driver: mock
stream:
  rate_hz: 2560
  channels: {de: {unit: g}, nde: {unit: g}}
  analysis: {window_s: 1, hop_s: 0.1, publish_every_s: 1, history_s: 20}
"""


class Stream:
    """A stream that is fed by hand: sample n of each channel is n."""

    def __init__(self, folder: Path) -> None:
        self.rig = Rig(folder, STREAM)
        self.at = 0
        self.asked = 0

    def find(self, device: str, channel: str) -> tuple[StreamAnalysis, int]:
        if device != "daq":
            raise GatewayError(f"device '{device}' has no waveforms")
        return self.rig.analysis, ["de", "nde"].index(channel)

    @property
    def table(self) -> Table:
        return next(t for t in self.rig.plan.tables if t.channel == "nde")

    def feed(self, seconds: float) -> None:
        count = round(seconds * RATE_HZ) // BLOCK * BLOCK
        samples = np.arange(self.at, self.at + count, dtype=np.float32)
        tone = np.sin(2 * np.pi * 100 * samples / RATE_HZ).astype(np.float32)
        self.rig.feed(np.stack((samples, tone)))
        self.at += count

    def newest_ns(self) -> int:
        return self.rig.analysis.waveform(0, 0.0)[1]


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


@pytest.fixture
def captures(stream: Stream, tmp_path: Path) -> Iterator[Captures]:
    made = Captures(tmp_path / "state", stream.find)
    made.start(bounds())
    yield made
    made.stop(10)


def bounds(**given: Any) -> CapturesConfig:
    return CapturesConfig.model_validate(given)


def ask(
    captures: Captures, stream: Stream, number: int = 1, pre_s: float = 1.0, post_s: float = 0.5
) -> None:
    config = CaptureConfig.model_validate({"pre_s": pre_s, "post_s": post_s})
    captures.ask("daq/vib.high", stream.table, config, of_newest(stream, number))


def of_newest(stream: Stream, number: int = 1) -> Transition:
    """As an alarm that the newest row raised."""
    return Transition(
        number, stream.newest_ns(), "daq", "vib.high", Severity.HIGH, State.NORMAL,
        State.UNACKNOWLEDGED, "high", "too much", 5.0, 3.0, "g",
    )  # fmt: skip


def stored(captures: Captures, count: int = 1) -> list[dict[str, Any]]:
    until(lambda: captures.status()["stored"] >= count, what="the window")
    return captures.listed()


def test_the_window_has_the_samples_of_before_and_after_and_their_spectrum(
    captures: Captures, stream: Stream
) -> None:
    told: list[tuple[str, str]] = []
    captures.on_stored = lambda *which: told.append(which)
    stream.feed(5)
    alarm_ns = stream.newest_ns()
    ask(captures, stream)
    assert captures.listed() == []  # what comes after it is still to come
    stream.feed(2)
    (entry,) = stored(captures)
    assert (entry["id"], entry["time_ns"]) == ("daq/vib.high", alarm_ns)
    assert until(lambda: told) == [("daq/vib.high", entry["name"])]  # after it was counted
    content = captures.read(entry["name"])
    assert entry["bytes"] == len(content)
    with np.load(io.BytesIO(content)) as file:
        samples, rate_hz, t0_ns = file["nde"], float(file["rate_hz"]), int(file["t0_ns"])
        meta = json.loads(str(file["meta"]))
        spectrum, line_hz = file["spectrum"], float(file["line_hz"])
    assert rate_hz == RATE_HZ
    assert len(samples) == round(1.5 * RATE_HZ)
    assert t0_ns == pytest.approx(alarm_ns - 1e9 + 1e9 / RATE_HZ, abs=2)
    first = round(4 * RATE_HZ)
    expected = np.sin(2 * np.pi * 100 * np.arange(first, first + len(samples)) / RATE_HZ)
    assert samples == pytest.approx(expected, abs=2e-3)
    assert np.argmax(spectrum) * line_hz == pytest.approx(100)
    assert spectrum.max() == pytest.approx(1.0, abs=0.01)
    assert meta["message"] == "too much"


def test_samples_that_come_while_it_is_made_push_nothing_out_of_the_window(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.feed(10)
    asked = Asked(
        "daq/vib.high",
        stream.table,
        CaptureConfig.model_validate({"pre_s": 5.0, "post_s": 0.0}),
        of_newest(stream),
        0.0,
    )
    looked = stream.rig.analysis.waveform

    def feeding(*which: Any) -> Any:
        found = looked(*which)
        monkeypatch.undo()
        stream.feed(0.5)
        return found

    monkeypatch.setattr(stream.rig.analysis, "waveform", feeding)
    with np.load(io.BytesIO(window(stream.rig.analysis, 1, asked))) as file:
        assert len(file["nde"]) == round(5.0 * RATE_HZ)
        assert "spectrum" in file


def test_a_stream_that_ends_gives_the_samples_that_there_are(
    captures: Captures, stream: Stream
) -> None:
    stream.feed(5)
    ask(captures, stream, post_s=60.0)
    captures.stop(10)
    (entry,) = captures.listed()
    with np.load(io.BytesIO(captures.read(entry["name"]))) as file:
        assert len(file["nde"]) == round(1.0 * RATE_HZ)


def test_the_oldest_go_where_there_are_too_many_or_too_many_bytes(
    captures: Captures, stream: Stream
) -> None:
    captures.configure(bounds(max_files=3))
    stream.feed(5)
    for number in range(1, 6):
        ask(captures, stream, number, post_s=0.0)
        stored(captures, number)
        stream.feed(1)
    names = [entry["name"] for entry in captures.listed()]
    assert [int(name.split("-")[1]) for name in names] == [5, 4, 3]
    captures.configure(bounds(max_bytes=captures.listed()[0]["bytes"] + 10))
    ask(captures, stream, 6, post_s=0.0)
    stored(captures, 6)
    assert len(captures.listed()) == 1
    captures.configure(bounds(max_bytes=1000))
    ask(captures, stream, 7, post_s=0.0)
    assert "max_bytes" in until(lambda: captures.status()["error"])  # set after it was counted
    assert captures.status()["dropped"] == 1
    assert len(captures.listed()) == 1


def test_more_than_can_wait_is_refused_and_counted(
    captures: Captures, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.alarms.captures.MOST_WAITING", 2)
    stream.feed(5)
    for number in range(1, 6):
        ask(captures, stream, number, post_s=60.0)
    assert captures.status()["dropped"] == 3


def test_a_gap_in_the_stream_is_said_and_hurts_no_other(captures: Captures, stream: Stream) -> None:
    stream.feed(5)
    ask(captures, stream, post_s=60.0)
    stream.rig.analysis.lost()
    captures.stop(10)
    status = captures.status()
    assert (status["stored"], status["dropped"]) == (0, 1)
    assert status["error"] == "there are no samples: the stream began anew since the alarm"


@pytest.mark.parametrize("name", ["../alarms.db", "no.npz", "", "a/b.npz", "x" * 500, ".npz\n"])
def test_no_other_file_can_be_read(captures: Captures, tmp_path: Path, name: str) -> None:
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "alarms.db").write_text("secret")
    with pytest.raises(UnknownAlarm):
        captures.read(name)


def test_what_a_killed_run_left_half_written_is_removed(stream: Stream, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "alarm-captures"
    folder.mkdir(parents=True)
    (folder / "half.part").write_bytes(b"PK")
    (folder / "odd.npz").write_bytes(b"PK not really")
    captures = Captures(tmp_path / "state", stream.find)
    captures.start(bounds())
    until(lambda: not (folder / "half.part").exists())
    assert captures.listed() == []
    captures.stop(10)
