"""JSON Schema of the gateway's file and of device maps, for editors; and what is made of it.

``python -m gateway.config.schema --write`` renews configs/schema and docs/reference-config.md,
``--check`` says whether they are what the code says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from gateway.analysis.settings import AnalysisConfig, StreamConfig
from gateway.config.maps import GroupConfig, MapConfig
from gateway.config.plant import FileConfig
from gateway.config.reference import features, reference
from gateway.driver import Driver, find_driver, installed_drivers
from gateway.sinks import find_sink, installed_sinks

Schema: TypeAlias = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
SCHEMA_DIR = Path("configs/schema")
REFERENCE = Path("docs/reference-config.md")
FEATURES = Path("docs/reference-features.md")


def json_schema() -> Schema:
    """The schema of the gateway's file, with all installed drivers and sinks."""
    schema = of_model(FileConfig, "")
    definitions = schema["$defs"]
    for unused in ("SinkConfig", "BusConfig", "DeviceConfig"):
        del definitions[unused]
    sinks, buses, devices = [], [], []
    for name in installed_sinks():
        sinks.append(define(definitions, f"sink.{name}", find_sink(name).config_class))
        fix(definitions[f"sink.{name}"], "type", name)
    for name in installed_drivers():
        driver = find_driver(name)
        devices.append(define(definitions, f"device.{name}", driver.config_class))
        device = definitions[f"device.{name}"]
        fix(device, "driver", name)
        if driver.bus_class is not None:
            buses.append(define(definitions, f"bus.{name}", driver.bus_class))
            fix(definitions[f"bus.{name}"], "driver", name)
            required = [k for k in device["required"] if k != "driver"]
            definitions[f"device.{name}-on-bus"] = {**device, "required": [*required, "bus"]}
            devices.append({"$ref": f"#/$defs/device.{name}-on-bus"})
    for key, choices in (("sinks", sinks), ("buses", buses), ("devices", devices)):
        schema["properties"][key]["additionalProperties"] = {"anyOf": choices}
    return {"$schema": DRAFT, "title": "Gateway configuration", **schema}


def map_schema(name: str) -> Schema:
    """The schema of the device maps of one driver."""
    driver = find_driver(name)
    schema = of_model(_map_model(driver), "")
    fix(schema, "driver", name)
    for key in ("modules", "groups"):
        if driver.tag_class is None:
            del schema["properties"][key]
    if driver.channel_class is None:
        del schema["properties"]["stream"]
    _drop_unused(schema)
    if driver.tag_class is not None:
        tag = schema["$defs"][driver.tag_class.__name__]
        for key in ("address", "at"):  # a number is taken as it is written
            choices = tag["properties"][key].setdefault("anyOf", [])
            if {"type": "number"} not in choices:
                choices[:] = [c for c in choices if c.get("type") != "integer"]
                choices.insert(1, {"type": "number"})
    keys = ["groups"] * (driver.tag_class is not None)
    keys += ["stream"] * (driver.channel_class is not None)
    if len(keys) == 1:
        schema["required"] = [*schema.get("required", ()), *keys]
    else:
        schema["oneOf"] = [{"required": [key]} for key in keys]
    return {"$schema": DRAFT, "title": f"Device map of driver {name}", **schema}


def schema_files() -> dict[str, str]:
    """File name in configs/schema -> its text."""
    schemas = {"gateway.json": json_schema()}
    schemas |= {f"map-{name}.json": map_schema(name) for name in installed_drivers()}
    return {name: json.dumps(s, indent=1, ensure_ascii=False) + "\n" for name, s in schemas.items()}


def generated() -> dict[Path, str]:
    """Every generated file, relative to the project, with its text."""
    files = {SCHEMA_DIR / name: text for name, text in schema_files().items()}
    maps = {name: map_schema(name) for name in installed_drivers()}
    files[REFERENCE] = reference(json_schema(), maps)
    files[FEATURES] = features()
    return files


def stale(root: Path) -> list[Path]:
    """The generated files under ``root`` that are not what the code says."""
    return [
        file
        for file, text in generated().items()
        if not (root / file).is_file() or (root / file).read_text("utf-8") != text
    ]


def write(root: Path) -> None:
    """Renew the generated files under ``root``."""
    for file, text in generated().items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, "utf-8")


def _map_model(driver: type[Driver]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    if driver.tag_class is not None:
        tags: Any = dict[str, driver.tag_class]  # type: ignore[name-defined]
        group: Any = create_model(
            "Group", __base__=GroupConfig, tags=(tags, _copy(GroupConfig, "tags"))
        )
        group.__doc__ = GroupConfig.__doc__
        fields["modules"] = (dict[str, tags], _copy(MapConfig, "modules"))
        fields["groups"] = (dict[str, group], _copy(MapConfig, "groups"))
    if driver.channel_class is not None:
        channel: Any = create_model(
            driver.channel_class.__name__,
            __base__=driver.channel_class,
            analysis=(
                AnalysisConfig | None,
                FieldInfo(default=None, description="Where it differs from the stream's."),
            ),
        )
        channel.__doc__ = driver.channel_class.__doc__
        stream: Any = create_model(
            "Stream",
            __base__=StreamConfig,
            channels=(dict[str, channel], _copy(StreamConfig, "channels")),
        )
        stream.__doc__ = StreamConfig.__doc__
        fields["stream"] = (
            stream | None,
            FieldInfo(default=None, description=MapConfig.model_fields["stream"].description),
        )
    model: type[BaseModel] = create_model("Map", __base__=MapConfig, **fields)
    model.__doc__ = MapConfig.__doc__
    return model


def _copy(model: type[BaseModel], field: str) -> FieldInfo:
    info = model.model_fields[field]
    if info.is_required():
        return FieldInfo(description=info.description)
    return FieldInfo(default_factory=info.default_factory, description=info.description)


def of_model(model: type[BaseModel], prefix: str) -> Schema:
    """A model's schema; the names of what it contains get the prefix."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    inner = schema.pop("$defs", {})
    bare: Schema = _cleaned(schema)
    bare["$defs"] = {prefix + name: _cleaned(s) for name, s in inner.items()}
    return bare


def define(definitions: Schema, name: str, model: type[BaseModel]) -> Schema:
    """Add a model under a name to the definitions; what refers to it."""
    schema = of_model(model, f"{name}.")
    definitions.update(schema.pop("$defs"))
    definitions[name] = schema
    return {"$ref": f"#/$defs/{name}"}


def _drop_unused(schema: Schema) -> None:
    """Remove the definitions that nothing refers to any more."""
    definitions = schema["$defs"]
    while unused := [n for n in definitions if f'"#/$defs/{n}"' not in json.dumps(schema)]:
        for name in unused:
            del definitions[name]


def fix(schema: Schema, key: str, value: str) -> None:
    """Make an entry required, with only this value."""
    field = schema["properties"][key]
    schema["properties"][key] = {"const": value, "description": field["description"]}
    schema["required"] = [key, *(k for k in schema.get("required", ()) if k != key)]


def _cleaned(node: Any, *, names: bool = False) -> Any:
    """Without titles that only repeat names, and with bounds that pydantic leaves in its own words.

    ``names``: the keys here are users' words.
    """
    if isinstance(node, list):
        return [_cleaned(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        k if names else _BOUNDS.get(k, k): _cleaned(v, names=k == "properties" and not names)
        for k, v in node.items()
        if names or k != "title"
    }


def main(arguments: Sequence[str]) -> int:
    """Write the generated files, or check them (exit 1 where they are stale)."""
    root = Path.cwd()
    if list(arguments) == ["--write"]:
        write(root)
        return 0
    if list(arguments) != ["--check"]:
        sys.stderr.write("usage: python -m gateway.config.schema --write|--check\n")
        return 2
    old = stale(root)
    for file in old:
        sys.stderr.write(f"{file} is stale; run: python -m gateway.config.schema --write\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
