"""The disk below the spool and the historian: full, failing, slow, cut from power, damaged."""

from __future__ import annotations

import errno
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import disks
from tests.faults.conftest import Proof
from tests.faults.gate import Gate
from tests.faults.ledger import Verdict, added
from tests.faults.results import size
from tests.faults.rig import FLUSH_S, Rig, passed
from tests.sims.http_faults import said
from tests.support import until

DOWN = said("503 Service Unavailable")
FULL = {"spool_bound", "spool_unwritable"}
"""What may be given up where the disk takes nothing; the memory holds some MB before."""


def fill(place: Path) -> Path:
    """Another program takes all the room."""
    path = place / "another programs file"
    with path.open("wb", buffering=0) as file:
        for piece in (1 << 20, 4096):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(piece))
    return path


@pytest.mark.timeout(size(90, 900))
def test_disk_full(proof: Proof) -> None:
    """Disk full (tmpfs), while the server is down."""
    times = size(2, 30)
    with disks.in_memory(proof.folder / "disk", "size=24M") as place:
        rig = proof.rig(state_dir=place / "state", load_tags=500)
        assert rig.influx is not None
        rig.start()
        rig.run_for(10)
        for _ in range(times):
            rig.influx.kill()
            ballast = fill(place)
            until(
                lambda: "full" in (rig.sink("history")["error"] or ""), 20, "the status to say so"
            )
            rig.run_for(20)
            ballast.unlink()
            rig.influx.start()
            rig.settled(90)
            rig.settled(90, "history")
        rig.run_for(10)
        rig.stop()
        verdicts = [rig.verdict(), rig.verdict("history")]
        proof.holds(times, "times", *verdicts, may_lose=FULL)
        rig.close()


def test_no_inodes(proof: Proof) -> None:
    """No inodes left (tmpfs), across a kill and a start."""
    with disks.in_memory(proof.folder / "disk", "size=64M,nr_inodes=60") as place:
        rig = proof.rig(state_dir=place / "state")
        rig.start()
        rig.run_for(20)
        rig.kill()
        taken: list[Path] = []
        with pytest.raises(OSError, match="No space left"):
            while True:
                path = place / f"file {len(taken)}"
                path.touch()
                taken.append(path)
        assert taken
        rig.start_gateway()
        rig.run_for(40)
        for path in taken:
            path.unlink()
        rig.settled(90)
        rig.settled(90, "history")
        rig.run_for(20)
        rig.stop()
        verdicts = [rig.verdict(), rig.verdict("history")]
        proof.holds(1, "times", *verdicts, may_lose={"unclean_stop", *FULL})
        rig.close()


ERRORS: dict[str, dict[str, Any]] = {
    "writes answer EIO": {"write": errno.EIO},
    "syncs answer EIO": {"sync": errno.EIO},
    "read-only (EROFS)": {"change": errno.EROFS},
    "full (ENOSPC at every write)": {"write": errno.ENOSPC},
    "a sync takes 1.5 s": {"sync_s": 1.5},
}


STALLED = 45
"""Polls skipped: a sync of 1.5 s that held up the two machines would cost 60. A busy machine costs
some, too: as many as in the same time before the fault, or twice that."""


def skipped(rig: Rig) -> int:
    """Polls that came too late, of all devices since the start."""
    devices = rig.told()["devices"].values()
    return sum(group["missed"] for device in devices for group in device["groups"])


@pytest.mark.timeout(size(200, 900))
def test_disk_errors(proof: Proof) -> None:
    """Disk errors (a FUSE file system)."""
    disk = disks.Failing(proof.folder)
    proof.cleanups.append(disk.close)
    rig = proof.rig(state_dir=disk.place / "state")
    rig.start()
    for name, fault in ERRORS.items():
        for _ in range(size(1, 20)):
            begun, begun_s = skipped(rig), time.monotonic()
            rig.run_for(20)
            calm, calm_s = skipped(rig), time.monotonic()
            disk.tell(**fault)
            disk.bites()
            rig.run_for(20)
            disk.tell()
            missed, fault_s = skipped(rig) - calm, time.monotonic() - calm_s
            # what bites slowly takes longer than what went before
            usual = round((calm - begun) * max(1.0, fault_s / (calm_s - begun_s)))
            assert missed <= STALLED + 2 * usual, f"{name}: {missed} polls skipped, before {usual}"
            rig.settled(90)
            rig.settled(90, "history")
    rig.stop()
    verdicts = [rig.verdict(), rig.verdict("history")]
    for name in ERRORS:
        proof.holds(size(1, 20), "times", *verdicts, case=name)


def _cut(rig: Rig, disk: disks.Ext4, power: disks.PowerUps) -> None:
    """The power of the gateway's PC is cut, and comes again."""
    disk.cut()
    rig.kill()
    disk.unmount()
    power.next()
    disk.mount()
    rig.start_gateway()


@pytest.mark.timeout(size(240, 3600))
def test_power_cut(proof: Proof) -> None:
    """Power cut (ext4 on a loop file, FS_IOC_SHUTDOWN): what was not synced is gone."""
    cuts = size(12, 200)
    disk = disks.Ext4(proof.folder)
    proof.cleanups.append(disk.unmount)
    disk.mount()
    rig = proof.rig(state_dir=disk.place / "state")
    power = disks.PowerUps(proof.folder)
    rig.prefix = power.prefix
    rig.start()
    for _ in range(cuts):
        rig.run_for(proof.chance.randrange(3, 30))
        _cut(rig, disk, power)
    rig.run_for(20)
    rig.settled(90)
    rig.stop()
    verdicts = [rig.verdict(), rig.verdict("history")]
    proof.holds(cuts, "cuts", *verdicts, may_lose={"unclean_stop"})


@pytest.mark.timeout(size(240, 3600))
def test_power_cut_of_the_first_run(proof: Proof) -> None:
    """Power cut of the very first run, about its first flushes."""
    cuts = size(3, 60)
    verdicts: dict[str, list[Verdict]] = {"influx": [], "history": []}
    for number in range(cuts):
        folder = proof.folder / str(number)
        folder.mkdir()
        disk = disks.Ext4(folder)
        proof.cleanups.append(disk.unmount)
        disk.mount()
        rig = proof.rig(folder=folder, state_dir=disk.place / "state")
        power = disks.PowerUps(folder)
        rig.prefix = power.prefix
        rig.start_others()
        rig.launch()
        rig.run_for(proof.chance.randrange(2, 10))
        _cut(rig, disk, power)
        rig.run_for(10)
        rig.settled()
        rig.stop()
        for sink, found in verdicts.items():
            found.append(rig.verdict(sink))
        rig.close()
        disk.unmount()
    proof.holds(cuts, "cuts", *map(added, verdicts.values()), may_lose={"unclean_stop"})


def damage(path: Path, at: int, data: bytes) -> None:
    """Other bytes in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def largest(folder: Path, pattern: str) -> Path:
    """The file that holds most."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def _header(spool: Path) -> None:
    damage(largest(spool, "*-data.db"), 0, b"\0" * 100)


def _page(spool: Path) -> None:
    path = largest(spool, "*-data.db")
    damage(path, path.stat().st_size // 4096 // 2 * 4096, b"\xa5" * 4096)


def _blob(spool: Path) -> None:
    path = largest(spool, "*-data.db")
    at = path.read_bytes().rindex(b"\x1f\x8b\x08") + 20  # in the newest body: gzip's magic number
    damage(path, at, b"\xff\x00\xff")


def _cut_file(spool: Path) -> None:
    path = largest(spool, "*-data.db")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 4096 // 2 * 4096)


def _log_cut(spool: Path) -> None:
    path = largest(spool, "*-data.db-wal")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _log_garbage(spool: Path) -> None:
    path = largest(spool, "*-data.db-wal")
    damage(path, path.stat().st_size // 2, b"\xa5" * 512)


def _log_gone(spool: Path) -> None:
    largest(spool, "*-data.db-wal").unlink()


def _file_gone(spool: Path) -> None:
    largest(spool, "*-data.db").unlink()


AFTER_STOP: dict[str, Callable[[Path], None]] = {
    "header zeroed": _header,
    "page overwritten": _page,
    "bytes in a batch changed": _blob,
    "file cut in half": _cut_file,
    "file deleted": _file_gone,
}
AFTER_KILL: dict[str, Callable[[Path], None]] = {
    "log (WAL) cut in half": _log_cut,
    "log (WAL) overwritten": _log_garbage,
    "log (WAL) deleted": _log_gone,
}
WHILE_RUNNING: dict[str, Callable[[Path], None]] = {
    "file deleted while it runs": _file_gone,
    "header zeroed while it runs": _header,
}


@pytest.mark.timeout(size(90, 900))
def test_file_deleted_while_it_runs(proof: Proof) -> None:
    """Spool file deleted while it is written to: noticed, written anew, nothing lost."""
    rig = proof.rig()
    assert rig.influx is not None
    rig.start()
    rig.run_for(10)
    rig.influx.kill()
    times = size(4, 40)
    noticed_s: list[float] = []
    for _ in range(times):
        rig.run_for(20)
        path = largest(rig.state_dir / "spool" / "influx", "*-data.db")
        path.unlink()
        begun = time.monotonic()
        until(path.exists, 10, "the file to be there again")
        noticed_s.append(round(time.monotonic() - begun, 2))
    rig.run_for(20)
    rig.stop()
    rig.influx.start()
    rig.start_gateway()
    rig.run_for(10)
    rig.settled(90)
    rig.stop()
    proof.holds(times, "times", rig.verdict(), noticed_s=noticed_s)
    assert statistics.median(noticed_s) <= 1.0 + 5 * FLUSH_S, noticed_s


@pytest.mark.timeout(size(150, 900))
def test_damaged_segments(proof: Proof) -> None:
    """Spool segment damaged, with all that was not delivered in it."""
    rig = proof.rig()
    assert rig.influx is not None
    every = {**AFTER_STOP, **AFTER_KILL, **WHILE_RUNNING}
    names = {name: f"sink_{i}" for i, name in enumerate(every)}
    gates = {name: Gate(rig.influx.url) for name in every}
    for name, gate in gates.items():
        proof.cleanups.append(gate.close)
        rig.sinks[names[name]] = gate.url
    rig.write_config()
    rig.start()
    for _ in range(size(1, 10)):
        _damage_all(rig, names, gates)
    rig.stop()
    for name in every:
        verdict = rig.verdict(names[name])
        lossy = {"corrupt_segment", "unclean_stop"}
        proof.holds(size(1, 10), "times", verdict, may_lose=lossy, case=name)


def _damage_all(rig: Rig, names: dict[str, str], gates: dict[str, Gate]) -> None:
    def spool(name: str) -> Path:
        return rig.state_dir / "spool" / names[name]

    for gate in gates.values():
        gate.fault = DOWN
    rig.run_for(40)
    for name, harm in WHILE_RUNNING.items():
        harm(spool(name))
    rig.run_for(40)
    rig.stop()
    for name, harm in AFTER_STOP.items():
        harm(spool(name))
    rig.start_gateway()
    rig.run_for(40)
    rig.kill()
    for name, harm in AFTER_KILL.items():
        harm(spool(name))
    rig.start_gateway()
    rig.run_for(20)
    for gate in gates.values():
        gate.fault = None
    for sink in names.values():
        rig.settled(90, sink)
    rig.run_for(20)
    for sink in names.values():
        rig.settled(30, sink)
    passed(1.0)  # the loss rows have their flush, too
