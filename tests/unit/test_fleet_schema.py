"""The files of `gateway writer` and `gateway serve`: schema, examples and the pages' tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gateway.commands import fleetschema
from gateway.relay.loading import load_writer
from gateway.relay.settings import WriterFile
from gateway.serve.loading import load_serve
from gateway.serve.settings import ServeFile
from tests.support import ROOT
from tests.unit.test_config_schema import wrong

SCHEMAS = {"writer": fleetschema.writer_schema, "serve": fleetschema.serve_schema}


def example(name: str) -> Path:
    return ROOT / f"configs/{name}.example.yaml"


def test_the_schemas_are_what_the_code_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    assert fleetschema.main(["--check"]) == 0, "python -m gateway.commands.fleetschema --write"
    monkeypatch.chdir(tmp_path)
    assert fleetschema.main(["--check"]) == 1
    assert "configs/schema/writer.json is stale" in capsys.readouterr().err
    assert fleetschema.main(["--write"]) == fleetschema.main(["--check"]) == 0
    assert fleetschema.main([]) == 2


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_examples_are_good_and_tell_an_editor_their_schema(name: str) -> None:
    text = example(name).read_text("utf-8")
    assert text.startswith(f"# yaml-language-server: $schema=schema/{name}.json\n")
    assert (ROOT / f"configs/schema/{name}.json").is_file()
    schema = SCHEMAS[name]()
    assert wrong(yaml.safe_load(text), schema, schema) is None
    loaded = load_writer(example(name)) if name == "writer" else load_serve(example(name))
    assert loaded.redis.host == "redis.plant.example"


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("writer", {"gruop": "g"}, "gruop is unknown"),
    ("writer", {"sink": {"type": "postgers"}}, "suits none"),
    ("writer", {"batch": {"max_rows": 0}}, "out of range"),
    ("serve", {"poll_s": 0}, "out of range"),
    ("serve", {"redis": {"host": "r", "hots": "r"}}, "hots is unknown"),
    ("serve", {"history": {"type": "sqlite"}}, "suits none"),
]


@pytest.mark.parametrize(("name", "change", "said"), CHANGES)
def test_the_schemas_refuse_what_the_loader_refuses(
    name: str, change: dict[str, Any], said: str
) -> None:
    schema = SCHEMAS[name]()
    given = yaml.safe_load(example(name).read_text("utf-8")) | change
    assert said in (wrong(given, schema, schema) or "")


@pytest.mark.parametrize(
    ("page", "model"), [("docs/fleet.md", WriterFile), ("docs/serve.md", ServeFile)]
)
def test_the_table_of_the_page_has_every_setting(page: str, model: type[BaseModel]) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [key for key in model.model_fields if f"`{key}`" not in text] == []
