"""The generated schemas and reference: up to date, described, and right about real files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from gateway.config import schema
from gateway.config.maps import MapConfig
from gateway.config.plant import FileConfig
from gateway.driver import find_driver, installed_drivers
from gateway.sinks import find_sink, installed_sinks
from tests.support import ROOT, gateway_configs

CONFIGS = gateway_configs()
MAPS = [
    *sorted((ROOT / "configs" / "maps").glob("*.yaml")),
    *sorted((ROOT / "drivers").glob("*/example-map.yaml")),
]
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def wrong(value: Any, by: dict[str, Any], root: dict[str, Any]) -> str | None:
    """Why the value does not suit the schema: what of JSON Schema our schemas use."""
    known = {
        "$ref", "$schema", "$defs", "title", "description", "default", "format", "anyOf", "oneOf",
        "const", "enum", "type", "properties", "required", "additionalProperties", "items",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
        "pattern", "minItems", "maxItems", "discriminator",
    }  # fmt: skip
    assert set(by) <= known, set(by) - known
    if "$ref" in by:
        return wrong(value, root["$defs"][by["$ref"].removeprefix("#/$defs/")], root)
    for union in ("anyOf", "oneOf"):
        faults = [wrong(value, choice, root) for choice in by.get(union, ())]
        if faults and (all(faults) or (union == "oneOf" and faults.count(None) != 1)):
            return f"{value!r} suits none or several: {faults}"
    if "const" in by and value != by["const"]:
        return f"{value!r} is not {by['const']!r}"
    if "enum" in by and value not in by["enum"]:
        return f"{value!r} is not of {by['enum']}"
    kind = by.get("type")
    if kind and (
        not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        return f"{value!r} is no {kind}"
    return _wrong_inside(value, by, root)


def _wrong_inside(value: Any, by: dict[str, Any], root: dict[str, Any]) -> str | None:
    if isinstance(value, str) and "pattern" in by and not re.search(by["pattern"], value):
        return f"{value!r} is not {by['pattern']}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        outside = (
            value < by.get("minimum", value),
            value > by.get("maximum", value),
            "exclusiveMinimum" in by and value <= by["exclusiveMinimum"],
            "exclusiveMaximum" in by and value >= by["exclusiveMaximum"],
        )
        return f"{value} is out of range" if any(outside) else None
    if isinstance(value, list):
        return next(filter(None, (wrong(v, by.get("items", {}), root) for v in value)), None)
    if not isinstance(value, dict):
        return None
    lost = set(by.get("required", ())) - set(value)
    if lost:
        return f"{lost} missing"
    others = by.get("additionalProperties", {})
    for key, inner in value.items():
        part = by.get("properties", {}).get(key, others)
        if part is False:
            return f"{key} is unknown"
        fault = wrong(inner, part or {}, root)
        if fault:
            return f"{key}: {fault}"
    return None


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_generated_files_are_what_the_code_says() -> None:
    assert schema.stale(ROOT) == [], "run: python -m gateway.config.schema --write"


def test_generating_twice_gives_the_same() -> None:
    assert schema.generated() == schema.generated()


def test_write_and_check_agree_and_a_changed_file_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert schema.main(["--check"]) == 1
    assert schema.main(["--write"]) == 0
    assert schema.main(["--check"]) == 0
    file = tmp_path / "configs" / "schema" / "gateway.json"
    file.write_text(file.read_text().replace("state_dir", "state_dirs"))
    capsys.readouterr()
    assert schema.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("configs/schema/gateway.json is stale")
    assert schema.main(["--bless"]) == 2


@pytest.mark.parametrize("path", CONFIGS, ids=_id)
def test_shipped_configurations_suit_the_schema(path: Path) -> None:
    gateway = schema.json_schema()
    assert wrong(yaml.safe_load(path.read_text("utf-8")), gateway, gateway) is None


@pytest.mark.parametrize("path", MAPS, ids=_id)
def test_shipped_maps_suit_the_schema_of_their_driver(path: Path) -> None:
    data = yaml.safe_load(path.read_text("utf-8"))
    its = schema.map_schema(data["driver"])
    assert wrong(data, its, its) is None


@pytest.mark.parametrize("path", [*CONFIGS, *(ROOT / "configs" / "maps").glob("*.yaml")], ids=_id)
def test_shipped_files_tell_an_editor_their_schema(path: Path) -> None:
    first = path.read_text("utf-8").splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found is not None
    assert (path.parent / found[1]).is_file()
    driver = yaml.safe_load(path.read_text("utf-8")).get("driver")
    assert Path(found[1]).name == (f"map-{driver}.json" if driver else "gateway.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gatway": {}}, "gatway is unknown"),
        ({"state_dir": 5}, "no string"),
        ({"writer": {"batch_rows": 0}}, "out of range"),
        ({"sinks": {"a": {"type": "sqlit"}}}, "suits none"),
        ({"devices": {"a": {"driver": "mock", "map": "a", "host": "b"}}}, "host is unknown"),
        ({"devices": {"a": {"bus": "b", "unit": 1}}}, "'map'} missing"),
        ({"devices": {"a": {"map": "a"}}}, "suits none"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(change: dict[str, Any], said: str) -> None:
    good = yaml.safe_load((ROOT / "tests/cases/good_plant/gateway.yaml").read_text("utf-8"))
    gateway = schema.json_schema()
    assert wrong(good, gateway, gateway) is None
    assert said in (wrong(good | change, gateway, gateway) or "")


def classes() -> Iterator[type[BaseModel]]:
    """Every settings class that a file may fill."""
    ahead: list[Any] = [FileConfig, MapConfig]
    ahead += [find_sink(name).config_class for name in installed_sinks()]
    for name in installed_drivers():
        driver = find_driver(name)
        ahead += [driver.config_class, driver.tag_class, driver.bus_class]
    seen: set[Any] = set()
    while ahead:
        thing = ahead.pop()
        if isinstance(thing, type) and issubclass(thing, BaseModel):
            if thing not in seen:
                seen.add(thing)
                yield thing
                ahead += [field.annotation for field in thing.model_fields.values()]
        else:
            ahead += get_args(thing)


def test_every_key_is_described_for_editors_and_the_reference() -> None:
    bare = [
        f"{cls.__name__}.{name}"
        for cls in classes()
        for name, field in cls.model_fields.items()
        if not field.description and not _is_kind(field.annotation)
    ]
    assert bare == []


def _is_kind(annotation: Any) -> bool:
    """A literal with one value only says which settings these are."""
    return len(get_args(annotation)) == 1 and isinstance(get_args(annotation)[0], str)


def test_the_reference_has_every_key_with_its_meaning() -> None:
    page = (ROOT / schema.REFERENCE).read_text("utf-8")
    for cls in classes():
        for name, field in cls.model_fields.items():
            assert f"| `{field.alias or name}` |" in page, f"{cls.__name__}.{name}"
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
    assert links <= anchors


def test_the_schema_files_are_json() -> None:
    for name, text in schema.schema_files().items():
        assert json.loads(text)["$schema"] == schema.DRAFT, name
