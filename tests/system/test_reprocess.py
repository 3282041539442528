"""`gateway reprocess` as a process with worker processes: equal to the edge, and in all formats."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from gateway.api.client import Client, NotRunning
from tests.docs.kit import clone, commands, typed
from tests.recordings import recordings
from tests.support import until
from tests.system.cli_kit import called, said, started
from tests.system.reprocess_kit import (
    NOTE,
    RATE_HZ,
    history,
    many,
    plant,
    quality,
    re_computed,
    record,
    reprocess,
    rows,
    waveform,
    words,
)

__all__ = ["plant"]  # a fixture

pytestmark = pytest.mark.timeout(240)


def test_every_column_equals_what_the_daemon_stored_of_the_same_samples(plant: Path) -> None:
    log = plant / "log"
    with started("run", plant / "gateway.yaml", log=log) as process:
        said(log, "Next, in another terminal", process)
        client = Client(plant / "s")

        def ended() -> bool:
            with contextlib.suppress(NotRunning):
                return client.get_json("/v1/status")["devices"]["daq"]["reason"] == "ended"
            return False

        until(ended, 60, "the end of the recording")
    reprocess(plant, plant / "edge.npz", "out.parquet")
    compared = 0
    for channel in ("drive_end", "free_end"):
        ours, stored = rows(plant / "out.parquet", channel), history(plant, channel)
        known = [name for name, value in ours[0].items() if name in stored]
        assert sorted(stored) == sorted(known), "no column is missing"
        for column, edge in stored.items():
            assert len(edge) == len(ours) >= 8, column
            steps = [edge[i][0] - edge[0][0] for i in range(len(edge))]
            own_ns = [round((r["end_s"] - ours[0]["end_s"]) * 1e9) for r in ours]
            # the daemon's times follow the wall clock, by at most 500 ppm
            assert steps == pytest.approx(own_ns, abs=3e6)
            for (_, value, mark), row in zip(edge, ours, strict=True):
                assert quality(row, column) == mark, (channel, column, row)
                if isinstance(value, str) or value is None:
                    assert row[column] == (value or None)
                else:
                    assert np.float32(value) == pytest.approx(row[column], rel=1e-6, abs=0), column
                    compared += 1
    assert compared > 500
    marks = {r["_quality"] for r in rows(plant / "out.parquet", "free_end")}
    assert any(m and "peak=BAD:clipped" in m for m in marks), "the comparison saw marks, too"


def formats(folder: Path) -> dict[str, Path]:
    """The same samples in every format, with what each can say of rate and time."""
    import pyarrow
    from nptdms import ChannelObject, TdmsWriter

    folder.mkdir()
    data = waveform(3, 3.0)
    begin = np.datetime64("2026-11-26T06:00:00", "us")
    np.savez_compressed(folder / "a.npz", rate_hz=RATE_HZ, unit="g", first_ns=_ns(begin), **data)
    with TdmsWriter(folder / "b.tdms") as writer:
        said_of_it = {"wf_increment": 1 / RATE_HZ, "wf_start_time": begin, "unit_string": "g"}
        writer.write_segment(
            [ChannelObject("rack", name, x, properties=said_of_it) for name, x in data.items()]
        )
    step_ns = (np.arange(data["drive_end"].size) * 1e9 / RATE_HZ).round().astype("i8")
    times = pyarrow.array(_ns(begin) + step_ns, pyarrow.timestamp("ns", "UTC"))
    parquet.write_table(
        pyarrow.table({"time": times, **data}), folder / "c.parquet", row_group_size=10_000
    )
    return {path.suffix: path for path in folder.iterdir()}


def _ns(moment: np.datetime64) -> int:
    return int(moment.astype("M8[ns]").astype("i8"))


def test_npz_tdms_and_parquet_give_the_same_rows_and_times(plant: Path) -> None:
    formats(plant / "in")
    (plant / "in" / "sub").mkdir()
    (plant / "in" / "notes.txt").write_text("not a recording")
    record(plant / "in" / "sub" / "no time.npz", 4)
    done = reprocess(plant, plant / "in", "out")
    assert "4 files; 4 computed" in done.stdout
    found = rows(plant / "out")
    by_source: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_source.setdefault(row.pop("source"), []).append(row)
    assert sorted(by_source) == ["a.npz", "b.tdms", "c.parquet", "sub/no time.npz"]
    first = by_source["a.npz"]
    assert len(first) == 8
    assert by_source["b.tdms"] == first
    assert by_source["c.parquet"] == first
    end = np.datetime64("2026-11-26T06:00:00") + np.timedelta64(1_100, "ms")
    assert abs(first[0]["time"] - _ns(end)) < 2e9 / RATE_HZ, "the window's last sample"
    assert [row["time"] for row in by_source["sub/no time.npz"]] == [None] * 8
    schema = parquet.read_schema(next((plant / "out").glob("*.parquet")))
    assert schema.field("velocity_rms").metadata == {b"unit": b"mm/s"}
    setups = json.loads(schema.metadata[b"setups"])
    assert {row["setup"] for row in first} == set(setups)
    assert json.loads(setups[first[0]["setup"]])["bearing"]["elements"] == 9


def test_a_faulty_file_is_named_and_stops_no_other_and_only_what_changed_is_done_again(
    plant: Path,
) -> None:
    folder = plant / "in"
    folder.mkdir()
    for i in range(4):
        record(folder / f"{i}.npz", i)
    whole = (folder / "2.npz").read_bytes()
    (folder / "2.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "short.npz", rate_hz=RATE_HZ, drive_end=np.zeros(500, "f4"))
    np.savez(folder / "other.npz", rate_hz=RATE_HZ, motor=np.zeros(50_000, "f4"))
    np.savez(folder / "slow.npz", rate_hz=100, drive_end=np.zeros(5000, "f4"))
    done = reprocess(plant, folder, "out.csv", expect=1)
    assert "2.npz: is damaged" in done.stderr
    assert "short.npz: 500 samples (0.0416667 s) are not enough" in done.stderr
    assert "other.npz: none of the device's channels is in it; it has 'motor'" in done.stderr
    assert "slow.npz: at its rate of 100 Hz: " in done.stderr
    assert "4 of 7 files could not be computed" in done.stderr
    lines = (plant / "out.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * 8
    assert lines[0].startswith('"source","device","channel","time","end_s","mean"')

    for name in ("short", "other", "slow"):
        (folder / f"{name}.npz").unlink()
    (folder / "2.npz").write_bytes(whole)
    record(folder / "3.npz", 33, 2.0)
    done = reprocess(plant, folder, "out.csv")
    assert "2 computed, 2 were there" in done.stdout
    assert re_computed(done.stderr) == ["2.npz", "3.npz"]
    assert len((plant / "out.csv").read_text().splitlines()) == 1 + 3 * 8 + 4

    before = (plant / "out.csv").read_bytes()
    done = called(*words(plant, folder, "out.csv"))  # where nothing is to do, no process begins
    assert "0 computed, 4 were there" in done.stdout
    assert (plant / "out.csv").read_bytes() == before

    done = reprocess(plant, folder, "out.csv", "--rpm", "900")
    assert "4 computed" in done.stdout, "another recipe"
    (folder / "0.npz").unlink()
    done = called(*words(plant, folder, "out.csv", "--rpm", "900"))
    assert "0 computed, 3 were there, 1 are gone, their rows stay" in done.stdout
    refused = called(*words(plant, folder, "out.csv", "--rpm", "950"), expect=1)
    assert "rows of 1 file that cannot be computed with these settings" in refused.stderr
    (plant / "elsewhere").mkdir()
    record(plant / "elsewhere" / "0.npz", 1)
    refused = called(*words(plant, plant / "elsewhere", "out.csv"), expect=1)
    assert f"was made of source {folder}; choose another -o" in refused.stderr


def test_real_recordings_of_bearings(plant: Path) -> None:
    """Case Western: what is damaged stands out in every file; 6205, 1772 to 1797 rpm."""
    (plant / "daq.yaml").write_text(
        "driver: mock\nstream:\n  rate_hz: 12000\n  channels:\n    DE: {unit: g, full_scale: 50}\n"
        "  analysis: {bearing: 6205, speed: 1785}\n"
    )
    done = reprocess(plant, f"{recordings()}/cwru_1*.npz", "out.parquet", "--rate", "12000")
    assert "could not be computed" not in done.stderr
    found = rows(plant / "out.parquet")
    for line, part in (("bpfi", "inner"), ("bpfo", "outer")):
        ratios = [r[f"{line}_ratio"] for r in found if part in r["source"]]
        assert len(ratios) >= 20
        assert np.median(ratios) > 14
    assert {r["channel"] for r in found} == {"DE"}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--device", "dag"], "has no device 'dag'; did you mean 'daq'?"),
        (["--channel", "drive-end=x"], "no channel 'drive-end'; did you mean 'drive_end'?"),
        (["--channel", "drive_end"], "expected NAME=TRACK, e.g. drive_end=data[0]"),
        (["--scale", "0"], "--scale 0; expected a number other than 0"),
        (["--scheduler", "x:1", "--workers", "2"], "--scheduler and --workers exclude each other"),
        (["-o", "out.xls"], "out.xls; expected .parquet, .csv or a folder"),
        (["-o", "{folder}/daq.csv"], "daq.csv exists, and is not of a run before"),
        (["SOURCE"], "nowhere does not exist"),
        (["EMPTY"], "has no recordings; expected files .npz, .npy, .wav, .tdms, .parquet"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_done(
    plant: Path, more: list[str], expected: str
) -> None:
    (plant / "daq.csv").write_text("mine")
    (plant / "empty").mkdir()
    places = {"SOURCE": plant / "nowhere", "EMPTY": plant / "empty"}
    source = places.get(more[0], plant / "edge.npz")
    more = [] if more[0] in places else [m.format(folder=plant) for m in more]
    done = called(*words(plant, source, "out", *more), expect=2)
    assert expected in done.stderr
    assert (plant / "daq.csv").read_text() == "mine"
    assert not (plant / "out").exists()


def test_a_folder_with_other_files_is_left_alone(plant: Path) -> None:
    (plant / "out").mkdir()
    (plant / "out" / "mine.txt").write_text("mine")
    done = called(*words(plant, plant / "edge.npz", "out"), expect=1)
    assert "holds other files, e.g. mine.txt; expected a folder that is new, empty" in done.stderr
    assert [p.name for p in (plant / "out").iterdir()] == ["mine.txt"]


def test_the_commands_of_the_page(plant: Path) -> None:
    many(plant / "captures", 2, 2.0)
    shutil.copy(plant / "edge.npz", plant / "captures" / "2026-11-26.npz")
    clone(plant)
    told = [typed(command, plant, {}).stdout for command in commands("docs/reprocess.md", NOTE)]
    assert "3 files; 3 computed" in told[0]
    assert "1 file; 1 computed" in told[1]
    (first, *_) = rows(plant / "features.parquet", "drive_end")
    assert first["speed_hz"] == np.float32(1772 / 60)
    assert (plant / "november.csv").read_text().count("\n") == 1 + 16
