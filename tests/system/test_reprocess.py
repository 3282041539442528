"""`gateway reprocess` as a process with worker processes: equal to the edge, resumed, killed."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from gateway.api.client import Client, NotRunning
from tests.docs.kit import clone, commands, typed
from tests.recordings import recordings
from tests.support import free_port, until
from tests.system.cli_kit import called, environment, said, started

pytestmark = pytest.mark.timeout(240)

RATE_HZ = 12_000
FILES = 10
NOTE = "run by tests/system/test_reprocess.py::test_the_commands_of_the_page"
PLANT = """
gateway: {name: g}
state_dir: state
api: {socket: s}
writer: {flush_interval_s: 0.5}
sinks: {history: {type: sqlite, store_every_s: 0}}
devices:
  daq: {driver: mock, map: daq.yaml}
"""
MAP = """
driver: mock
stream:
  rate_hz: 12000
  channels:
    drive_end:
      unit: g
      full_scale: 20
      replay: {file: edge.npz, channel: drive_end, loop: false}
      analysis: {bearing: 6205, speed: 1772, zones: iso_20816_3_group_2_rigid}
    free_end:
      unit: g
      full_scale: 20
      replay: {file: edge.npz, channel: free_end, loop: false}
      analysis: {bands_hz: {low: [20, 200]}, averages: {rms: {mode: linear, over_s: 2}}}
  analysis: {publish_every_s: 0.5}
"""


def waveform(seed: int, seconds: float) -> dict[str, np.ndarray]:
    """Noise, a shaft and impacts; the free end clips once."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    shaft = 0.5 * np.sin(2 * np.pi * 29.5 * t)
    impacts = np.exp(-400 * (t % (1 / 105.9))) * np.sin(2 * np.pi * 3000 * t)
    both = {
        "drive_end": shaft + impacts + 0.1 * random.standard_normal(t.size),
        "free_end": 2 * shaft + 0.2 * random.standard_normal(t.size),
    }
    both["free_end"][round(0.6 * t.size)] = 20.0
    return {name: x.astype("f4") for name, x in both.items()}


def record(path: Path, seed: int, seconds: float = 3.0) -> Path:
    np.savez(path, rate_hz=RATE_HZ, unit="g", **waveform(seed, seconds))
    return path


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    record(tmp_path / "edge.npz", 1, 5.0)
    (tmp_path / "daq.yaml").write_text(MAP)
    (tmp_path / "gateway.yaml").write_text(PLANT)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def words(folder: Path, source: str | Path, out: str, *more: str | Path) -> list[str]:
    its_config = ["--config", str(folder / "gateway.yaml"), "--device", "daq"]
    return ["reprocess", str(source), *its_config, "-o", str(folder / out), *map(str, more)]


def reprocess(
    folder: Path, source: str | Path, out: str, *more: str | Path, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with one worker unless told otherwise."""
    workers = [] if {"--scheduler", "--workers"} & {*more} else ["--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words(folder, source, out, *workers, *more)],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment(TMPDIR=str(folder / "tmp")),
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    assert processes_of(folder) == []
    return done


def processes_of(folder: Path) -> list[int]:
    """Processes that work for this test: their folder for temporary files says so."""
    mark = f"TMPDIR={folder / 'tmp'}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def rows(path: Path, channel: str | None = None) -> list[dict[str, Any]]:
    table = parquet.read_table(path)
    at = table.schema.get_field_index("time")
    found = table.set_column(at, "time", table["time"].cast("int64")).to_pylist()
    return [r for r in found if channel is None or r["channel"] == channel]


def history(folder: Path, channel: str) -> dict[str, list[tuple[int, Any, str]]]:
    """Column -> (time, value, quality) of every row that the daemon stored of the recording."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "history.db")) as store:
        stored = store.execute(
            "select tag, time_ns, value, quality from history where table_name = 'vibration' and "
            "json_extract(labels, '$.channel') = ? and quality != 'BAD:ended' order by time_ns",
            (channel,),
        ).fetchall()
    found: dict[str, list[tuple[int, Any, str]]] = {}
    for tag, time_ns, value, quality in stored:
        found.setdefault(tag, []).append((time_ns, value, quality))
    return found


def quality(row: dict[str, Any], column: str) -> str:
    marks = dict(each.split("=") for each in (row["_quality"] or "").split(",") if each)
    return str(marks.get(column, marks.get("*", "GOOD")))


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


def re_computed(text: str) -> list[str]:
    return sorted(
        line.split(" ", 1)[1].split(":")[0] for line in text.splitlines() if " rows" in line
    )


def launched(folder: Path, *more: str, out: str, source: str | Path) -> subprocess.Popen[bytes]:
    """Run it in a session of its own, as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *words(folder, source, out, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(folder / "tmp")),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def manifest(folder: Path) -> list[str]:
    """The complete lines of files that are done."""
    path = folder / "_manifest.jsonl"
    return path.read_text().splitlines()[1:] if path.exists() else []


def many(folder: Path, count: int = FILES, seconds: float = 12.0) -> Path:
    folder.mkdir()
    first = record(folder / "00.npz", 7, seconds)
    for i in range(1, count):
        shutil.copy(first, folder / f"{i:02}.npz")
    return folder


def test_killed_in_the_middle_it_goes_on_and_gives_the_same(plant: Path) -> None:
    source = many(plant / "in")
    reprocess(plant, source, "whole.parquet", "--workers", "2")
    with launched(plant, "--workers", "2", out="killed.parquet", source=source) as process:
        parts = plant / "killed.parquet.parts"
        until(lambda: len(manifest(parts)) >= 3, 120, "three files are done")
        process.kill()
    until(lambda: processes_of(plant) == [], 20, "no worker outlives it")
    done = len(manifest(parts))
    assert 3 <= done < FILES, "it was killed in the middle"
    assert not (plant / "killed.parquet").exists()
    with (parts / "_manifest.jsonl").open("a") as torn:
        torn.write('{"source": "09.npz", "ma')  # as a power cut leaves it
    told = reprocess(plant, source, "killed.parquet")
    assert f"{FILES - done} computed, {done} were there" in told.stdout
    assert (plant / "killed.parquet").read_bytes() == (plant / "whole.parquet").read_bytes()
    assert len(rows(plant / "killed.parquet")) == FILES * 2 * 22
    for name in ("killed", "whole"):
        shutil.copytree(plant / f"{name}.parquet.parts", plant / f"{name}.csv.parts")
        called(*words(plant, source, f"{name}.csv"))
    assert (plant / "killed.csv").read_bytes() == (plant / "whole.csv").read_bytes()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_keep_what_was_done(plant: Path, sent: int, code: int) -> None:
    source = many(plant / "in")
    with launched(plant, "--workers", "2", out="out.parquet", source=source) as process:
        parts = plant / "out.parquet.parts"
        until(lambda: len(manifest(parts)) >= 2, 120, "two files are done")
        # Ctrl-C goes to every process of the terminal, SIGTERM to the one
        os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors
    assert b"Traceback" not in errors, errors
    done = len(manifest(parts))
    # one more may be on disk than is said: the signal came while its line was made safe
    told = re.search(rb"stopped; (\d+) of 10 done and kept, the same command goes on", errors)
    assert told, errors
    assert int(told[1]) in (done - 1, done)
    until(lambda: processes_of(plant) == [], 10, "nothing is left")
    assert list((plant / "tmp").glob("**/reprocess-*")) == []
    again = reprocess(plant, source, "out.parquet")
    assert f"{FILES - done} computed, {done} were there" in again.stdout


def test_a_worker_that_is_killed_costs_no_file(plant: Path) -> None:
    source = f"file://{many(plant / 'in', FILES, 20.0)}"
    with launched(plant, "--workers", "2", out="out", source=source) as process:
        until(lambda: len(manifest(plant / "out")) >= 2, 120, "two files are done")
        own = [p for p in processes_of(plant) if b"spawn_main" in _command(p)]
        assert len(own) == 2
        os.kill(own[0], signal.SIGKILL)
        out, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors
    assert f"{FILES} computed".encode() in out
    assert b"Traceback" not in errors, errors
    assert len({row["source"] for row in rows(plant / "out")}) == FILES


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def test_on_a_terminal_there_is_one_bar(plant: Path) -> None:
    source = many(plant / "in", 3, 3.0)
    (source / "bad.wav").write_bytes(b"RIFF")
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "rb", 0) as terminal,
        subprocess.Popen(
            [sys.executable, "-m", "gateway", *words(plant, source, "out", "--workers", "1")],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment(TMPDIR=str(plant / "tmp"), TERM="xterm"),
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # so a terminal says that its last writer has gone
            while piece := terminal.read(4096):
                shown += piece
        process.communicate(timeout=30)
    assert process.returncode == 1
    text = shown.decode()
    assert "3/4 files, 1 faulty" in text or "4/4 files, 1 faulty" in text
    assert "[####" in text
    assert "error:\x1b[0m bad.wav: " in text, "the fault by its name, below the bar"
    assert "0.npz" not in text, "no line a file"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder by HTTP."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_urls_of_files_http_and_an_archive(plant: Path) -> None:
    source = many(plant / "in", 3, 3.0)
    with zipfile.ZipFile(plant / "all.zip", "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"day 1/{path.name}")
    done = reprocess(plant, f"zip://day 1/0[01].npz::file://{plant}/all.zip", "zip")
    assert "2 files; 2 computed" in done.stdout
    with served(plant) as url:
        done = reprocess(plant, f"{url}/in/", "http")
        assert "3 files; 3 computed" in done.stdout
        found = [row for row in rows(plant / "http") if row["source"] != "02.npz"]
        assert found == rows(plant / "zip")
        record(source / "01.npz", 9, 3.0)
        done = reprocess(plant, f"{url}/in/", "http")
        assert re_computed(done.stderr) == ["01.npz"], "the server says when a file was changed"
        gone = reprocess(plant, f"{url}/nothing.npz", "none", expect=2)
        assert "nothing.npz does not exist" in gone.stderr
    refused = reprocess(plant, f"{url}/in/", "http", expect=2)
    assert "cannot look into http://127.0.0.1:" in refused.stderr
    assert list((plant / "tmp").glob("**/reprocess-*")) == [], "no copy is left"


@contextlib.contextmanager
def dask(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        (folder / f"{arguments[0]}.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(DASK_TEMPORARY_DIRECTORY=str(folder / "scratch")),
            cwd=folder,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def test_the_workers_of_a_scheduler(plant: Path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    refused = reprocess(plant, plant / "edge.npz", "out", "--scheduler", address, expect=1)
    assert f"the Dask scheduler at {address} does not answer" in refused.stderr
    source = many(plant / "in")
    at = ["--host", "127.0.0.1", "--no-dashboard"]
    with dask("scheduler", *at, "--port", str(port), folder=plant) as scheduler:
        worker = ["worker", address, *at, "--nthreads", "2", "--no-nanny"]
        with dask(*worker, folder=plant):
            done = reprocess(plant, source, "cluster.parquet", "--scheduler", address)
            assert f"{FILES} files; {FILES} computed" in done.stdout
            reprocess(plant, source, "own.parquet")
            cluster, own = (plant / f"{name}.parquet" for name in ("cluster", "own"))
            assert cluster.read_bytes() == own.read_bytes(), "whoever computes it"
            more = ("--scheduler", address)
            with launched(plant, *more, out="lost.parquet", source=source) as process:
                parts = plant / "lost.parquet.parts"
                until(lambda: len(manifest(parts)) >= 2, 120, "two files are done")
                scheduler.kill()
                _, errors = process.communicate(timeout=90)
    assert process.returncode == 1, errors
    assert b"Traceback" not in errors, errors
    assert f"the Dask scheduler at {address} is gone; what was done is kept".encode() in errors
    assert len(manifest(parts)) >= 2


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
