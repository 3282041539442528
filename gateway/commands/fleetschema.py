"""JSON Schema of the files of `gateway writer` and `gateway serve`, for editors.

``python -m gateway.commands.fleetschema --write`` renews them in configs/schema, ``--check`` says
whether they are what the code says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.config.schema import DRAFT, SCHEMA_DIR, Schema, define, fix, of_model
from gateway.relay.settings import WriterFile
from gateway.serve.settings import ServeFile
from gateway.sinks import find_sink, installed_sinks


def writer_schema() -> Schema:
    """The schema of a writer's file, with all installed sinks."""
    schema = of_model(WriterFile, "")
    definitions = schema["$defs"]
    del definitions["SinkConfig"]
    choices = []
    for name in installed_sinks():
        choices.append(define(definitions, f"sink.{name}", find_sink(name).config_class))
        fix(definitions[f"sink.{name}"], "type", name)
    sink = schema["properties"]["sink"]
    schema["properties"]["sink"] = {"description": sink["description"], "anyOf": choices}
    return {"$schema": DRAFT, "title": "File of gateway writer", **schema}


def serve_schema() -> Schema:
    """The schema of a node's file."""
    return {"$schema": DRAFT, "title": "File of gateway serve", **of_model(ServeFile, "")}


def generated() -> dict[Path, str]:
    """Each file, relative to the project, with its text."""
    schemas = {"writer.json": writer_schema(), "serve.json": serve_schema()}
    return {
        SCHEMA_DIR / name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them (exit 1 where they are stale)."""
    root = Path.cwd()
    if list(arguments) not in (["--write"], ["--check"]):
        sys.stderr.write("usage: python -m gateway.commands.fleetschema --write|--check\n")
        return 2
    stale = 0
    for file, text in generated().items():
        if list(arguments) == ["--write"]:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text, "utf-8")
        elif not (root / file).is_file() or (root / file).read_text("utf-8") != text:
            stale = 1
            command = "python -m gateway.commands.fleetschema --write"
            sys.stderr.write(f"{file} is stale; run: {command}\n")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
