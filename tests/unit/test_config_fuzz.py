"""Whatever is in the files: a plant, or faults that each have a file and a line."""

from __future__ import annotations

import copy
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Plant, load
from gateway.errors import ConfigError
from tests.support import ROOT

PLANT = ROOT / "tests" / "cases" / "good_plant"
FILES = ["gateway.yaml", "maps/hopper.yaml", "maps/meter.yaml", "maps/press.yaml"]

NASTY = [
    "", "~", "[]", "{}", "[[]]", "{a: {b: c}}", "on", "no", "010", "1:30", "1e3", ".nan", "-.inf",
    "-1", "0", "99999999999999999999", "1e999", "true", '""', '"\\0"', '" "', "'{db}'", "'{'",
    "*a", "&a x", "!!python/object:os.system x", "<<", "? x", "- x", "#", "|", "\t", ":", "%",
    "gateway", "process", "electricity", "mock", "s7", "modbus", "rs485", "maps/hopper.yaml", ".",
    "/dev/null", "/", "\u2028", "\ufeff", "\x00", "\x1b", "😀", "x" * 300, "4GB", "real[99999999]",
    "string[20]", "DB1.DBX0.9", "DB1.DBB65535", "holding:0", "'400001'", "0.0.0.0:80", "\n", "  ",
]  # fmt: skip
"""Pieces that replace a word, a line's end or anything else."""


@pytest.fixture(scope="module")
def plant() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(PLANT, Path(folder) / "plant"))


def words(text: str) -> list[str]:
    """The text in pieces: words, and the marks between them."""
    out = [""]
    for character in text:
        word = character.isalnum() or character in "_./-"
        if not out[-1] or not word or not (out[-1][-1].isalnum() or out[-1][-1] in "_./-"):
            out.append(character)
        else:
            out[-1] += character
    return out


def mutate(text: str, chance: random.Random) -> str:
    pieces = words(text)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        i = chance.randrange(len(pieces))
        match chance.randrange(6):
            case 0:
                pieces[i] = chance.choice(NASTY)
            case 1:
                del pieces[i : i + chance.randrange(1, 8)]
            case 2:
                pieces.insert(i, chance.choice(NASTY))
            case 3:
                pieces[i:i] = pieces[i - chance.randrange(1, 40) : i]
            case 4:
                pieces[i] = chance.choice(pieces)
            case _:
                word = pieces[i]
                at = chance.randrange(len(word) + 1)
                pieces[i] = word[:at] + chance.choice("abz059_{}[]:,'\"& ") + word[at + 1 :]
        pieces = pieces or [""]
    return "".join(pieces)


VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 0.5, 1e300, float("nan"), float("inf"), 2**70, "", " ", "a", "\n",
    "{db}", "{", "real", "bool", "string[5]", "real[5]", "real[99999]", "int", "float32", "bits",
    "DB1.DBD0", "DB1.DBX0.7", "DB99999.DBD0", "holding:0", "40001", "coil:3", "0.0", "4.10", 4.1,
    "s7", "modbus", "mock", "sqlite", "influxdb", "rs485", "electricity", "maps/press.yaml", "/",
    [], {}, [[]], [1, "a"], {"a": 1}, {"type": "real"}, {"address": "DB1.DBD0", "type": "real"},
    {"use": "electricity", "at": "DB1.DBB0"}, {"driver": "mock", "map": "maps/press.yaml"},
]  # fmt: skip


def sections(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict):
        yield data
        for value in list(data.values()):
            yield from sections(value)


def restructure(text: str, chance: random.Random) -> str:
    """Still YAML, but with entries lost, moved, renamed or of another kind."""
    data = yaml.safe_load(text)
    for _ in range(chance.choice((1, 1, 2, 4))):
        every = [s for s in sections(data) if s]
        if not every:
            break
        section, other = chance.choice(every), chance.choice(every)
        key, its = chance.choice(list(section)), chance.choice(list(other))
        match chance.randrange(5):
            case 0 | 1:
                section[key] = copy.deepcopy(chance.choice(VALUES))
            case 2:
                del section[key]
            case 3:
                section[its] = copy.deepcopy(other[its])
            case _:
                section[its] = section.pop(key)
    return yaml.safe_dump(data, sort_keys=False)


def outcome(folder: Path) -> Plant | ConfigError:
    try:
        return load(folder / "gateway.yaml")
    except ConfigError as error:
        caught = error
    assert caught.faults
    for fault in caught.faults:
        assert fault.place.file
        assert fault.place.line >= 1, fault
        assert fault.place.col >= 1, fault
        assert "bug" not in fault.message, fault
        assert str(fault).isprintable(), fault
    return caught


@settings(max_examples=300, deadline=None)
@given(file=st.sampled_from(FILES), seed=st.integers(0, 2**64))
def test_a_mutated_configuration_gives_a_plant_or_faults(plant: Path, file: str, seed: int) -> None:
    text = (PLANT / file).read_text("utf-8")
    try:
        (plant / file).write_text(mutate(text, random.Random(seed)), "utf-8")
        outcome(plant)
    finally:
        (plant / file).write_text(text, "utf-8")


@settings(max_examples=60, deadline=None)
@given(file=st.sampled_from(FILES), body=st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_give_a_plant_or_faults(plant: Path, file: str, body: bytes) -> None:
    text = (PLANT / file).read_text("utf-8")
    try:
        (plant / file).write_bytes(body)
        assert isinstance(outcome(plant), ConfigError)
    finally:
        (plant / file).write_text(text, "utf-8")
