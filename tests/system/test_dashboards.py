"""Every query of the dashboards is asked of a real server that a real gateway has written to.

The gateway runs the shipped example with mocks. It is killed, its clock is stepped, a sensor fails
and a server is away, so that there are losses, events, BAD values, alarms and a spool to show.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.faults.shim import Shim
from tests.sims.influx_peer import BUCKET, InfluxPeer, _Program
from tests.support import ROOT, free_port, need_program, until
from tests.system.cli_kit import started

pytestmark = [
    pytest.mark.long,
    pytest.mark.servers,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("dashboards"),  # one set of servers for all
]

GRAFANA = ROOT / "configs" / "grafana" / "dashboards"
RULES = ROOT / "configs" / "prometheus" / "rules" / "edge-gateway.yml"
FAULTY = """driver: mock
groups:
  station:
    interval_s: 0.2
    tags:
      dew_point:
        {type: real, unit: degC, signal: {kind: sine, mean: 3, amplitude: 0.6, period_s: 60},
         bad: {every_s: 2, for_s: 1, reason: sensor_fault}}
"""
ALARM = "{kind: limits, tag: press_1.process.force, high: 240, unit: kN, severity: high}"
STEP_S = 30.0
"""Step of the clock: the mocks' rows of afterwards lie so far in the future."""


class Asked(NamedTuple):
    """One query of a dashboard."""

    panel: str
    kind: str
    text: str
    columns: tuple[str, ...]
    """What it selects; empty for a variable."""


def influx_queries() -> list[Asked]:
    found = []
    for path in sorted(GRAFANA.glob("*.json")):
        document = json.loads(path.read_text("utf-8"))
        for variable in document["templating"]["list"]:
            if variable["datasource"]["type"] == "influxdb":
                name = f"{path.stem}: variable {variable['name']}"
                found.append(Asked(name, "variable", variable["query"], ()))
        for panel in document["panels"]:
            for target in panel["targets"]:
                if target["datasource"]["type"] != "influxdb":
                    continue
                selected = target["query"].partition(" FROM ")[0]
                columns = re.findall(r'AS "(\w+)"', selected) or re.findall(r'"(\w+)"', selected)
                name = f"{path.stem}: {panel['title']} {target['refId']}"
                kind = target["resultFormat"]
                found.append(Asked(name, kind, target["query"], tuple(columns)))
    return found


def prometheus_queries() -> list[tuple[str, str]]:
    document = json.loads((GRAFANA / "metrics.json").read_text("utf-8"))
    drawn = [
        (f"{panel['title']} {target['refId']}", target["expr"])
        for panel in document["panels"]
        for target in panel["targets"]
    ]
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return drawn + [(rule["alert"], rule["expr"]) for group in groups for rule in group["rules"]]


INFLUX = influx_queries()
PROMETHEUS = prometheus_queries()


class Store:
    """What the run left in the Influx engine, and what Prometheus said while it went on."""

    def __init__(self, influx: InfluxPeer, said: dict[str, list[dict[str, Any]]]) -> None:
        self.influx = influx
        self.said = said

    def ask(self, text: str, chosen: str = ".*") -> list[dict[str, Any]]:
        """The series of a query, its variables and macros replaced as Grafana does.

        ``chosen``: what a variable stands for, `.*` being the value of All.
        """
        now_ms = int(time.time() * 1e3)
        within = f"time >= {now_ms - 3_600_000}ms and time <= {now_ms + 600_000}ms"
        text = text.replace("$timeFilter", within).replace("$__interval", "2s")
        text = re.sub(r"\$\{\w+:regex\}", lambda _: chosen, text)
        return self.influx.query(text)


class Prometheus:
    """A Prometheus with the shipped configuration, but quick and with this gateway as target."""

    def __init__(self, folder: Path, target: str) -> None:
        folder.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        shipped = ROOT / "configs" / "prometheus" / "prometheus.yml"
        config = yaml.safe_load(shipped.read_text("utf-8"))
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        config["rule_files"] = [str(RULES)]
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config), "utf-8")
        command = [
            need_program("prometheus", "prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        self._program = _Program(command, folder / "log", f"{self.url}/-/ready")

    def __enter__(self) -> Prometheus:
        self._program.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def get(self, route: str, **parameters: str) -> dict[str, Any]:
        """The data of an answer of its API."""
        url = f"{self.url}/api/v1/{route}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            data: dict[str, Any] = json.loads(answer.read())["data"]
        return data

    def all_said(self) -> dict[str, list[dict[str, Any]]]:
        """The answer to each query, and what it thinks of its target and its rules."""
        said = {expression: self.ask(without_limit(expression)) for _, expression in PROMETHEUS}
        said["targets"] = self.get("targets")["activeTargets"]
        said["rules"] = [r for group in self.get("rules")["groups"] for r in group["rules"]]
        return said


def without_limit(expression: str) -> str:
    """Without its comparison: then a rule that does not fire has rows, too."""
    expression = expression.replace("$instance", ".*")
    return re.sub(r"\s[=<>]=?\s+[\d.e]+\b", "", expression)


def plant(folder: Path, influx: InfluxPeer, listen: str) -> Path:
    """The shipped example with this server as its sink, and one device whose sensor fails."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    file = folder / "configs" / "gateway.example.yaml"
    text = file.read_text("utf-8")
    (folder / "token").write_text(influx.token)
    (folder / "token").chmod(0o600)
    (file.parent / "maps" / "faulty.yaml").write_text(FAULTY)
    away = f"{{type: influxdb, url: 'http://127.0.0.1:{free_port()}', bucket: {BUCKET}}}"
    sink = f"{{type: influxdb, url: '{influx.url}', bucket: {BUCKET}, token_file: ../token}}"
    for pattern, new in (
        (r"^state_dir: .*$", f"state_dir: {folder / 'state'}"),
        (r"^api:\n(  .*\n)+", f"api: {{socket: {folder / 's'}, listen: '{listen}'}}\n"),
        (r"^sinks:$", f"sinks:\n  influx: {sink}\n  away: {away}"),
        (r"^devices:$", "devices:\n  faulty: {driver: mock, map: maps/faulty.yaml}"),
        (r"^  rules:$", f"  rules:\n    force: {ALARM}"),
    ):
        text, found = re.subn(pattern, lambda _, new=new: new, text, flags=re.MULTILINE)  # type: ignore[misc]
        assert found == 1, pattern
    file.write_text(text, "utf-8")
    return file


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "influxd").mkdir()
    influx = InfluxPeer(folder / "influxd")
    shim = Shim(folder)
    listen = f"127.0.0.1:{free_port()}"
    file = plant(folder, influx, listen)
    influx.start()
    try:
        with started("run", "--mock", file, log=folder / "log", **shim.environment) as process:
            until(lambda: influx.count("vibration", "rms") >= 2, 40, "rows")
            process.kill()
            process.wait()
        with (
            Prometheus(folder / "prometheus", listen) as prometheus,
            started("run", "--mock", file, log=folder / "log", **shim.environment),
        ):
            for measurement, field in (
                ("gateway_loss", "rows"),
                ("gateway_alarm", "state"),
                ("energy", "active_energy"),
            ):
                until(lambda m=measurement, f=field: influx.count(m, f), 40, measurement)  # type: ignore[misc]
            until(lambda: not_good(influx), 20, "values that are BAD")
            until(lambda: prometheus.ask("count_over_time(gateway_ready[1m]) > 8"), 30, "metrics")
            shim.clock(STEP_S)
            until(lambda: influx.count("gateway_event", "event"), 30, "the step of the clock")
            said: dict[str, list[dict[str, Any]]] = {}

            def is_whole() -> bool:
                # its time-out is its interval, half a second: one late answer makes all stale
                said.update(prometheus.all_said())
                return (
                    all(said.values())
                    and {target["health"] for target in said["targets"]} == {"up"}
                    and "unknown" not in {rule["health"] for rule in said["rules"]}
                )

            with contextlib.suppress(AssertionError):  # the tests say what is missing
                until(is_whole, 20)
        yield Store(influx, said)
    finally:
        influx.kill()


def not_good(influx: InfluxPeer) -> int:
    found = influx.query('SELECT count("_quality") FROM station WHERE "_quality" != \'\'')
    return int(found[0]["values"][0][1]) if found else 0


def answered(asked: Asked, series: list[dict[str, Any]]) -> None:
    """Rows came, and each column that is selected has a value in one of them."""
    seen = {
        name
        for one in series
        for row in one["values"]
        for name, value in zip(one["columns"], row, strict=True)
        if value is not None
    }
    missing = set(asked.columns) - seen
    assert series, f"no rows: {asked.text}"
    assert not missing - MAY_BE_EMPTY.get(asked.panel, set()), (missing, asked.text)


MAY_BE_EMPTY = {
    f"{path}: Values that are not GOOD A": {"module", "channel"} for path in ("health", "overview")
}
"""Labels that not every row has; none of those of this run."""


@pytest.mark.parametrize("asked", INFLUX, ids=lambda asked: asked.panel.replace(" ", "_"))
def test_a_query_gives_rows_of_the_gateway(asked: Asked, run: Store) -> None:
    # that the others are causes of the gateway's is seen in tests/unit/test_dashboard_files.py
    text = re.sub(r"\"cause\" = '\w+'", "\"cause\" = 'unclean_stop'", asked.text)
    answered(asked, run.ask(text))


@pytest.mark.parametrize("asked", INFLUX, ids=lambda asked: asked.panel.replace(" ", "_"))
def test_a_choice_of_another_gateway_gives_none(asked: Asked, run: Store) -> None:
    if "${" in asked.text:
        assert run.ask(asked.text, "(another|none)") == []
    else:
        assert asked.panel.endswith("variable gateway")


def test_a_choice_of_one_device_gives_its_rows_alone(run: Store) -> None:
    text = next(a.text for a in INFLUX if a.panel == "overview: Active power B")
    text = text.replace("${device:regex}", "(meter_1)")
    assert [one["tags"]["device"] for one in run.ask(text)] == ["meter_1"]


def test_the_variables_offer_what_there_is(run: Store) -> None:
    offered = {
        asked.panel: {value for one in run.ask(asked.text) for _, value in one["values"]}
        for asked in INFLUX
        if asked.kind == "variable"
    }
    assert offered["health: variable gateway"] == {"hall-3"}
    assert offered["health: variable device"] >= {"faulty", "hopper_4", "meter_1", "press_1"}
    assert offered["vibration: variable device"] == {"daq_1"}
    assert offered["vibration: variable channel"] == {"drive_end", "free_end"}


@pytest.mark.parametrize(
    ("name", "expression"), PROMETHEUS, ids=[name.replace(" ", "_") for name, _ in PROMETHEUS]
)
def test_an_expression_finds_its_metrics(name: str, expression: str, run: Store) -> None:
    assert run.said[expression], (name, without_limit(expression))


def test_prometheus_has_no_fault_with_the_metrics_and_the_rules(run: Store) -> None:
    (target,) = run.said["targets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert {rule["health"] for rule in run.said["rules"]} == {"ok"}
