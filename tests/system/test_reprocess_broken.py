"""`gateway reprocess` that is killed, stopped or watched: what was done is kept."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import until
from tests.system.cli_kit import called, environment
from tests.system.reprocess_kit import (
    FILES,
    launched,
    manifest,
    many,
    plant,
    processes_of,
    reprocess,
    rows,
    words,
)

__all__ = ["plant"]  # a fixture

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


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
