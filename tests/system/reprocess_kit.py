"""A plant with recordings, and `gateway reprocess` as a process over them."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from tests.system.cli_kit import environment

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


def re_computed(text: str) -> list[str]:
    return sorted(
        line.split(" ", 1)[1].split(":")[0] for line in text.splitlines() if " rows" in line
    )
