"""Vibration through the daemon as a process: simulated card and PLC, a real run to failure."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.api.client import Client, NotRunning, RequestFailed
from tests.recordings import recordings
from tests.support import ROOT, until
from tests.system.cli_kit import called, gateway, objects, said, started

PLANT = """
gateway: {{name: g}}
state_dir: state
api: {{socket: s}}
writer: {{flush_interval_s: 0.5}}
sinks: {{history: {{type: sqlite, store_every_s: 0}}}}
devices:
  daq: {{driver: mock, map: daq.yaml}}
{more}"""


def newest(client: Client, device: str) -> dict[str, dict[str, Any]]:
    """Channel -> column -> the newest value; empty while the gateway does not answer."""
    try:
        values = client.get_json("/v1/latest", {"device": device})["values"]
    except (NotRunning, RequestFailed):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for value in values:
        found.setdefault(value["labels"].get("channel", ""), {})[value["tag"]] = value["value"]
    return found


def history(folder: Path, tag: str) -> list[tuple[int, Any]]:
    """Time and value of every stored value of a tag, oldest first."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "history.db")) as store:
        return store.execute(
            "select time_ns, value from history where tag = ? order by time_ns", (tag,)
        ).fetchall()


@pytest.mark.timeout(120)
def test_the_pump_runs_on_a_simulated_card_and_plc(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    file = tmp_path / "configs" / "vibration.yaml"
    text = file.read_text("utf-8")
    text = re.sub(r"^api: .*$", f"api: {{socket: {tmp_path}/s}}", text, flags=re.MULTILINE)
    file.write_text(text, "utf-8")
    client = Client(tmp_path / "s")
    log = tmp_path / "log"
    with started("run", "--sim", file, log=log) as process:
        said(log, "Next, in another terminal", process)

        def whole() -> bool:
            rows = newest(client, "daq_1")
            return all(
                rows.get(c, {}).get("bpfo_ratio") is not None
                and rows[c]["state"] in ("nominal", "running")
                for c in ("drive_end", "free_end")
            )

        until(whole, 60, "features with the speed of the PLC")
        rows = newest(client, "daq_1")
        for channel in ("drive_end", "free_end"):
            assert 24.3 < rows[channel]["speed_hz"] < 25.0, "1480 rpm, from the S7 tag"
            assert rows[channel]["velocity_rms"] > 0.1
            assert rows[channel]["zone"] in "ABCD"
        assert rows["drive_end"]["setup"] != rows["free_end"]["setup"], "another bearing"
        spectrum = client.get_json("/v1/spectrum", {"device": "daq_1", "channel": "drive_end"})
        assert spectrum["setup"]["bearing"]["elements"] == 9
        assert len(spectrum["amplitude"]) == 12_801
        shown = gateway("spectrum", file, "daq_1", "drive_end", "--plot", tmp_path / "s.png")
        assert "ENVELOPE HZ" in shown.stdout
        assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
        saved = gateway("capture", file, "daq_1", "drive_end", tmp_path / "c.npz", "--seconds", "2")
        assert "the newest 2 s" in saved.stderr
        assert "gateway features" in saved.stderr
        refused = gateway("capture", file, "daq_1", "drive_end", tmp_path / "c.dat", expect=2)
        assert "ends in .npz" in refused.stderr
        told = gateway("status", "--config", file, expect=None).stdout
        assert re.search(r"^daq_1 +2 +25,600 Hz ", told, re.MULTILINE), "the stream by itself"
        read = gateway("read", file, "daq_1", expect=None)
        assert "velocity_rms" in read.stdout
        minute = until(lambda: newest(client, "plc_1").get("", {}), 5, "rows of the PLC")
        until(lambda: "pressure_mean" in newest(client, "plc_1")[""], 20, "its aggregates")
        assert 5.5 <= newest(client, "plc_1")[""]["pressure_mean"] <= 6.5
        assert minute["speed_rpm"] == pytest.approx(1480, abs=15.1)
        status = client.get_json("/v1/status")["devices"]["daq_1"]
        assert status["facts"]["stream"]["gaps"] == 0
    assert "Traceback" not in log.read_text("utf-8")
    again = called("features", tmp_path / "c.npz", "--channel", "drive_end", "--json")
    assert len(objects(again.stdout)) == 11
    with np.load(tmp_path / "c.npz") as capture:
        meta = json.loads(str(capture["meta"]))
    assert meta["setup"]["sensitivity_mv_per_g"] == 100.2


@pytest.mark.timeout(90)
def test_a_bearing_that_ran_to_failure_shows_its_trend_rising(tmp_path: Path) -> None:
    """FEMTO Bearing2_4: 130 snapshots of 0.1 s, to the end of the bearing, as one stream."""
    recording = recordings() / "femto_Bearing2_4_run.npz"
    (tmp_path / "daq.yaml").write_text(
        f"""
driver: mock
stream:
  rate_hz: 25600
  channels:
    vertical:
      unit: g
      replay:
        {{file: {recording}, channel: "acc_mg[1]", rate_hz: 25600, scale: 0.001, loop: false}}
  analysis: {{publish_every_s: 0.1, averages: {{rms: {{mode: linear, over_s: 2}}}}}}
"""
    )
    file = tmp_path / "gateway.yaml"
    file.write_text(PLANT.format(more=""))
    log = tmp_path / "log"
    with started("run", file, log=log) as process:
        said(log, "Next, in another terminal", process)
        client = Client(tmp_path / "s")

        def ended() -> bool:
            with contextlib.suppress(NotRunning):
                return client.get_json("/v1/status")["devices"]["daq"]["reason"] == "ended"
            return False

        until(ended, 40, "the end of the recording")
    rms = np.array([value for _, value in history(tmp_path, "rms") if value is not None])
    with np.load(recording) as data:
        samples = data["acc_mg"][:, :, 1].ravel() / 1000.0
    # from the second hop on, which the first envelope waits for, to the end
    windows = [samples[at : at + 25_600] for at in range(2_560, len(samples) - 25_599, 2_560)]
    assert rms == pytest.approx([np.std(w) for w in windows], rel=1e-4), "every window, no other"
    assert np.all(np.diff(rms[-8:]) > 0), "it rises to the end"
    assert rms[-1] > 3 * np.median(rms[:60])
    average = [value for _, value in history(tmp_path, "rms_avg") if value is not None]
    assert average[-1] > 1.5 * np.median(average[:60])


def test_a_recording_is_judged_by_the_same_code(tmp_path: Path) -> None:
    published = {"cwru_106_inner_1hp": 5.54, "cwru_119_ball_1hp": 2.96, "cwru_223_ball_1hp": 9.41,
                 "cwru_131_outer6_1hp": 7.60}  # fmt: skip
    for name, kurtosis in published.items():
        done = called(
            "features", recordings() / f"{name}.npz", "--channel", "DE", "--rate", "12000",
            "--bearing", "6205", "--rpm", "1772", "--whole", "--json",
        )  # fmt: skip
        (found,) = objects(done.stdout)
        assert found["kurtosis"] == pytest.approx(kurtosis, rel=0.003), name
    assert {"rms", "peak", "crest", "velocity_rms", "bpfo_ratio", "bpfi_ratio", "bsf2_ratio",
            "bpfo_hz"} <= found.keys()  # fmt: skip


def test_the_analyst_gets_every_window_and_a_picture(tmp_path: Path) -> None:
    rate_hz = 2560
    t = np.arange(3 * rate_hz) / rate_hz
    np.save(tmp_path / "x.npy", np.sin(2 * np.pi * 80 * t))
    done = gateway(
        "features", tmp_path / "x.npy", "--rate", str(rate_hz), "--hop-s", "0.5",
        "--geometry", "9,7.94,39.04", "--rpm", "1500", "--plot", tmp_path / "x.png",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert sum(bool(re.match(r" *\d+\.\d\d ", line)) for line in lines) == 5, "five windows"
    assert re.search(r"kurtosis +1\.5", done.stdout)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    rows = called("features", tmp_path / "x.npy", "--rate", "2560", "--json")
    assert [round(o["end_s"], 1) for o in objects(rows.stdout)][:3] == [1.0, 1.1, 1.2]


def test_completion_offers_the_channels_of_the_device() -> None:
    words = f"gateway spectrum {ROOT / 'configs' / 'vibration.yaml'} daq_1 fr"
    done = gateway(COMP_WORDS=words, COMP_CWORD="4", _GATEWAY_COMPLETE="complete_bash")
    assert done.stdout.split() == ["free_end"]


def test_the_picture_is_drawn_even_if_the_reader_of_the_table_stops_early(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.sin(np.arange(4000)))
    command = "-m gateway features x.npy --rate 1000 --hop-s 0.02 --plot x.png | head -n 1"
    subprocess.run(f"{sys.executable} {command}", shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_whole_recording_is_one_value_a_feature_and_its_unit_is_not_invented(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "x.npy", np.sin(np.arange(4000)))
    options = ("--rate", "2000", "--whole", "--bearing", "6205", "--rpm", "600")
    done = gateway("features", tmp_path / "x.npy", *options)
    assert "does not say its unit: taken as g" in done.stderr
    assert "1 window of 2 s" in done.stdout
    assert re.search(r"^FEATURE +VALUE +UNIT$", done.stdout, re.MULTILINE)
    assert "at 600 rpm, in Hz: ftf 3.98, bpfo 35.85, bpfi 54.15" in done.stdout
    done = gateway("features", tmp_path / "x.npy", *options[:3], "--unit", "mm/s")
    assert "no velocity: 'mm/s' is no acceleration" in done.stdout
    assert "does not say" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.npy"], "--rate"),
        (
            ["x.npy", "--rate", "20"],
            "a window of 20 samples; expected an even number from 64 (--win",
        ),
        (["x.npy", "--rate", "10", "--window-s", "60"], "--velocity-band 10 to 5 Hz; expected"),
        (["x.npy", "--rate", "2560", "--window-s", "inf"], "--window-s inf; expected a number"),
        (["x.npy", "--rate", "2560", "--hop-s", "2"], "--hop-s 2 is more than --window-s 1"),
        (["x.npy", "--rate", "2560", "--scale", "nan"], "--scale nan; expected a number"),
        (["nothing.npy", "--rate", "2560"], "nothing.npy"),
        (["x.npy", "--rate", "2560", "--bearing", "6205"], "add --rpm"),
        (["x.npy", "--rate", "2560", "--bearing", "62x5", "--rpm", "9"], "no bearing '62x5'"),
        (["x.npy", "--rate", "2560", "--geometry", "9,1", "--rpm", "9"], "expected"),
        (["x.npy", "--rate", "2560", "--velocity-band", "10"], "two numbers"),
        (["x.npy", "--rate", "2560", "--window-s", "9"], "less than one window"),
    ],
)
def test_a_wrong_request_is_answered_in_words(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    np.save(tmp_path / "x.npy", np.zeros(2 * 2560))
    done = gateway("features", *arguments, expect=None, cwd=tmp_path)
    assert done.returncode in (1, 2), done.stderr
    assert words in done.stderr
