"""The historian when the process is killed, the disk is full or the file is not what it was."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import GatewayError, SinkUnavailable
from gateway.sinks.historian import sink as historian_module
from gateway.sinks.historian import store as history_store
from tests.sinks.historykit import (
    DAY_NS,
    MINUTE_NS,
    SECOND_NS,
    START_NS,
    historian,
    ramp,
    sql,
    table,
)
from tests.support import ROOT

WRITER = """
import sys
from pathlib import Path
import numpy as np
from gateway.model import Row
from gateway.sinks import Selected
from tests.sinks.historykit import SECOND_NS, START_NS, historian, table
folder, number = Path(sys.argv[1]), int(sys.argv[2])
sink, shape = historian(folder, max_bytes="1GB"), table(40)
sink.series()
print("ready", flush=True)
while True:
    rows = []
    for _ in range(25):
        values = (np.full(40, float(number)),)
        rows.append(Selected(Row(shape, START_NS + number * SECOND_NS, values)))
        number += 1
    sink.store(rows)
    print(number, flush=True)
"""


def test_nothing_that_was_stored_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    rng = random.Random(11)
    number = 0
    for run in range(1, 6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert writer.stdout is not None
        with writer.stdout as lines:
            assert lines.readline() == "ready\n"
            killed_at = time.monotonic() + rng.uniform(0.02, 0.5)
            for line in lines:
                number = int(line)
                if time.monotonic() > killed_at and number > 100 * run:  # also on a slow disk
                    writer.kill()
                    break
            rest = lines.read().splitlines(keepends=True)
            number = max([number, *(int(n) for n in rest if n.endswith("\n"))])
        writer.wait(10)
        assert writer.returncode == -9
        sink = historian(tmp_path, max_bytes="1GB")
        found = sink.query("hopper", "c39", 0, START_NS + 100 * DAY_NS, 10_000_000)
        sink.close()
        values = [p.value for p in found.points]
        assert values[:number] == list(range(number))
        assert len(values) in (number, number + 25)  # stored, but not said any more
        number = len(values)
    assert number > 500
    assert sql(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert sql(tmp_path, "SELECT samples FROM state") == [(number * 40,)]
    in_minutes = "SELECT sum(count) FROM history_minute WHERE tag = 'c0'"
    assert sql(tmp_path, in_minutes) == [(number,)]
    wrong = "SELECT count(*) FROM history_minute WHERE mean <> (min + max) / 2"
    assert sql(tmp_path, wrong) == [(0,)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, or nothing where that may not be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting is for root only: the test with max_page_count stands for this one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_the_batch_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    sink = historian(small_disk, max_bytes="1GB")
    shape = table(100)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    rows = ramp(shape, 6000)
    stored = 0
    with pytest.raises(SinkUnavailable, match="full"):
        for stored in range(0, len(rows), 25):
            sink.store(rows[stored : stored + 25])
    assert stored > 0
    for _ in range(3):
        with pytest.raises(SinkUnavailable):
            sink.store(rows[stored : stored + 25])
    ballast.unlink()
    sink.store(rows[stored : stored + 25])
    found = sink.query("hopper", "c99", START_NS, START_NS + DAY_NS, 10_000)
    assert [p.value for p in found.points] == list(range(stored + 25))
    sink.close()


def test_a_batch_that_was_half_stored_is_stored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_store, "VALUES_PER_COMMIT", 1000)
    sink = historian(tmp_path)
    sink.store(ramp(table(1, "first"), 1))
    connection = sink._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 60}").fetchall()
    rows = ramp(table(50), 1000)
    with pytest.raises(SinkUnavailable, match="full"):
        sink.store(rows)
    some = sql_count(tmp_path)
    assert 0 < some < 50_000
    other = ramp(table(1, "other"), 1)
    sink.store(other)
    sink.store(rows)
    sink.close()
    found = sql(
        tmp_path, "SELECT tag, count(*), sum(value) FROM history GROUP BY 1 HAVING tag='c7'"
    )
    assert found == [("c7", 1000, 499_500.0)]
    counted = sql(tmp_path, "SELECT sum(count) FROM history_minute WHERE tag = 'c7'")
    assert counted == [(1000,)]


def sql_count(folder: Path) -> int:
    return int(sql(folder, "SELECT count(*) FROM sample")[0][0])


def test_a_batch_with_a_fault_is_not_half_stored_and_the_next_one_is(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    shape = table(2)
    good = ramp(shape, 5)
    broken = ramp(shape, 5, START_NS + MINUTE_NS)
    object.__setattr__(broken[3].row, "parts", ([object()],))
    with pytest.raises(Exception, match="object"):
        sink.store([*good, *broken])
    sink.store(good)
    sink.close()
    assert sql_count(tmp_path) == 10
    assert sql(tmp_path, "SELECT sum(count) FROM history_minute") == [(10,)]


@pytest.mark.parametrize("damage", ["text", "zeroes", "header", "root"])
def test_a_damaged_file_is_put_aside_and_a_new_one_begun(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    sink = historian(tmp_path)
    sink.store(ramp(table(50), 300))
    sink.close()
    path = tmp_path / "history.db"
    content = bytearray(path.read_bytes())
    if damage == "text":
        content[:] = b"not a database at all\n" * 1000
    elif damage == "zeroes":
        content[:] = bytes(len(content))
    elif damage == "header":
        content[:100] = os.urandom(100)
    else:
        content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    sink = historian(tmp_path)
    with caplog.at_level(logging.ERROR):
        sink.store(ramp(table(50), 10))
    found = sink.query("hopper", "c7", 0, START_NS + DAY_NS)
    status = sink.status()
    sink.close()
    assert len(found.points) == 10
    (aside,) = tmp_path.glob("history.db.corrupt-*")
    assert aside.read_bytes()[100:] == content[100:]  # SQLite counts in the header
    assert status["put_aside"] == [str(aside)]
    assert "put aside" in caplog.text


def test_damage_in_the_middle_is_put_aside_once_it_is_met_twice(tmp_path: Path) -> None:
    sink = historian(tmp_path)
    sink.store(ramp(table(50), 300))
    connection = sink._connection
    assert connection is not None
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name='state'").fetchone()
    sink.close()
    path = tmp_path / "history.db"
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xee" * 4096
    path.write_bytes(content)
    sink = historian(tmp_path)
    rows = ramp(table(50), 10)
    for _ in range(2):
        with pytest.raises(SinkUnavailable, match="malformed"):
            sink.store(rows)
    sink.store(rows)
    sink.close()
    assert len(list(tmp_path.glob("history.db.corrupt-*"))) == 1
    assert sql_count(tmp_path) == 500


@pytest.mark.parametrize("newer", [True, False])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, *, newer: bool) -> None:
    path = tmp_path / "history.db"
    if newer:
        sink = historian(tmp_path)
        sink.store(ramp(table(1), 1))
        sink.close()
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "PRAGMA user_version = 99" if newer else "CREATE TABLE theirs (a); "
        )
    connection.close()
    sink = historian(tmp_path)
    before = sql(tmp_path, "SELECT name FROM sqlite_schema")
    with pytest.raises(SinkUnavailable, match="newer gateway" if newer else "something else") as no:
        sink.store(ramp(table(1), 1))
    assert no.value.operator
    with pytest.raises(GatewayError):
        sink.query("hopper", "c0", 0, 1)
    sink.close()
    assert sql(tmp_path, "SELECT name FROM sqlite_schema") == before


def test_a_file_that_another_program_holds_is_waited_for(tmp_path: Path) -> None:
    first, second = historian(tmp_path), historian(tmp_path)
    first.store(ramp(table(1), 1))
    with pytest.raises(SinkUnavailable, match="locked"):
        second.store(ramp(table(1), 1))
    first.close()
    second.store(ramp(table(1), 1, START_NS + 1))
    second.close()
    assert sql_count(tmp_path) == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    sink = historian(tmp_path / "state")
    with pytest.raises(SinkUnavailable, match="state"):
        sink.store(ramp(table(1), 1))
    sink.close()


def test_a_file_that_is_deleted_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = historian(tmp_path)
    shape = table(1)
    sink.store(ramp(shape, 5))
    (tmp_path / "history.db").unlink()
    monkeypatch.setattr(sink, "_looked_s", -10.0)
    sink.store(ramp(shape, 3, START_NS + SECOND_NS * 9))
    sink.close()
    assert "was removed or replaced" in caplog.text
    assert sql_count(tmp_path) == 3
    assert sql(tmp_path, "SELECT sum(count) FROM history_minute") == [(3,)]


def test_a_copy_is_given_up_when_the_historian_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = historian(tmp_path)
    sink.store(ramp(table(100), 3000))
    begun, closed = threading.Event(), threading.Event()

    def hold(_: float) -> None:
        begun.set()
        closed.wait(10)

    faults: list[str] = []

    def copy() -> None:
        try:
            sink.copy_to(tmp_path / "copy.db")
        except GatewayError as error:
            faults.append(str(error))

    monkeypatch.setattr(historian_module.time, "sleep", hold)
    copying = threading.Thread(target=copy)
    copying.start()
    assert begun.wait(10)
    sink.store(ramp(table(100), 5, START_NS + DAY_NS))  # storing goes on meanwhile
    sink.close()
    closed.set()
    copying.join(10)
    assert faults == ["the historian was closed while it was copied"]
    assert not (tmp_path / "copy.db").exists()
    assert sql_count(tmp_path) == 300_500
