"""The README of the historian: a technician's commands, run as they stand, on a copy."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from gateway.model import Column, bad
from gateway.sinks.historian.sink import HistorianConfig, days_that_fit, minute_days_that_fit
from tests.sinks.historykit import SECOND_NS, START_NS, historian, row, table
from tests.support import ROOT, need_program

README = (ROOT / "gateway" / "sinks" / "historian" / "README.md").read_text("utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    pm10 = table([Column("pm10_value", "f4", "ug/m3")], device="hopper_4")
    meter = table([Column("Pt", "f4", "kW")], "electricity", device="hopper_4", module="meter")
    sink = historian(tmp_path)
    rows = [row(pm10, START_NS + i * SECOND_NS, [i / 10]) for i in range(90)]
    rows += [row(meter, START_NS + i * SECOND_NS, [408.35]) for i in range(90)]
    rows += [row(pm10, START_NS + 90 * SECOND_NS, [0], {0: bad("timeout")})]
    sink.store(rows)
    sink.close()
    assert not (tmp_path / "history.db-wal").exists()
    return Path(shutil.copy(tmp_path / "history.db", tmp_path / "copy.db"))


def ask(copy: Path, query: str) -> list[str]:
    program = need_program("sqlite3", "sqlite3")
    done = subprocess.run(
        [program, "-header", "-column", "-bail", copy.name],
        input=query,
        capture_output=True,
        text=True,
        cwd=copy.parent,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_every_query_of_the_readme_answers(copy: Path) -> None:
    queries = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    assert len(queries) == 7
    tags, last, span, faults, minutes_bad, minutes, sheet = (ask(copy, q) for q in queries)
    assert [line.split()[:2] for line in tags[2:]] == [
        ["hopper_4", "electricity"],
        ["hopper_4", "process"],
    ]
    assert last[2].split() == ["2026-09-21", "14:15:30.000", "ug/m3", "BAD:timeout"]
    assert last[3].split() == ["2026-09-21", "14:15:29.000", "8.9", "ug/m3", "GOOD"]
    assert [line.split()[2] for line in span[2:]] == [str(i / 10) for i in range(30, 60)]
    assert [line.split()[-2:] for line in faults[2:]] == [["pm10_value", "BAD:timeout"]]
    assert [line.split() for line in minutes_bad[2:]] == [["hopper_4", "pm10_value", "1"]]
    assert [line.split()[2:] for line in minutes[2:]] == [["408.35"] * 3] * 2
    assert sheet == []
    exported = (copy.parent / "hopper.csv").read_text("utf-8").splitlines()
    assert len(exported) == 182
    assert exported[1] == '"2026-09-21 14:14:00.000",process,,pm10_value,0.0,ug/m3,GOOD'


def test_the_examples_settings_are_the_defaults() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    shown = HistorianConfig.model_validate(yaml.safe_load(text)["sinks"]["history"])
    assert shown.model_copy(update={"path": None}) == HistorianConfig()


def test_the_table_of_what_fits_is_as_computed() -> None:
    rows = re.findall(r"^\| ([\d,]+)[^|]*\| ([\d.]+) (\w+) \| ([\d.]+) (\w+) \|$", README, re.M)
    assert len(rows) == 4
    per_day = {"hours": 24.0, "days": 1.0, "years": 1 / 365}
    for values, raw, raw_unit, minutes, minutes_unit in rows:
        count = int(values.replace(",", ""))
        raw_days = days_that_fit(count, 2_000_000_000)
        minute_days = minute_days_that_fit(count, 2_000_000_000)
        assert float(raw) == pytest.approx(raw_days * per_day[raw_unit], rel=0.05)
        assert float(minutes) == pytest.approx(minute_days * per_day[minutes_unit], rel=0.05)


def test_others_are_kept_out_while_the_file_is_open(tmp_path: Path) -> None:
    program = need_program("sqlite3", "sqlite3")
    sink = historian(tmp_path)
    sink.store([row(table(1), START_NS, [1.0])])
    done = subprocess.run(
        [program, str(tmp_path / "history.db"), "SELECT count(*) FROM history"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    sink.store([row(table(1), START_NS + 1, [1.0])])
    sink.close()
    assert "database is locked" in done.stderr
