"""Loading in a child: the plant comes back, the memory goes, and a dying child is told of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import config
from gateway.config import load, load_isolated
from gateway.errors import ConfigError, GatewayError
from tests.support import ROOT

PLANT = ROOT / "tests" / "cases" / "good_plant" / "gateway.yaml"
BAD = ROOT / "tests" / "cases" / "unknown_keys" / "gateway.yaml"

MEASURE = """
import resource, sys, time
from pathlib import Path
from gateway.config import load_isolated
import drivers.s7, gateway.sinks.historian.query

def rss_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

before, begun = rss_mb(), time.process_time()
plant = load_isolated(Path(sys.argv[1]))
tags = sum(len(t.columns) for d in plant.devices.values() for g in d.groups for t in g.tables)
child = resource.getrusage(resource.RUSAGE_CHILDREN)
print(tags, rss_mb() - before, child.ru_utime + child.ru_stime + time.process_time() - begun)
"""


def test_the_plant_comes_back_from_the_child() -> None:
    here, there = load(PLANT), load_isolated(PLANT)
    assert list(there.devices) == list(here.devices)
    assert there.sinks == here.sinks
    assert [bus.name for bus in there.buses] == [bus.name for bus in here.buses]
    for name, device in here.devices.items():
        shapes = [(t.key, t.columns, t.labels) for g in device.groups for t in g.tables]
        its = there.devices[name].groups
        assert shapes == [(t.key, t.columns, t.labels) for g in its for t in g.tables]


def test_the_faults_come_back_from_the_child() -> None:
    with pytest.raises(ConfigError) as here:
        load(BAD)
    with pytest.raises(ConfigError) as there:
        load_isolated(BAD)
    assert there.value.faults == here.value.faults


def test_a_bug_in_the_child_comes_back_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in the child")

    monkeypatch.setattr(config, "load", broken)
    with pytest.raises(GatewayError, match=r"which is a bug:\n(.|\n)*ZeroDivisionError: in the"):
        load_isolated(PLANT)


def test_a_child_that_is_killed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "load", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(GatewayError, match="ended by signal SIGKILL"):
        load_isolated(PLANT)


def test_a_child_that_ends_halfway_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Halfway:
        def __reduce__(self) -> object:
            os._exit(3)

    monkeypatch.setattr(config, "load", lambda *_: [b"x" * 1_000_000, Halfway()])
    with pytest.raises(GatewayError, match="ended with code 3"):
        load_isolated(PLANT)


def test_sixty_thousand_tags_load_in_seconds_and_cost_the_parent_little(tmp_path: Path) -> None:
    tags = "".join(
        f'      tag_{i}: {{address: "DB{{db}}.DBD{4 * i}", type: real, unit: degC, scale: 0.1}}\n'
        for i in range(15_000)
    )
    devices = ""
    for n in range(4):
        head = "driver: s7\ngroups:\n  process:\n    interval_s: 1\n    tags:\n"
        (tmp_path / f"map{n}.yaml").write_text(head + tags)
        devices += f"  plc_{n}: {{driver: s7, host: h, map: map{n}.yaml, with: {{db: 1}}}}\n"
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "gateway: {name: g}\nstate_dir: s\napi: {socket: s}\nsinks: {h: {type: sqlite}}\n"
        f"devices:\n{devices}"
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(file)], capture_output=True, text=True, check=True
    )
    count, grown_mb, cpu_s = map(float, done.stdout.split())
    assert count == 60_000
    assert grown_mb < 40  # the nodes and models would be 250
    assert cpu_s < 12  # about 4 alone on a slow core; the suite shares it
