"""The dashboards and the files that bring them to Grafana and Prometheus are well made."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.losses import CAUSES
from tests.support import ROOT, need_program

GRAFANA = ROOT / "configs" / "grafana"
PROMETHEUS = ROOT / "configs" / "prometheus"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
BUILT_IN = {"__interval", "timeFilter", "__rate_interval"}
"""Grafana's own variables."""
ALIAS = re.compile(r"\$(?:tag_\w+|col)")


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def provisioned(kind: str) -> dict[str, Any]:
    (file,) = sorted((GRAFANA / "provisioning" / kind).glob("*.yaml"))
    document: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    assert document["apiVersion"] == 1
    return document


def test_there_are_dashboards_and_no_two_have_one_uid_or_title() -> None:
    documents = [read(path) for path in DASHBOARDS]
    assert len(documents) >= 4
    for key in ("uid", "title"):
        assert len({document[key] for document in documents}) == len(documents), key


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_lie_in_the_grid_and_none_upon_another(path: Path) -> None:
    panels = read(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: list[set[tuple[int, int]]] = []
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] >= 0, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]  # Grafana's grid has 24 columns
        rows, columns = range(at["y"], at["y"] + at["h"]), range(at["x"], at["x"] + at["w"])
        cells.append({(x, y) for x in columns for y in rows})
        assert cells[-1], panel["title"]
    named = zip(panels, cells, strict=True)
    for (one, its), (other, theirs) in combinations(named, 2):
        assert not its & theirs, (one["title"], other["title"])


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_panel_asks_a_provisioned_source_with_known_variables(path: Path) -> None:
    document = read(path)
    sources = {(s["type"], s["uid"]) for s in provisioned("datasources")["datasources"]}
    variables = document["templating"]["list"]
    known = BUILT_IN | {variable["name"] for variable in variables}
    asked = [(variable["datasource"], variable["definition"]) for variable in variables]
    for panel in document["panels"]:
        assert panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"], panel["title"]
            asked.append((target["datasource"], target.get("query") or target["expr"]))
            assert not ALIAS.sub("", target.get("alias", "")).count("$"), panel["title"]
    for source, text in asked:
        assert (source["type"], source["uid"]) in sources
        used = set(re.findall(r"\$\{?(\w+)", text))
        assert used <= known, (text, used - known)


def test_the_bucket_is_the_one_of_the_example() -> None:
    (source,) = (s for s in provisioned("datasources")["datasources"] if s["type"] == "influxdb")
    example = (ROOT / "configs" / "gateway.example.yaml").read_text("utf-8")
    assert f"bucket: {source['jsonData']['dbName']}\n" in example
    assert f'url: "{source["url"]}"' in example
    headers = {key for key in source["jsonData"] if key.startswith("httpHeaderName")}
    values = {key.replace("Value", "Name") for key in source["secureJsonData"]}
    assert headers == values == {"httpHeaderName1"}


def test_the_provider_of_dashboards_names_a_folder() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert Path(provider["options"]["path"]).is_absolute()
    text = (ROOT / "docs" / "dashboards.md").read_text("utf-8")
    assert provider["options"]["path"] in text


def test_every_cause_of_a_loss_is_drawn() -> None:
    panels = {panel["title"]: panel for panel in read(GRAFANA / "dashboards/health.json")["panels"]}
    drawn = [target["alias"] for target in panels["Rows lost, by cause"]["targets"]]
    assert drawn == list(CAUSES)


def promtool(*arguments: str | Path, cwd: Path = PROMETHEUS) -> str:
    command = [need_program("promtool", "prometheus"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=cwd)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.mark.servers
def test_promtool_takes_configuration_and_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", *(PROMETHEUS / "rules").glob("*.yml"))


@pytest.mark.servers
def test_the_rules_alert_as_their_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", *(PROMETHEUS / "tests").glob("*.yml"))


@pytest.mark.servers
def test_a_rule_that_never_alerts_fails_its_test(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, folder)
    (rules,) = (folder / "rules").glob("*.yml")
    text = rules.read_text("utf-8")
    for expression in re.findall(r"expr: (up\S+ == 0|gateway_ready == 0)", text):
        rules.write_text(text.replace(expression, expression.replace("== 0", "== 7")), "utf-8")
        with pytest.raises(AssertionError, match="FAILED"):
            promtool("test", "rules", *(folder / "tests").glob("*.yml"), cwd=folder)


def test_every_rule_has_a_test_in_which_it_fires_and_one_in_which_not() -> None:
    (rules,) = (PROMETHEUS / "rules").glob("*.yml")
    (tests,) = (PROMETHEUS / "tests").glob("*.yml")
    groups = yaml.safe_load(rules.read_text("utf-8"))["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"]]
    assert len(set(names)) == len(names)
    fires: dict[str, set[bool]] = {}
    for test in yaml.safe_load(tests.read_text("utf-8"))["tests"]:
        for each in test["alert_rule_test"]:
            fires.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert fires == {name: {True, False} for name in names}
