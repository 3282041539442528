"""What a writer leaves for the start after a kill or a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.writer.alive import JOURNAL_NS, Alive

SECOND = 1_000_000_000


def killed(path: Path, *, boot: str = "") -> Alive:
    """What the next start finds; `boot`: of the run before, if it is another one."""
    alive = Alive(path)
    alive.begin(1.0)
    alive.touch(2.0, behind_s=3.0)
    if boot:
        times = path.stat()
        path.write_text(f"{path.read_text().split()[0]} {boot}")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    later = Alive(path)
    later.begin(1.0)
    return later


def test_after_a_kill_it_is_known_from_when_until_when_rows_are_missing(tmp_path: Path) -> None:
    alive = killed(tmp_path / "alive")
    assert alive.before is not None
    assert alive.before.until_ns - alive.before.from_ns == 5 * SECOND


def test_after_a_power_cut_the_file_may_be_older_than_the_end(tmp_path: Path) -> None:
    alive = killed(tmp_path / "alive", boot="another")
    assert alive.before is not None
    assert alive.before.until_ns - alive.before.from_ns == 5 * SECOND + JOURNAL_NS


def test_each_start_remembers_its_own_boot_and_when_the_first_one_began(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    first = killed(path, boot="another").since_ns
    again = Alive(path)
    again.begin(1.0)
    assert first is not None
    assert again.since_ns == first
    assert again.before is not None
    assert again.before.until_ns - again.before.from_ns < JOURNAL_NS, "this boot's own file"


def test_while_a_sink_is_away_what_waits_is_not_taken_for_stored(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    alive = Alive(path)
    alive.begin(1.0)
    alive.touch(2.0, behind_s=3.0)
    from_ns = path.stat().st_atime_ns
    alive.touch(60.0)
    assert path.stat().st_atime_ns == from_ns
    assert path.stat().st_mtime_ns > from_ns + 60 * SECOND


def test_times_that_a_reader_changed_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    alive = Alive(path)
    alive.begin(1.0)
    os.utime(path, ns=(5 * SECOND, 4 * SECOND))
    later = Alive(path)
    later.begin(1.0)
    assert later.before == (2 * SECOND, 4 * SECOND)


def test_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    alive = Alive(path)
    alive.begin(1.0)
    alive.end()
    later = Alive(path)
    later.begin(1.0)
    assert later.before is None
    assert later.since_ns is None
